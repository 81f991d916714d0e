"""What every test may use: real scans where they are at hand, and a small volume whose place is easy to check."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# pyproject.toml says the same to pytest; this keeps a single test file runnable from any folder.
for folder in (REPOSITORY / "CycleINRSlicer", REPOSITORY / "research", REPOSITORY / "Testing"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from cycleinr.computer import wait_politely  # noqa: E402

# One definition for all folders: the host can be started once per process only
from slicer_host.fixtures import host, running_host, scene  # noqa: E402, F401

# Tests run two at a time, with the programs that they start beside them.
wait_politely()

# A shell that starts the suite in the background has SIGINT ignored, and programs that tests start inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def scans_folder() -> Path:
    """Folder with more real scans (demo/, val/, train/): $CYCLEINR_DATA, or research/data.

    Skips the test that asks for it where there is none.
    """
    folder = Path(os.environ.get("CYCLEINR_DATA", REPOSITORY / "research" / "data"))
    if not (folder / "val").is_dir():
        pytest.skip("needs more real scans: set CYCLEINR_DATA to a folder with demo/, val/ and train/")
    return folder


@pytest.fixture(scope="session")
def scans() -> Path:
    """Folder with real scans; the test is skipped without."""
    return scans_folder()


@pytest.fixture
def oblique_affine() -> np.ndarray:
    """4x4 ijk_to_ras of an oblique right-handed volume, spacing 0.8 x 0.7 x 4 mm."""
    a, b = np.deg2rad(25), np.deg2rad(-10)
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn_z @ turn_x @ np.diag([0.8, 0.7, 4.0])
    affine[:3, 3] = (-35.5, 12.25, 401.0)
    return affine
