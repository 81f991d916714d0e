"""What a result says about how well it agrees with the acquired slices."""

import numpy as np
import pytest
from cycleinr.agreement import agreement
from cycleinr.grid import SliceGrid

SLABS = SliceGrid(n_in=4, spacing_in_mm=3.0, n_out=10, spacing_out_mm=1.0).profile(1.0)


def slabs() -> tuple[np.ndarray, np.ndarray]:
    """Ten fine slices, and the slabs of three around every third; of the outermost ones one slice is missing."""
    fine = np.random.default_rng(2).integers(-50, 90, (10, 6, 7)).astype(np.int16)
    acquired = np.stack([fine[max(n - 1, 0) : n + 2].mean(0) for n in (0, 3, 6, 9)])
    return fine, acquired


def test_a_result_that_agrees_everywhere_says_so():
    found = agreement(*slabs(), SLABS, 1.0)

    assert found.largest == pytest.approx(0, abs=1e-4) and found.share_within_limit == 1
    assert found.slices.tolist() == [1, 2], "of the outermost slabs a part lies beyond the result"


def test_differences_are_told_in_size_share_and_place():
    fine, acquired = slabs()
    acquired[0] += 100
    acquired[2, :, :] += 8
    acquired[1, 0, 0] -= 3

    found = agreement(fine, acquired, SLABS, 1.0)

    assert found.median == pytest.approx(5.5, abs=1e-3) and found.percentile_99 == pytest.approx(8, abs=1e-3)
    assert found.share_within_limit == pytest.approx(1 - 43 / 84)
    assert found.rms == pytest.approx([3 / 42**0.5, 8], abs=1e-3)
    told = found.text("HU")
    assert "8 HU (99th percentile); 49 % are within 1 HU. Largest in slice 3, counted from 1: 8 HU RMS." in told


def test_thin_slices_between_two_fine_ones_are_interpolated():
    profile = SliceGrid(n_in=4, spacing_in_mm=2.5, n_out=8, spacing_out_mm=1.0).profile(0.0)
    fine = np.arange(8.0)[:, None, None] * np.ones((1, 3, 3))
    acquired = np.array([0, 2.5, 5, 7.5])[:, None, None] * np.ones((1, 3, 3))

    found = agreement(fine, acquired, profile, 1.0)

    assert found.slices.tolist() == [0, 1, 2] and found.rms == pytest.approx(0, abs=1e-5)


def test_where_no_slab_is_whole_the_nearest_to_it_is_compared():
    fine, acquired = slabs()

    found = agreement(fine[3:5], acquired, SLABS.of(slice(None), slice(3, 5)), 1.0)

    assert found.slices.tolist() == [1]
