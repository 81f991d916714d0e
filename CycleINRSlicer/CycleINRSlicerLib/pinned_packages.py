"""Keeps pip from replacing what Slicer was built with, whoever calls pip."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import slicer

PINNED = (
    "vtk", "numpy", "scipy", "SimpleITK",
    "pydicom", "dicomweb-client", "highdicom", "pyjpegls", "dcmqi", "pillow", "retrying", "six", "typing_extensions",
    "requests", "certifi", "charset-normalizer", "idna", "urllib3", "packaging", "pyparsing",
    "PyGithub", "GitPython", "gitdb", "smmap", "chardet", "CouchDB", "PyJWT", "PyNaCl", "cffi", "cryptography",
    "Deprecated", "pycparser", "python-dateutil", "wrapt",
)  # fmt: skip
"""What Slicer 5.10 and newer are built with, by the requirements in its build; pip, setuptools and wheel, which
installations themselves need, are left out."""

_VARIABLE = "PIP_CONSTRAINT"


@contextmanager
def pinnedPackages() -> Iterator[Path]:
    """Within this context every pip that Slicer starts keeps those of ``PINNED`` that are there as they are.

    pip reads the constraints file that the environment variable ``PIP_CONSTRAINT`` names; a requirement that
    contradicts it makes pip stop before it changes anything. PyTorchUtils and Slicer before 5.12 have no parameter
    for that.
    """
    before = os.environ.get(_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="CycleINR-pip-", dir=slicer.app.temporaryPath) as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("".join(f"{line}\n" for line in filter(None, map(_constraint, PINNED))), encoding="utf-8")
        # pip splits the variable at spaces, which a user's folder may have; a URL has none
        os.environ[_VARIABLE] = " ".join(filter(None, (before, path.as_uri())))
        try:
            yield path
        finally:
            if before is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = before


def _constraint(name: str) -> str:
    """What pip is bound to; empty for a package that this Slicer does not have."""
    try:
        return f"{name}=={importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        # There without metadata, as VTK in Slicer: pip may not bring another one
        return f"{name}<0" if importlib.util.find_spec(name) is not None else ""
