"""Metrics of a predicted stack of slices against the true one.

All functions take stacks of shape (K, J, I) with the slices along axis 0. "Axial" means a slice of that axis, whatever
its orientation in the patient, and "coronal" a plane of axes K and I.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from cycleinr.inference.noise import slice_sigmas

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5

CT_LOWEST_HU, CT_HIGHEST_HU = -1024.0, 3071.0
MR_PERCENTILE = 99.9
MR_NOISE_UNITS = 1000.0


@dataclass(frozen=True)
class MetricRange:
    """The intensities that metrics see: (clip(value, low, high) - offset) / width, so that the data range is 1.

    Attributes:
        low: Lowest value that counts, -inf for none.
        high: Highest value that counts, inf for none.
        offset: Value that becomes 0.
        width: The data range in the volume's own units.
        noise_unit: One unit of noise figures in the volume's own units: 1 HU, or 1/1000 of the range for MR.
    """

    low: float
    high: float
    offset: float
    width: float
    noise_unit: float

    def to_unit(self, array: np.ndarray) -> np.ndarray:
        """Intensities -> float32 on a data range of 1."""
        clipped = np.clip(np.asarray(array, dtype=np.float32), self.low, self.high)
        return (clipped - np.float32(self.offset)) * np.float32(1.0 / self.width)

    def to_noise_units(self, array: np.ndarray) -> np.ndarray:
        """Intensities -> float32 in HU (CT), or thousandths of the range (MR), for noise and residuals."""
        return np.clip(np.asarray(array, dtype=np.float32), self.low, self.high) * np.float32(1.0 / self.noise_unit)


def metric_range(truth: np.ndarray, modality: str) -> MetricRange:
    """The range for one case, from the true volume only, so that every method is measured alike.

    CT: HU clipped to [-1024, 3071], range 4095. MR: scaled by the truth's 99.9th percentile, range 1, not clipped.

    Args:
        truth: The whole fine volume, any shape.
        modality: "CT" or "MR".
    """
    if modality == "CT":
        return MetricRange(CT_LOWEST_HU, CT_HIGHEST_HU, CT_LOWEST_HU, CT_HIGHEST_HU - CT_LOWEST_HU, 1.0)
    top = max(float(np.percentile(truth, MR_PERCENTILE)), 1e-6)
    return MetricRange(-math.inf, math.inf, 0.0, top, top / MR_NOISE_UNITS)


def psnr(prediction: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB from one mean squared error over all samples; inf where both are equal.

    Args:
        data_range: Difference of the largest and smallest possible value, in the arrays' units.
    """
    _check_shapes(prediction, truth)
    error = np.asarray(prediction, dtype=np.float32) - np.asarray(truth, dtype=np.float32)
    mean_square = float(np.mean(np.square(error, out=error), dtype=np.float64))
    return math.inf if mean_square == 0 else 10 * math.log10(data_range**2 / mean_square)


def ssim_slices(prediction: np.ndarray, truth: np.ndarray, data_range: float, axis: int = 0) -> np.ndarray:
    """Structural similarity of every 2D slice across ``axis``: 11x11 Gaussian window, sigma 1.5.

    Source: Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 13(4), 2004.

    Returns:
        One value per slice; nan where a slice is smaller than the window.
    """
    from skimage.metrics import structural_similarity

    _check_shapes(prediction, truth)
    pairs = zip(np.moveaxis(prediction, axis, 0), np.moveaxis(truth, axis, 0), strict=True)
    if min(n for dimension, n in enumerate(truth.shape) if dimension != axis) < SSIM_WINDOW:
        return np.full(truth.shape[axis], np.nan)
    return np.array(
        [
            structural_similarity(
                np.ascontiguousarray(ours, dtype=np.float64),
                np.ascontiguousarray(true, dtype=np.float64),
                data_range=data_range,
                gaussian_weights=True,
                sigma=SSIM_SIGMA,
                win_size=SSIM_WINDOW,
                use_sample_covariance=False,
            )
            for ours, true in pairs
        ]
    )


def ssim_axial(prediction: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """Mean SSIM of the slices along K, each (J, I)."""
    return float(np.mean(ssim_slices(prediction, truth, data_range, axis=0)))


def ssim_coronal(prediction: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """Mean SSIM of the planes (K, I) across J, where gaps between slices show."""
    return float(np.mean(ssim_slices(prediction, truth, data_range, axis=1)))


def snli(volume_hu: np.ndarray) -> float:
    """Slice-wise noise level inconsistency: standard deviation over slices of the slices' noise sigma.

    In HU for CT; for other volumes in the array's own units. 0 is no flicker, but the truth is not 0 either.
    Source: the poster of CycleINR (CVPR 2024); that its sigma is Immerkaer's is our reading of it.
    """
    return float(np.std(slice_sigmas(volume_hu)))


def sigma_deviation(prediction_hu: np.ndarray, truth_hu: np.ndarray) -> float:
    """Standard deviation over slices of (sigma of the predicted slice - sigma of the true one).

    Unlike ``snli`` it is 0 only where the noise level follows the truth's, up to a constant.
    """
    _check_shapes(prediction_hu, truth_hu)
    return float(np.std(slice_sigmas(prediction_hu) - slice_sigmas(truth_hu)))


def _check_shapes(prediction: np.ndarray, truth: np.ndarray) -> None:
    if prediction.shape != truth.shape:
        raise ValueError(f"The prediction has shape {prediction.shape} and the truth {truth.shape}.")
