"""Brightness that changes from slice to slice, as 2D MR is often acquired: measured, evened out, and put back.

Each slice of a 2D acquisition has a gain of its own (cross-talk, interleaved order, receiver). Anatomy and coils change
the brightness too, but slowly. So a slice's gain is what its brightness has beyond the smooth course along the slices.
"""

from __future__ import annotations

import numpy as np

from .grid import SliceGrid
from .intensity import robust_maximum

_TISSUE_SHARE = 0.15
_FEW_PIXELS = 2000
"""With fewer pixels of tissue, differences of the anatomy look like gains."""

_PIXELS_ACROSS = 160
_SMOOTH_COURSE = np.array([1, 4, 6, 4, 1]) / 16
"""Binomial weights; a gain that alternates from slice to slice is wholly outside of what they let through."""


def log_gains(stack: np.ndarray) -> np.ndarray:
    """Natural logarithm of each slice's gain against the smooth course, (slices,) float64.

    Args:
        stack: (slices, rows, columns), intensities whose zero means no signal.
    """
    course = np.concatenate([[0.0], np.cumsum(_log_ratios(stack))])
    reach = len(_SMOOTH_COURSE) // 2
    # Odd reflection: a course that rises at an end goes on rising
    padded = np.pad(course, reach, mode="reflect", reflect_type="odd")
    return course - np.convolve(padded, _SMOOTH_COURSE, mode="valid")


def typical_step(gains: np.ndarray) -> float:
    """How much brighter or darker a slice typically is than the mean of its two neighbours, as a share."""
    return float(np.median(np.abs(gains[1:-1] - (gains[:-2] + gains[2:]) / 2)))


def evened(stack: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """The stack with each slice's gain taken out, float32."""
    return stack * np.exp(-gains).astype(np.float32)[:, None, None]


def gains_of_result(gains: np.ndarray, grid: SliceGrid) -> np.ndarray:
    """Log gain of each slice of a result, (n_out,), by which it gets the scan's own brightness back.

    At an acquired position it is that slice's gain, and between two it runs straight from one to the other: softer
    bands than those of a result that is made to give each slab's brightness back.

    Args:
        gains: Of the acquired slices, (n_in,).
        grid: The result's slices.
    """
    return np.interp(grid.positions(), np.arange(grid.n_in), gains)


def put_back(fine: np.ndarray, gains: np.ndarray, low: float, high: float, out: np.ndarray) -> None:
    """Multiply each slice by its gain into ``out``, within the scan's range, rounded where ``out`` holds integers."""
    for n, slice_ in enumerate(fine):
        image = np.clip(slice_ * np.float32(np.exp(gains[n])), low, high)
        out[n] = np.rint(image) if out.dtype.kind in "iu" else image


def _log_ratios(stack: np.ndarray) -> np.ndarray:
    """Logarithm of the median ratio of each slice to the one before, over the tissue that both show."""
    step = max(1, min(stack.shape[1:]) // _PIXELS_ACROSS)
    small = stack[:, ::step, ::step].astype(np.float32)
    limit = _TISSUE_SHARE * robust_maximum(small) + max(0.0, float(small.min()))
    ratios = np.zeros(len(small) - 1)
    for n, (before, after) in enumerate(zip(small[:-1], small[1:], strict=True)):
        tissue = (before > limit) & (after > limit)
        if np.count_nonzero(tissue) >= _FEW_PIXELS:
            ratios[n] = np.median(np.log(after[tissue] / before[tissue]))
    return ratios
