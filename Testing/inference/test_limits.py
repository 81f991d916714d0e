"""What is said of requests that can be done but are outside what the weights were trained for."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from command_line import cycleinr
from cycleinr import RequestWarning
from cycleinr.files import read_volume
from cycleinr.geometry import Acquisition
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.inference.plan import plan
from cycleinr.jobs import Job, run_job
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from places import REPOSITORY


@pytest.fixture(scope="module")
def scan() -> Volume:
    """A small MR of 8 slices, 6 mm apart."""
    fine = replace(read_volume(REPOSITORY / "Testing/data/mr_head_1mm.nii.gz"), modality="MR")
    affine = fine.ijk_to_ras @ np.diag([1.0, 1.0, 6.0, 1.0])
    return Volume(np.ascontiguousarray(fine.array[:48:6, :24, :24]), affine, "MR")


def asked(thickness_mm: float | None = None, **target) -> UpsampleOptions:
    return UpsampleOptions(Target(**target), thickness_mm=thickness_mm, device="cpu")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (asked(spacing_mm=0.5), ["12 times", "1.5 to 10", "invented", "0.6 mm or more"]),
        (asked(spacing_mm=5), ["1.2 times", "1.5 to 10", "4 mm or less"]),
        (asked(spacing_mm=2, thickness_mm=9), ["1.5 times as thick", "up to 1.2"]),
        (asked(spacing_mm=6), ["Nothing to do", "6 mm"]),
    ],
)
def test_requests_outside_the_training_are_told(scan, options, words):
    (text,) = plan(scan, options).warnings

    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("ratio", [1.5, 5 / 3, 3, 10])
@pytest.mark.parametrize("thickness_mm", [0.0, 6.0, 7.2])
def test_requests_within_the_training_are_not(scan, ratio, thickness_mm):
    assert plan(scan, asked(thickness_mm, ratio=ratio)).warnings == ()


@pytest.mark.parametrize(
    ("thickness_mm", "words"),
    [
        ([6, 6, 6, 6, 3, 3, 3, 3], ""),  # where they meet, a thick slice lies 3 mm from a thin one
        ([6, 6, 6, 6, 6, 6, 6, 6], "overlap from slice 4 to 8: each is 2 times"),
        ([7.5, 7.5, 7.5, 6, 3, 3, 3, 3], "overlap from slice 1 to 4: each is 1.25 times"),
    ],
)
def test_an_overlap_is_told_where_it_is(scan, thickness_mm, words):
    positions_mm = np.cumsum([0, 6, 6, 6, 3, 3, 3, 3])
    own = Acquisition(positions_mm, np.array(thickness_mm))

    work = plan(replace(scan, acquisition=own), asked(spacing_mm=2))

    assert [words in text for text in work.warnings if "overlap" in text] == [True] * bool(words)
    assert work.tau == np.median(own.thickness_mm[3:]) / 3


def test_python_hears_a_warning_and_the_result_keeps_it(scan):
    with pytest.warns(RequestWarning, match="1.5 to 10") as heard:
        result = upsample(scan, asked(ratio=12))

    assert result.warnings == tuple(str(each.message) for each in heard)
    assert result.provenance["warnings"] == " ".join(result.warnings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "warnings" not in upsample(scan, asked(ratio=2)).provenance


def test_the_command_line_says_it_once_before_and_after(tmp_path):
    scan = REPOSITORY / "Testing/data/mr_head_1mm.nii.gz"

    before = cycleinr("info", scan, "--ratio", "1", "--axis", "k")
    after = cycleinr("upsample", scan, tmp_path / "same.nii.gz", "--ratio", "1", "--axis", "k", "--device", "cpu")

    assert "Warning          Nothing to do" in before.stdout
    assert after.returncode == 0 and (after.stdout + after.stderr).count("Nothing to do") == 1
    assert "Nothing to do" in json.loads((tmp_path / "same.nii.gz.json").read_text())["warnings"]


def test_a_job_passes_it_on_as_a_note_without_a_python_warning(tmp_path):
    job = Job(REPOSITORY / "Testing/data/mr_head_1mm.nii.gz", tmp_path / "same.nii.gz", asked(ratio=1))

    with warnings.catch_warnings():
        warnings.simplefilter("error", RequestWarning)
        assert "Nothing to do" in run_job(job).warnings[0]
