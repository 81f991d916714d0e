"""All numbers about one prediction, and the views of it that figures need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from cycleinr.resampling import acquire

from . import metrics
from .protocol import Case, ratio_text
from .reader import reader_figures
from .table import Row

if TYPE_CHECKING:
    from .perceptual import Perceptual

CONSISTENCY_QUANTILE = 0.999


@dataclass(frozen=True, eq=False)
class Views:
    """What figures and the Frechet distance need of one prediction, on the compared slices.

    Attributes:
        coronal: (K, I) middle plane on the metrics' range.
        sagittal: (K, J) likewise.
        sigmas: (K,) noise of each slice, in HU or thousandths of the range.
        features: (K, 512) squeeze features of each slice, (0, 512) where not available.
        spacing_kji_mm: (3,) distance between neighbouring samples, for the planes' proportions.
        inception: (K, 2048) Inception features of each slice, (0, 0) where not available.
    """

    coronal: np.ndarray
    sagittal: np.ndarray
    sigmas: np.ndarray
    features: np.ndarray
    spacing_kji_mm: np.ndarray
    inception: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))


def measure(
    case: Case, method: str, prediction: np.ndarray, seconds: float, perceptual: Perceptual
) -> tuple[Row, Views, Views]:
    """Measure one prediction.

    Args:
        prediction: (n_out, J, I) in the volume's units.
        seconds: How long the method took.
        perceptual: The networks that compare slices.

    Returns:
        The row, the prediction's views and the truth's.
    """
    ours, true = (case.range.to_unit(stack[case.compared]) for stack in (prediction, case.truth))
    noise, noise_truth = (
        metrics.slice_sigmas(case.range.to_noise_units(stack[case.compared])) for stack in (prediction, case.truth)
    )
    generated = case.generated[case.compared]
    ssim = metrics.ssim_slices(ours, true, 1.0)
    compared = perceptual.compare(ours, true)
    squeeze = compared.distances["squeeze"]
    consistency_max, consistency_q999 = consistency_residual(case, prediction)
    row = Row(
        volume=case.name,
        modality=case.modality,
        condition=case.condition,
        ratio=ratio_text(case.ratio),
        method=method,
        psnr_all_db=metrics.psnr(ours, true, 1.0),
        psnr_generated_db=metrics.psnr(ours[generated], true[generated], 1.0),
        ssim_axial=float(ssim.mean()),
        ssim_axial_generated=float(ssim[generated].mean()),
        ssim_coronal=metrics.ssim_coronal(ours, true, 1.0),
        lpips_squeeze=float(squeeze.mean()),
        lpips_squeeze_generated=float(squeeze[generated].mean()),
        lpips_alex=float(compared.distances["alex"].mean()),
        lpips_vgg=float(compared.distances["vgg"].mean()),
        snli=float(np.std(noise)),
        snli_truth=float(np.std(noise_truth)),
        sigma_deviation=float(np.std(noise - noise_truth)),
        consistency_max=consistency_max,
        consistency_q999=consistency_q999,
        seconds=seconds,
        n_compared=len(generated),
        n_generated=int(generated.sum()),
        compared_mm=case.compared_mm,
        **reader_figures(case, prediction),
    )
    spacing = np.array(case.spacing_kji_mm)
    features = zip(compared.squeeze, compared.inception, strict=True)
    stacks = (ours, noise), (true, noise_truth)
    return row, *(_views(*stack, spacing, *both) for stack, both in zip(stacks, features, strict=True))


def consistency_residual(case: Case, prediction: np.ndarray) -> tuple[float, float]:
    """How far the re-acquired prediction is from the input: largest and 0.999 quantile of the absolute difference.

    In HU for CT and in thousandths of the range for MR, over all input slices that the result covers, not clipped.
    """
    difference = acquire(prediction, case.profile) - case.lowres.array[case.acquired].astype(np.float32)
    np.abs(difference, out=difference)
    quantile = np.quantile(difference, CONSISTENCY_QUANTILE)
    return float(difference.max()) / case.range.noise_unit, float(quantile) / case.range.noise_unit


def _views(stack, sigmas, spacing_kji_mm, squeeze, inception) -> Views:
    coronal, sagittal = stack[:, stack.shape[1] // 2], stack[:, :, stack.shape[2] // 2]
    return Views(coronal, sagittal, sigmas, squeeze, spacing_kji_mm, inception)
