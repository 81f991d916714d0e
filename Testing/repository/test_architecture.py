"""Rules that keep the engine usable anywhere: what it may import, and when."""

import ast
import subprocess
import sys

import pytest
from places import REPOSITORY

ENGINE = REPOSITORY / "CycleINRSlicer" / "cycleinr"
FORBIDDEN = {"slicer", "qt", "ctk", "vtk", "PythonQt"}


def imported_names(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda p: str(p.relative_to(ENGINE)))
def test_the_engine_never_imports_slicer_or_qt(path):
    assert imported_names(path.read_text(encoding="utf-8")) & FORBIDDEN == set()


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda p: str(p.relative_to(ENGINE)))
def test_files_stay_short_enough_to_read(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize(
    "module",
    ["cycleinr", "cycleinr.inference.plan", "cycleinr.inference.options", "cycleinr.files", "cycleinr.cli.app"]
    + ["cycleinr.inference.upsample", "cycleinr.worker.serve", "cycleinr.checks.run"],
)
def test_nothing_that_slicer_or_help_needs_imports_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY / "CycleINRSlicer").returncode == 0
