"""The expected error: against a literal recomputation, against the true error, and in words."""

from dataclasses import replace

import numpy as np
import pytest
from cycleinr import RequestError
from cycleinr.checks.run import check_result, numbers
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from cycleinr.windows import CT_WINDOWS, window_for
from places import REPOSITORY
from scipy.ndimage import gaussian_filter

EVERY = 3


@pytest.fixture(scope="module")
def fine() -> Volume:
    return replace(read_volume(REPOSITORY / "Testing/data/ct_chest_0p8mm.nii.gz"), modality="CT")


@pytest.fixture(scope="module")
def scan(fine) -> Volume:
    """A chest CT of 12 contiguous slabs."""
    stack = fine.array[: 12 * EVERY, :72, :72]
    affine = fine.ijk_to_ras @ np.diag([1.0, 1.0, EVERY, 1.0])
    affine[:3, 3] = fine.ras_of_ijk((0, 0, (EVERY - 1) / 2))
    return Volume(np.rint(stack.reshape(12, EVERY, 72, 72).mean(axis=1)).astype(np.int16), affine, "CT")


@pytest.fixture(scope="module")
def options() -> UpsampleOptions:
    return UpsampleOptions(Target(ratio=EVERY), device="cpu")


@pytest.fixture(scope="module")
def result(scan, options) -> Volume:
    return upsample(scan, options).volume


@pytest.fixture(scope="module")
def check(scan, result, options):
    return check_result(scan, result, options, window="soft-tissue")


def test_the_expected_error_is_the_published_power_of_the_local_rms(check, scan):
    pixels = [1.0 / mm for mm in scan.spacing_ijk_mm[1::-1]]
    squares = np.square(check.self_check.error_map.array)
    local = np.stack([gaussian_filter(each, pixels, truncate=3) for each in squares])

    assert np.allclose(check.expected_error.array, 1.86 * (local + 4) ** 0.46, rtol=1e-3)
    assert np.allclose(check.expected_error.ijk_to_ras, check.self_check.error_map.ijk_to_ras)


def test_it_marks_true_errors_better_than_chance_and_has_their_size(check, fine, result):
    """Slices of the truth that the map lies on; marked are the fifth that it calls worst."""
    true = np.abs(result.array.astype(float)[EVERY:-EVERY:EVERY] - fine.array[1 + EVERY : 11 * EVERY : EVERY, :72, :72])
    expected = check.expected_error.array[: len(true)]
    large = true > np.percentile(true, 90)
    marked = expected > np.percentile(expected, 80)

    assert marked[large].mean() > 0.35
    assert 0.4 < true.mean() / expected.mean() < 2.5


def test_damage_is_named_in_words(scan, options):
    array = scan.array.copy()
    array[6, 20:60, 20:60] += 300
    damaged = scan.with_array(array)

    told = check_result(damaged, upsample(damaged, options).volume, options, window="soft-tissue")

    first, last = told.trust.least_certain_slices
    assert first <= 6 <= last and last - first <= 3
    assert f"slice{'s' if first < last else ''} {first + 1}" in told.verdict
    assert "Soft tissue: typically" in told.verdict


def test_the_verdict_and_the_numbers_say_the_same(check, scan):
    found = numbers(check)

    assert found["verdict"] == check.verdict
    assert found["trust"]["marked_from"] == pytest.approx(100)
    assert found["window"] == {"name": "soft tissue", "width": 400.0, "level": 40.0}
    tissue = np.abs(scan.array[check.self_check.slices] - 40.0) < 200
    expected = check.expected_error.array[tissue]
    assert found["trust"]["marked_share"] == pytest.approx((expected >= 100).mean())
    assert found["trust"]["typical"] == pytest.approx(np.median(expected), rel=1e-4)


def test_the_scale_follows_the_window_and_not_the_scan(scan, result, options):
    lung = check_result(scan, result, options, window="lung")

    assert lung.window == CT_WINDOWS["lung"] and lung.trust.marked_share < 0.05


def _ct(array: np.ndarray) -> Volume:
    return Volume(array.astype(np.int16), np.eye(4), "CT")


def _cut(name: str) -> Volume:
    return replace(read_volume(REPOSITORY / name), modality="CT")


def test_the_window_follows_what_a_scan_shows(fine):
    head = _cut("CycleINRSlicer/Resources/SampleData/ct_head_5mm.nii.gz")
    assert window_for(head, "CT") == CT_WINDOWS["brain"]
    assert window_for(fine, "CT") == CT_WINDOWS["lung"]
    trunk = np.where(fine.array < -300, -50, fine.array)
    assert window_for(_ct(trunk), "CT") == CT_WINDOWS["soft-tissue"]
    limb = np.where((head.array > -20) & (head.array < 100), -80, head.array)
    assert window_for(_ct(limb), "CT") == CT_WINDOWS["bone"]
    assert window_for(_ct(np.full((4, 8, 8), -1000)), "CT") == CT_WINDOWS["lung"]


def test_a_window_can_be_asked_for_and_nonsense_is_refused(fine):
    assert window_for(fine, "CT", "bone") == CT_WINDOWS["bone"]
    asked = window_for(fine, "CT", "350/-50")
    assert (asked.low, asked.high) == (-225, 125)
    for nonsense in ("liver", "0/40", "-5/40", "350", "nan/3", "3/40/5"):
        with pytest.raises(RequestError, match="WIDTH/LEVEL"):
            window_for(fine, "CT", nonsense)


def test_the_window_of_mr_is_its_own_range():
    mr = replace(read_volume(REPOSITORY / "Testing/data/mr_head_1mm.nii.gz"), modality="MR")

    found = window_for(mr, "MR")

    assert np.allclose((found.low, found.high), np.percentile(mr.array, (1, 99.5)), rtol=0.02, atol=2)
