"""Small real scans, and what a folder holds before and after a fault."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cycleinr.files import read_volume, write_volume
from cycleinr.volume import Volume
from places import REPOSITORY


def thick_scan(slices: int = 8, size: int = 24) -> Volume:
    """A crop of the bundled MR with every fifth slice."""
    fine = read_volume(REPOSITORY / "Testing/data/mr_head_1mm.nii.gz")
    affine = fine.ijk_to_ras.copy()
    affine[:3, 2] *= 5
    return Volume(np.ascontiguousarray(fine.array[::5][:slices, 30 : 30 + size, 30 : 30 + size]), affine, "MR")


@pytest.fixture
def scan(tmp_path) -> Path:
    """A small scan in a folder of its own."""
    (tmp_path / "in").mkdir()
    write_volume(thick_scan(), tmp_path / "in" / "scan.nii.gz")
    return tmp_path / "in" / "scan.nii.gz"


@pytest.fixture
def out(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder, hidden ones too, by name; empty folders are there with an empty hash."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


def said_clearly(done: subprocess.CompletedProcess, *words: str) -> bool:
    """Whether standard error is one message of ours with these words in it."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("cycleinr: ")]
    return len(lines) == 1 and "Traceback" not in done.stderr and all(word in lines[0] for word in words)
