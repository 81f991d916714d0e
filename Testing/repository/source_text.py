"""The source files, parsed once, for the rules that their text has to keep."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from places import REPOSITORY

PACKAGES = REPOSITORY / "CycleINRSlicer"
ENGINE_FILES = sorted((PACKAGES / "cycleinr").rglob("*.py"))
RESEARCH_FILES = sorted((REPOSITORY / "research" / "cycleinr_research").rglob("*.py"))
MODULE_FILES = [PACKAGES / "CycleINRSlicer.py", *sorted((PACKAGES / "CycleINRSlicerLib").rglob("*.py"))]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, everywhere: bool = True) -> Iterator[tuple[str, int]]:
    """Modules that a file imports with their lines, relative ones left out; without ``everywhere`` no function's."""
    waiting = list(parsed(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, node.lineno
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)


def imports_of(names: set[str], path: Path, **options) -> list[str]:
    """Where a file imports one of these packages or something in them, as "file:line imports name"."""
    found = imports(path, **options)
    return [f"{place(path, line)} imports {name}" for name, line in found if name.partition(".")[0] in names]


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(REPOSITORY)}:{line}"
