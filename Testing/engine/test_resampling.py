"""The slice profile against its definition, the correction that makes a result consistent with it, and what is left."""

from dataclasses import replace

import numpy as np
import pytest
from cycleinr import RequestError
from cycleinr.grid import SliceGrid
from cycleinr.inference.consistency import Arrays, Consistency, covering_grid
from cycleinr.resampling import SliceProfile, acquire, agreement, consistency_matrix, profile_matrix
from cycleinr.result import Provenance, text_of_gaps
from hypothesis import given, settings
from hypothesis import strategies as st


def slab_mean_by_integration(fine, centre, width):
    """The mean of a piecewise constant function over a window, by fine sampling."""
    at = centre + width * ((np.arange(20_000) + 0.5) / 20_000 - 0.5)
    return fine[np.clip(np.round(at).astype(int), 0, len(fine) - 1)].mean(0)


def test_thick_slices_at_a_whole_ratio_are_means_of_fine_slices():
    fine = np.arange(24.0).reshape(12, 2, 1)

    thick = acquire(fine, SliceProfile(12, np.array([1.0, 4.0, 7.0, 10.0]), 3.0, 1.0))

    assert np.allclose(thick, fine.reshape(4, 3, 2, 1).mean(1))


def test_thin_slices_are_the_fine_slices_they_lie_on():
    fine = np.random.default_rng(0).normal(size=(9, 3, 3))

    thin = acquire(fine, SliceProfile(9, np.array([0.0, 4.0, 8.0]), 4.0, 0.0))

    assert np.allclose(thin, fine[::4], atol=1e-6)


def test_thin_slices_between_fine_ones_are_interpolated_linearly():
    fine = np.array([0.0, 10.0, 30.0]).reshape(3, 1, 1)

    thin = acquire(fine, SliceProfile(3, np.array([0.25, 1.5]), 1.25, 0.0))

    assert thin.ravel() == pytest.approx([2.5, 20.0])


@settings(max_examples=50, deadline=None)
@given(ratio=st.floats(1.2, 6), tau=st.floats(0.0, 1.5), phase=st.floats(0, 1))
def test_every_profile_is_a_mean_over_its_window(ratio, tau, phase):
    width = max(tau * ratio, 1.0)
    centres = width / 2 - 0.5 + phase + ratio * np.arange(3)
    n_fine = int(np.ceil(centres[-1] + width / 2 + 0.5)) + 1
    fine = np.random.default_rng(1).normal(size=(n_fine, 1))

    got = profile_matrix(SliceProfile(n_fine, centres, ratio, tau)) @ fine

    expected = [slab_mean_by_integration(fine, centre, width) for centre in centres]
    assert np.allclose(got, expected, atol=2e-3)


@settings(max_examples=50, deadline=None)
@given(ratio=st.floats(1.2, 6), tau=st.floats(0.0, 1.0))
def test_the_consistency_step_gives_the_acquired_slices_back(ratio, tau):
    width = max(tau * ratio, 1.0)
    centres = width / 2 - 0.5 + ratio * np.arange(4)
    n_fine = int(np.ceil(centres[-1] + width / 2 + 0.5))
    matrix = profile_matrix(SliceProfile(n_fine, centres, ratio, tau))
    rng = np.random.default_rng(2)
    fine, acquired = rng.normal(size=(n_fine, 5)), rng.normal(size=(4, 5))

    corrected = fine + consistency_matrix(matrix) @ (acquired - matrix @ fine)

    assert np.allclose(matrix @ corrected, acquired, atol=1e-3)


def test_a_slice_outside_the_fine_stack_is_refused():
    with pytest.raises(RequestError, match="position 9"):
        profile_matrix(SliceProfile(5, np.array([2.0, 9.0]), 7.0, 0.0))


def test_a_thickness_beyond_twice_the_spacing_is_refused():
    with pytest.raises(RequestError, match="2.50 times"):
        SliceProfile(5, np.array([2.0]), 1.0, 2.5)


@pytest.mark.parametrize(("tau", "before"), [(0.0, 0), (1.0, 2), (0.5, 1)])
def test_the_covering_grid_reaches_to_the_outer_face_of_the_first_slab(tau, before):
    grid = SliceGrid(n_in=6, spacing_in_mm=5.0, n_out=26, spacing_out_mm=1.0)

    covering = covering_grid(grid, tau)

    assert covering.before == before
    assert covering.positions[before : before + 26] == pytest.approx(grid.positions())
    assert profile_matrix(covering.profile).sum(1) == pytest.approx(np.ones(6))


@pytest.mark.parametrize("tau", [0.0, 1.0])
@pytest.mark.parametrize("ratio", [2.0, 3.0, 5.0, 5 / 3, 3.5])
def test_rounding_and_clamping_do_not_undo_the_consistency(ratio, tau):
    n_out = int(9 * ratio + 1e-6) + 1
    covering = covering_grid(SliceGrid(10, ratio, n_out, 1.0), tau)
    rng = np.random.default_rng(4)
    truth = rng.normal(40, 300, (len(covering.positions), 500))
    truth[:, :50] = -300
    matrix = profile_matrix(covering.profile)
    acquired = (matrix @ np.clip(truth, -300, 400)).round().astype(np.float32)[:, None]
    fine = (truth + rng.normal(0, 60, truth.shape)).astype(np.float32)[:, None]
    step = Consistency(covering.profile, -300, 400, True, Arrays.numpy())

    step.apply(fine, acquired)

    error = np.abs((step.forward @ fine[:, 0]) - acquired[:, 0])
    assert (error <= 1).mean() >= 0.999
    assert fine.min() >= -300 and fine.max() <= 400
    assert np.array_equal(fine, fine.round())


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
    assert "from the acquired slices by 55 HU" in replace(found, median=55.0).text("HU")
    assert "by 120000 MR units (median)" in replace(found, median=123456.0).text("MR units")
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


def gaps_said_by(text: str) -> tuple[range, ...]:
    texts = dict.fromkeys(("software", "version", "model", "weights_sha256", "axis", "extent", "slice_profile"), "")
    numbers = dict.fromkeys(("ratio", "spacing_mm", "tau"), "1")
    return Provenance.from_dict({**texts, **numbers, "device": "", "derived": "", "gaps": text}).gaps


def test_gaps_of_one_slice_and_of_several():
    assert text_of_gaps([slice(22, 23)]) == "slice 23"
    assert text_of_gaps([slice(22, 30), slice(41, 42)]) == "slices 23 to 30, 42"
    for gaps in ([range(22, 23)], [range(22, 30), range(41, 42)]):
        assert gaps_said_by(text_of_gaps([slice(gap.start, gap.stop) for gap in gaps])) == tuple(gaps)
    assert gaps_said_by("slices 23 to 30, 42 to 42") == (range(22, 30), range(41, 42))  # of earlier versions
