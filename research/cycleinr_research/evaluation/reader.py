"""What a reader sees: agreement inside display windows, and structure that is not there.

Windows: brain -20 to 100 HU, soft tissue -160 to 240, lung -1350 to 150, bone -500 to 1300. MR has one, from 0 to the
truth's 99.9th percentile. Both volumes are clipped to the window, whose width is the data range, over all compared
slices.

A voxel is a false extreme if it is more than 30 HU below ("dark") or above ("bright") all of the truth's 3 x 5 x 5
neighbourhood (slices, rows, columns) among the compared slices; for MR, more than 1 % of the range.
"""

from __future__ import annotations

import math

import numpy as np
from cycleinr.resampling import profile_matrix
from scipy import ndimage

from . import metrics
from .protocol import PAIR, Case

CT_WINDOWS_HU = {"brain": (-20.0, 100.0), "soft": (-160.0, 240.0), "lung": (-1350.0, 150.0), "bone": (-500.0, 1300.0)}
DISPLAY = "display"
FALSE_EXTREME_HU = 30.0
MR_FALSE_EXTREME_UNITS = 10.0
NEIGHBOURHOOD = (3, 5, 5)

_DARK_HU, _BRAIN_HU, _BONE_HU = -20.0, (0.0, 80.0), 300.0
_TOUCHING = np.ones((3, 3, 3), bool)


def reader_figures(case: Case, prediction: np.ndarray) -> dict[str, float]:
    """Columns of a row about what a reader sees; those that the modality does not have are missing.

    Args:
        prediction: (n_out, J, I) in the volume's units.
    """
    ours, true = (np.asarray(stack[case.compared], dtype=np.float32) for stack in (prediction, case.truth))
    figures = {}
    for name, (low, high) in _windows(case).items():
        shown = [(np.clip(stack, low, high) - low) / (high - low) for stack in (ours, true)]
        figures[f"psnr_{name}_db"] = metrics.psnr(*shown, 1.0)
        figures[f"ssim_{name}"] = metrics.ssim_axial(*shown, 1.0)
    figures |= false_extremes(ours, true, _margin(case))
    if case.condition == PAIR:
        figures["truth_residual_rms"] = truth_residual(case)
        if case.modality == "CT":
            figures["dark_near_bone_percent"] = dark_near_bone(case, ours)
    return figures


def false_extremes(ours: np.ndarray, true: np.ndarray, margin: float) -> dict[str, float]:
    """Voxels beyond the truth's neighbourhood by more than ``margin``: shares in percent, and the largest patch.

    Args:
        ours, true: (K, J, I), the compared slices.

    Returns:
        Columns ``false_dark_percent``, ``false_bright_percent`` and ``false_patch_voxels``; a patch is of dark or of
        bright voxels that share a corner at least.
    """
    dark = ours < ndimage.minimum_filter(true, NEIGHBOURHOOD) - margin
    bright = ours > ndimage.maximum_filter(true, NEIGHBOURHOOD) + margin
    return {
        "false_dark_percent": 100 * float(dark.mean()),
        "false_bright_percent": 100 * float(bright.mean()),
        "false_patch_voxels": float(max(_largest_patch(dark), _largest_patch(bright))),
    }


def dark_near_bone(case: Case, ours: np.ndarray) -> float:
    """Share in percent of brain near bone that comes out below -20 HU; nan where the truth has none.

    Brain: 0 to 80 HU in the truth, opened once. Near bone: above 300 HU within one slice and two pixels.

    Args:
        ours: (K, J, I), the compared slices.
    """
    brain = ndimage.binary_opening((case.truth > _BRAIN_HU[0]) & (case.truth < _BRAIN_HU[1]))
    brain &= ndimage.maximum_filter(case.truth > _BONE_HU, NEIGHBOURHOOD)
    brain = brain[case.compared]
    return 100 * float((ours[brain] < _DARK_HU).mean()) if brain.any() else math.nan


def truth_residual(case: Case) -> float:
    """How far the truth itself, re-sliced with the assumed profile, is from the input: RMS in noise units.

    Over the input slices whose window lies inside the compared slices; nan if there are none.
    """
    matrix = profile_matrix(case.profile).astype(np.float32)
    outside = np.ones(matrix.shape[1], bool)
    outside[case.compared] = False
    whole = ~(matrix[:, outside] > 0).any(axis=1)
    again = np.tensordot(matrix[whole][:, ~outside], case.truth[case.compared].astype(np.float32), 1)
    error = again - case.lowres.array[case.acquired][whole]
    return (
        float(np.sqrt(np.mean(np.square(error), dtype=np.float64))) / case.range.noise_unit if whole.any() else math.nan
    )


def _windows(case: Case) -> dict[str, tuple[float, float]]:
    return (
        CT_WINDOWS_HU if case.modality == "CT" else {DISPLAY: (case.range.offset, case.range.offset + case.range.width)}
    )


def _margin(case: Case) -> float:
    return FALSE_EXTREME_HU if case.modality == "CT" else MR_FALSE_EXTREME_UNITS * case.range.noise_unit


def _largest_patch(mask: np.ndarray) -> int:
    labels, count = ndimage.label(mask, _TOUCHING)
    return int(np.bincount(labels.reshape(-1))[1:].max()) if count else 0
