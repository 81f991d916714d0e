"""Plain methods: exact where theory says so, and the matched noise."""

import numpy as np
import pytest
from cycleinr import resampling
from cycleinr.grid import SliceGrid
from cycleinr.inference.noise import slice_sigmas
from cycleinr.volume import Volume
from cycleinr_research.evaluation import methods
from scipy.interpolate import CubicSpline
from scipy.ndimage import map_coordinates

RNG = np.random.default_rng(3)
THIRDS = SliceGrid(n_in=24, spacing_in_mm=3.0, n_out=70, spacing_out_mm=1.0)
FIVE_THIRDS = SliceGrid(n_in=24, spacing_in_mm=5.0, n_out=39, spacing_out_mm=3.0)
OUTWARDS = SliceGrid(n_in=24, spacing_in_mm=2.0, n_out=48, spacing_out_mm=1.0, first_mm=-0.5)


def volume_of(profile: np.ndarray) -> Volume:
    """A volume whose value depends on the slice alone."""
    return Volume(np.broadcast_to(profile[:, None, None], (len(profile), 6, 5)).astype(np.float32), np.eye(4))


@pytest.mark.parametrize("name", methods.METHODS)
@pytest.mark.parametrize("grid", [THIRDS, FIVE_THIRDS])
def test_acquired_slices_are_returned_bit_by_bit(name, grid):
    volume = Volume(RNG.normal(0, 300, (24, 16, 12)).astype(np.float32), np.eye(4))
    result = methods.METHODS[name].run(volume, grid)
    assert result.dtype == np.float32 and result.shape == (grid.n_out, 16, 12)
    positions = grid.positions()
    on_slice = np.flatnonzero(positions == np.round(positions))
    assert len(on_slice) > 5
    np.testing.assert_array_equal(result[on_slice], volume.array[positions[on_slice].astype(int)])


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_constant_stays_constant_inside_and_outside(name):
    result = methods.METHODS[name].run(volume_of(np.full(24, -700.0)), OUTWARDS)
    np.testing.assert_allclose(result, -700.0, atol=1e-3)


@pytest.mark.parametrize(("name", "margin"), [("linear", 0), ("bspline", 10), ("noise_matched", 10)])
@pytest.mark.parametrize("grid", [THIRDS, FIVE_THIRDS])
def test_linear_ramps_are_exact(name, margin, grid):
    positions = grid.positions()
    result = methods.METHODS[name].run(volume_of(np.arange(24.0)), grid)
    inside = (positions >= margin) & (positions <= 23 - margin)
    assert inside.sum() > 3
    np.testing.assert_allclose(result[inside, 0, 0], positions[inside], atol=2e-5)


def test_bspline_is_exact_on_cubics_away_from_the_mirrored_ends():
    def cubic(x):
        return 0.3 * (x - 12) ** 3 - 2 * (x - 12) ** 2 + 5

    positions = THIRDS.positions()
    inside = (positions >= 10) & (positions <= 13)
    result = resampling.bspline_weights(positions, 24) @ cubic(np.arange(24.0))
    np.testing.assert_allclose(result[inside], cubic(positions[inside]), atol=0.02)
    # Flat ends are what the mirror assumes, so there the spline is the one with zero end slopes, everywhere.
    values = RNG.normal(size=24)
    clamped = CubicSpline(np.arange(24.0), values, bc_type="clamped")(positions)
    np.testing.assert_allclose(resampling.bspline_weights(positions, 24) @ values, clamped, atol=1e-9)


def test_bspline_equals_scipys_spline_at_any_position():
    values = RNG.normal(size=24)
    positions = OUTWARDS.positions()
    expected = map_coordinates(values, positions[None], order=3, mode="mirror")
    np.testing.assert_allclose(resampling.bspline_weights(positions, 24) @ values, expected, atol=1e-9)


def test_lanczos_halfway_weights_are_the_windowed_sinc():
    weights = methods.lanczos_weights(np.array([9.5]), 24)[0]
    taps = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    expected = np.sinc(taps) * np.sinc(taps / 3)
    np.testing.assert_allclose(weights[7:13], expected / expected.sum(), atol=1e-12)
    assert np.count_nonzero(weights) == 6


def test_lanczos_repeats_the_outermost_slice_beyond_the_end():
    weights = methods.lanczos_weights(np.array([0.5, -0.25]), 24)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    # Three of the six symmetric taps fall on the first slice and its repetitions.
    assert weights[0, 0] == pytest.approx(0.5) and weights[1, 0] > 0.9


def test_nearest_takes_the_later_slice_halfway():
    weights = resampling.nearest_weights(np.array([3.4, 3.5, -1.0, 99.0]), 24)
    assert np.argmax(weights, axis=1).tolist() == [3, 4, 0, 23]


def test_noise_matching_gives_new_slices_the_noise_of_their_neighbours():
    sigma = np.linspace(10, 30, 12)
    volume = Volume((RNG.normal(0, 1, (12, 96, 96)) * sigma[:, None, None]).astype(np.float32), np.eye(4))
    grid = SliceGrid(12, 2.0, 23, 1.0)
    expected = np.interp(grid.positions(), np.arange(12), slice_sigmas(volume.array))
    matched = slice_sigmas(methods.noise_matched(volume, grid))
    np.testing.assert_allclose(matched, expected, rtol=2e-3)
    assert np.all(slice_sigmas(methods.bspline(volume, grid))[1::2] < 0.97 * expected[1::2])
