"""The bundled scan in a folder of its own, where the docstrings' examples find it, and a small part of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cycleinr as ci
import pytest
from places import REPOSITORY

SAMPLE = REPOSITORY / "CycleINRSlicer" / "Resources" / "SampleData" / "ct_head_5mm.nii.gz"


@pytest.fixture
def examples(tmp_path, monkeypatch) -> Path:
    """The current folder, with ct_head_5mm.nii.gz in it."""
    shutil.copy(SAMPLE, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def head() -> ci.Volume:
    """Six thick slices of a head, 16 x 24 pixels each."""
    return replace(ci.read(SAMPLE)[10:16, 200:216, 170:194], modality="CT")


@pytest.fixture(scope="session")
def fine(head) -> ci.Result:
    return ci.upsample(head, ratio=2)
