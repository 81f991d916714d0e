#!/usr/bin/env python3
"""Write the file lists of CycleINRSlicer/CMakeLists.txt from the disk; run it after adding, moving or removing a file.

``--check`` changes nothing and ends with 1 if the lists and the disk differ.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "CycleINRSlicer"
CMAKE_LISTS = MODULE_FOLDER / "CMakeLists.txt"

SCRIPT_FOLDERS = ("CycleINRSlicerLib", "cycleinr")
RESOURCE_FOLDER = "Resources"


def scripts_on_disk(folder: Path = MODULE_FOLDER) -> list[str]:
    """Python files that Slicer packages, relative to the module folder, the module itself first."""
    below = [path for name in SCRIPT_FOLDERS for path in sorted((folder / name).rglob("*.py"))]
    return [path.relative_to(folder).as_posix() for path in [*sorted(folder.glob("*.py")), *below]]


def resources_on_disk(folder: Path = MODULE_FOLDER) -> list[str]:
    """All other files that Slicer packages: panel, icon, weights with their cards, sample scan with its licence."""
    paths = sorted(path for path in (folder / RESOURCE_FOLDER).rglob("*") if path.is_file())
    return [path.relative_to(folder).as_posix() for path in paths if not path.name.startswith(".")]


def read_list(text: str, variable: str) -> list[str]:
    """The entries of ``set(variable ...)`` in a CMake file's text."""
    return _block(variable).search(text).group(2).split()


def with_list(text: str, variable: str, entries: list[str]) -> str:
    """The text with other entries in ``set(variable ...)``, one per line."""
    lines = "".join(f"  {entry}\n" for entry in entries)
    return _block(variable).sub(lambda found: f"{found.group(1)}\n{lines}  )", text)


def _block(variable: str) -> re.Pattern:
    return re.compile(rf"(set\({variable})\s([^)]*)\)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the lists are as the disk")
    check = parser.parse_args().check
    before = CMAKE_LISTS.read_text(encoding="utf-8")
    after = with_list(before, "MODULE_PYTHON_SCRIPTS", scripts_on_disk())
    after = with_list(after, "MODULE_PYTHON_RESOURCES", resources_on_disk())
    if after == before:
        return 0
    if check:
        print(f"{CMAKE_LISTS} does not list what is on the disk. Run {Path(__file__).name}.", file=sys.stderr)
        return 1
    CMAKE_LISTS.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
