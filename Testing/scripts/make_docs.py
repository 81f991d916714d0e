"""Make the API page of ``import cycleinr`` from its docstrings: python Testing/scripts/make_docs.py [FOLDER]

The page is FOLDER/cycleinr.html (build/docs by default); it needs no network to be read.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pdoc
import pdoc.doc
import pdoc.render

REPOSITORY = Path(__file__).resolve().parents[2]


class _Name(str):
    """An annotation as the source has it."""

    __slots__ = ()
    __repr__ = str.__str__


_evaluated = pdoc.doc.safe_eval_type


def _readable(annotation: object, *where: object) -> object:
    """Names of types that stand for long unions stay as they are; what they stand for, the docstrings say in words."""
    if isinstance(annotation, str) and annotation.partition(" ")[0] in ("Scan", "npt.ArrayLike"):
        return _Name(annotation.removeprefix("npt."))
    return _evaluated(annotation, *where)


def make_docs(folder: Path) -> Path:
    """Write the page and return it."""
    pdoc.doc.safe_eval_type = _readable
    sys.path.insert(0, str(REPOSITORY / "CycleINRSlicer"))
    pdoc.render.configure(docformat="google", show_source=False, search=False)
    module = pdoc.doc.Module.from_name("cycleinr")
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "cycleinr.html"
    page.write_text(pdoc.render.html_module(module, {"cycleinr": module}), encoding="utf-8")
    return page


if __name__ == "__main__":
    print(make_docs(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "build" / "docs"))
