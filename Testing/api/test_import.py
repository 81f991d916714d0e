"""Importing the package costs next to nothing, and says what there is."""

from __future__ import annotations

import subprocess
import sys

import cycleinr as ci
import pytest
from places import REPOSITORY


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=REPOSITORY / "CycleINRSlicer", capture_output=True, text=True, check=True)


def test_the_import_loads_nothing_else():
    code = "import sys; before = set(sys.modules); import cycleinr; dir(cycleinr); print(*set(sys.modules) - before)"
    assert set(run(code).stdout.split()) <= {"cycleinr", "__future__"}


def test_what_needs_no_voxels_loads_no_libraries():
    code = "import sys, cycleinr as ci; ci.Upsampler(ratio=2); print(*sys.modules)"
    assert not {"SimpleITK", "torch", "pydicom"} & set(run(code).stdout.split())


def test_every_public_name_is_there_and_is_what_its_home_has():
    assert set(ci.__all__) <= set(dir(ci))
    for name in ci.__all__:
        assert getattr(ci, name).__name__ == name
        assert getattr(ci, name).__doc__


def test_public_names_stay_what_they_are_when_modules_of_the_package_are_imported():
    code = """
import importlib, pkgutil, cycleinr
before = {name: getattr(cycleinr, name) for name in cycleinr.__all__}
for module in pkgutil.iter_modules(cycleinr.__path__):
    if module.name != "__main__":
        importlib.import_module(f"cycleinr.{module.name}")
print([name for name in before if getattr(cycleinr, name) is not before[name]])
"""
    assert run(code).stdout.strip() == "[]"


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="'cycleinr' has no attribute 'upsampel'"):
        _ = ci.upsampel


def test_types_are_declared():
    assert (REPOSITORY / "CycleINRSlicer" / "cycleinr" / "py.typed").is_file()
