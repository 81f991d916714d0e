"""Metrics against hand-made cases and their definitions."""

import math

import numpy as np
import pytest
from cycleinr.inference.noise import slice_sigmas
from cycleinr_research.evaluation import metrics
from scipy.ndimage import convolve

RNG = np.random.default_rng(11)


def test_psnr_of_a_constant_error_follows_the_definition():
    truth = np.zeros((3, 4, 5), np.int16)
    assert metrics.psnr(truth + 4.095, truth, 4095) == pytest.approx(60.0, abs=1e-4)
    assert metrics.psnr(truth + 1.0, truth, 10) == pytest.approx(20.0)


def test_psnr_comes_from_one_mean_over_the_volume_not_from_a_mean_of_slices():
    truth = np.zeros((2, 8, 8))
    prediction = truth.copy()
    prediction[1] = 1.0
    assert metrics.psnr(prediction, truth, 1.0) == pytest.approx(10 * math.log10(2))


def test_identical_stacks_are_perfect():
    stack = RNG.random((12, 16, 14)).astype(np.float32)
    assert metrics.psnr(stack, stack, 1.0) == math.inf
    assert metrics.ssim_axial(stack, stack, 1.0) == pytest.approx(1.0)
    assert metrics.ssim_coronal(stack, stack, 1.0) == pytest.approx(1.0)
    assert metrics.sigma_deviation(stack, stack) == 0.0


def test_ssim_of_a_constant_shift_has_only_the_luminance_term():
    truth = np.full((1, 20, 20), 0.2)
    expected = (2 * 0.2 * 0.5 + 1e-4) / (0.2**2 + 0.5**2 + 1e-4)
    assert metrics.ssim_axial(np.full_like(truth, 0.5), truth, 1.0) == pytest.approx(expected, rel=1e-6)


def test_ssim_uses_a_gaussian_window_of_11_pixels_and_population_covariance():
    truth, prediction = RNG.random((2, 1, 11, 11))
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    mean_x, mean_y = (window * prediction[0]).sum(), (window * truth[0]).sum()
    var_x, var_y = (window * prediction[0] ** 2).sum() - mean_x**2, (window * truth[0] ** 2).sum() - mean_y**2
    both = (window * prediction[0] * truth[0]).sum() - mean_x * mean_y
    expected = (2 * mean_x * mean_y + 1e-4) * (2 * both + 9e-4)
    expected /= (mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4)
    assert metrics.ssim_axial(prediction, truth, 1.0) == pytest.approx(expected, rel=1e-6)


def test_coronal_ssim_sees_planes_of_k_and_i():
    truth = RNG.random((13, 4, 15))
    prediction = truth.copy()
    prediction[:, 2] = 0.5
    per_plane = metrics.ssim_slices(prediction, truth, 1.0, axis=1)
    assert per_plane[[0, 1, 3]] == pytest.approx(1.0)
    assert per_plane[2] < 0.5


def test_slices_smaller_than_the_window_have_no_ssim():
    assert math.isnan(metrics.ssim_coronal(np.zeros((8, 20, 20)), np.zeros((8, 20, 20)), 1.0))


def test_noise_of_known_sigma_is_recovered_on_a_tilted_plane():
    rows, columns = np.meshgrid(np.arange(200), np.arange(180), indexing="ij")
    sigmas = np.array([3.0, 10.0, 25.0])
    stack = 2.0 * rows - 3.0 * columns + RNG.normal(0, 1, (3, 200, 180)) * sigmas[:, None, None]
    assert slice_sigmas(stack) == pytest.approx(sigmas, rel=0.03)


def test_slice_sigma_is_the_mean_absolute_response_to_immerkaers_kernel():
    image = RNG.random((1, 9, 7)).astype(np.float32)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    response = convolve(image[0].astype(np.float64), kernel)[1:-1, 1:-1]
    expected = math.sqrt(math.pi / 2) / 6 * np.abs(response).mean()
    assert slice_sigmas(image)[0] == pytest.approx(expected, rel=1e-5)


def test_snli_is_the_spread_of_the_slice_sigmas():
    noise = RNG.normal(0, 1, (6, 60, 60))
    even = noise * 10
    flickering = even * np.array([1.0, 0.5] * 3)[:, None, None]
    assert metrics.snli(flickering) == pytest.approx(np.std(slice_sigmas(flickering)))
    assert metrics.snli(flickering) == pytest.approx(2.5, rel=0.1)
    assert metrics.snli(even) < 0.5


def test_ct_range_clips_to_4095_hu_and_mr_range_ends_at_the_percentile():
    ct = metrics.metric_range(np.array([-3000, 5000]), "CT")
    assert ct.to_unit(np.array([-3000, -1024, 1023.5, 3071, 5000])) == pytest.approx([0, 0, 0.5, 1, 1])
    truth = np.linspace(0, 1000, 1001)
    mr = metrics.metric_range(truth, "MR")
    assert mr.width == pytest.approx(999.0)
    assert mr.to_unit(np.array([499.5, 1998.0])) == pytest.approx([0.5, 2.0])
    assert mr.to_noise_units(np.array([0.999])) == pytest.approx([1.0])


def test_stacks_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        metrics.psnr(np.zeros((2, 3, 3)), np.zeros((1, 3, 3)), 1.0)
