"""Consistency with thick slices: towards what was acquired, but no false structure beside bone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.inference.consistency import REACH_PIXELS, Arrays, BoundedConsistency, Consistency, DataConsistency
from cycleinr.request import UpsampleOptions
from cycleinr.resampling import SliceProfile, acquire, profile_matrix, triangle_matrix
from cycleinr.volume import Volume
from hypothesis import given, settings
from hypothesis import strategies as st
from places import REPOSITORY
from scipy.ndimage import minimum_filter

HEAD = REPOSITORY / "CycleINRSlicer" / "Resources" / "SampleData" / "ct_head_5mm.nii.gz"
PROFILE = SliceProfile(31, np.arange(5) * 5.0 + 5, 5.0, 1.0)


@pytest.fixture(scope="module")
def under_the_vault() -> Volume:
    """Brain and skull of the head CT, where the vault is oblique to the slices."""
    head = read_volume(HEAD)
    return Volume(np.ascontiguousarray(head.array[22:31, 252:324, 84:156]), head.ijk_to_ras, "CT")


def bounded(arrays=None, integer=False) -> BoundedConsistency:
    return BoundedConsistency(PROFILE, -1000, 2000, 1.0, integer, arrays or Arrays.numpy())


def stacks(seed: int, detail: float) -> tuple[np.ndarray, np.ndarray]:
    """A network's slices and acquired ones that do not quite agree, with a step of bone."""
    rng = np.random.default_rng(seed)
    fine = rng.normal(30, detail, (31, 9, 8)).astype(np.float32)
    fine[12:20] += 900 * (rng.random((9, 8)) > 0.5)
    acquired = acquire(fine, PROFILE) + rng.normal(0, 2 * detail, (5, 9, 8)).astype(np.float32)
    return fine, acquired


def around(acquired: np.ndarray, n: int, row: int, column: int) -> np.ndarray:
    rows, columns = (slice(max(at - REACH_PIXELS, 0), at + REACH_PIXELS + 1) for at in (row, column))
    return acquired[max(n - 1, 0) : n + 2, rows, columns]


def test_no_dark_spots_where_all_acquired_values_around_are_those_of_tissue(under_the_vault):
    """An exact correction gives 1,644 such voxels below -50 HU."""
    acquired = under_the_vault.array

    result = upsample(under_the_vault, UpsampleOptions(Target(ratio=5), device="cpu")).volume.array

    nearest = np.round(np.arange(len(result)) / 5).astype(int)
    size = (3, 2 * REACH_PIXELS + 1, 2 * REACH_PIXELS + 1)
    tissue = minimum_filter(acquired, size, mode="nearest")[nearest] > -20
    assert tissue.sum() > 100_000
    assert (result[tissue] < -50).sum() == 0


def test_a_triangle_sees_the_same_in_flat_regions_and_something_else_at_steps():
    matrix = triangle_matrix(PROFILE)
    step = (np.arange(31) >= 12) * 100.0

    assert matrix.sum(1) == pytest.approx(np.ones(5))
    assert np.abs((matrix - profile_matrix(PROFILE)) @ np.ones(31)).max() < 1e-12
    assert np.abs((matrix - profile_matrix(PROFILE)) @ step).max() > 4


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), detail=st.floats(0, 200))
def test_no_voxel_is_more_extreme_than_network_and_acquired_values_around_it(seed, detail):
    fine, acquired = stacks(seed, detail)
    result = fine.copy()

    bounded().apply(result, acquired)

    nearest = np.abs(np.arange(31)[:, None] - PROFILE.centres).argmin(1)
    for index in np.random.default_rng(seed).choice(fine.size, 60, replace=False):
        k, j, i = np.unravel_index(index, fine.shape)
        near = around(acquired, nearest[k], j, i)
        lowest = min(near.min() - 5, fine[k, j, i])
        assert lowest - 1e-3 <= result[k, j, i] <= max(near.max(), fine[k, j, i]) + 1e-3
        assert result[k, j, i] >= near.min() - 5 - 1e-3


def test_it_moves_towards_what_was_acquired_and_leaves_what_a_profile_explains():
    fine, acquired = stacks(3, 20.0)
    flat, wanted = np.full_like(fine, 40.0), np.full_like(acquired, 47.0)
    result = fine.copy()

    bounded().apply(result, acquired)
    bounded().apply(flat, wanted)

    before, after = (np.abs(acquire(stack, PROFILE) - acquired) for stack in (fine, result))
    assert after.mean() < 0.8 * before.mean()
    assert acquire(flat, PROFILE) == pytest.approx(wanted, abs=1e-3), "nothing in a flat region explains a difference"


def test_what_agrees_with_the_acquired_slices_stays():
    fine = np.random.default_rng(0).normal(40, 10, (31, 6, 6)).astype(np.float32)
    acquired = acquire(fine, PROFILE)
    lowest = np.min([around(acquired, n, 3, 3).min() for n in range(5)])
    fine[:, 3, 3] = np.maximum(fine[:, 3, 3], lowest)
    result = fine.copy()

    bounded().apply(result, acquire(fine, PROFILE))

    above = fine >= acquired.max()
    assert np.allclose(result[above], fine[above], atol=1e-3)


def test_rows_at_a_time_equal_all_rows_at_once():
    fine, acquired = stacks(5, 40.0)
    whole, parts = fine.copy(), fine.copy()

    bounded().apply(whole, acquired)
    for first, last in ((0, 3), (3, 7), (7, 9)):
        margin = min(first, REACH_PIXELS)
        part = parts[:, first:last].copy()
        bounded().apply(part, acquired[:, first - margin : last + REACH_PIXELS], margin)
        parts[:, first:last] = part

    assert np.allclose(parts, whole, atol=1e-3)


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_numpy_arrays_and_tensors_give_the_same(tau):
    fine, acquired = stacks(7, 30.0)
    profile, ours, theirs = replace(PROFILE, tau=tau), fine.copy(), torch.from_numpy(fine.copy())
    limits = -1000, 2000, 1.0, True

    DataConsistency(profile, *limits, Arrays.numpy()).apply(ours, acquired)
    DataConsistency(profile, *limits, Arrays.torch(torch.device("cpu"))).apply(theirs, torch.from_numpy(acquired))

    assert np.abs(theirs.numpy() - ours).max() <= 1, "a value between two whole numbers may be rounded either way"
    assert (theirs.numpy() != ours).mean() < 1e-3


@pytest.mark.parametrize(("tau", "kind"), [(0.0, Consistency), (0.2, Consistency), (0.6, BoundedConsistency)])
def test_slices_no_thicker_than_fine_ones_are_known_exactly(tau, kind):
    ((part, *_),) = DataConsistency(replace(PROFILE, tau=tau), 0, 1, 1.0, False, Arrays.numpy()).parts
    assert type(part) is kind
