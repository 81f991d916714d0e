"""Write requirements-release.txt: every package that a release needs, pinned by version and by the hashes of its files.

    pip install uv
    python Testing/scripts/lock_requirements.py

Versions are those of constraints.txt, for Python 3.11 and newer on all systems. PyTorch and what only its CUDA build
needs are left out: PyTorch comes in several builds from several indexes, so its user chooses one; docs/security.md
says how to pin that one by hash too.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
OUTPUT = REPOSITORY / "requirements-release.txt"
PYTHON = "3.11"
EXTRAS = ("gpu", "batch")
TORCH_ONLY = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
HEADER = f"""\
# What a release needs besides PyTorch, pinned by hash; for Python {PYTHON} and newer. Install PyTorch first.
#   pip install --require-hashes --no-deps -r requirements-release.txt
# Made by Testing/scripts/lock_requirements.py.
"""


def resolve() -> str:
    """All packages with versions, markers and hashes, as uv finds them in the package index."""
    extras = [part for extra in EXTRAS for part in ("--extra", extra)]
    options = ["--universal", "--generate-hashes", "--no-header", "--no-annotate", "--python-version", PYTHON]
    command = ["uv", "pip", "compile", "pyproject.toml", *extras, "-c", "constraints.txt", *options]
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout


def without_torch(resolved: str) -> str:
    """The packages but PyTorch and its CUDA build's own; each starts a line, its hashes follow indented."""
    packages = re.findall(r"^\S.*(?:\n[ \t]+\S.*)*", resolved, re.MULTILINE)
    return "\n".join(each for each in packages if not TORCH_ONLY.fullmatch(re.split(r"[=\[ ]", each)[0])) + "\n"


if __name__ == "__main__":
    sys.stdout.write(f"{OUTPUT.name}: ")
    OUTPUT.write_text(HEADER + without_torch(resolve()), encoding="utf-8")
    print(OUTPUT.read_text(encoding="utf-8").count("=="), "packages")
