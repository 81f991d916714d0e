"""Motion between the two halves of an interleaved 2D acquisition: odd slices lie beside even ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .noise import smoothed

_MAX_TRIPLES = 16
_PIXELS_ACROSS = 160
_BLUR_PIXELS = 1.5
_FEWEST_PIXELS = 8
"""A smaller image tells nothing of its place."""



@dataclass(frozen=True)
class Displacement:
    """How far odd slices lie from even ones in the plane.

    Attributes:
        rows, columns: Median over the slices, in pixels.
        agreement: Share of the slices that are displaced to that side; 0.5 is chance.
    """

    rows: float
    columns: float
    agreement: float


def interleaved_displacement(stack: np.ndarray) -> Displacement:
    """Least-squares displacement of each slice from its neighbours' mean; odd and even slices have opposite signs.

    Linear in the displacement (Lucas and Kanade 1981), so it finds at most about two pixels' blur.

    Args:
        stack: (slices, rows, columns), any real type, at least 4 slices.
    """
    if min(stack.shape[1:]) < _FEWEST_PIXELS:
        return Displacement(0.0, 0.0, 0.0)
    step = max(1, min(stack.shape[1:]) // _PIXELS_ACROSS)
    middles = np.arange(1, len(stack) - 1)
    if len(middles) > _MAX_TRIPLES:
        first = (len(middles) - _MAX_TRIPLES) // 2
        middles = middles[first : first + _MAX_TRIPLES]
    small = {n: _blurred(stack[n], step) for n in range(middles[0] - 1, middles[-1] + 2)}
    signs = np.where(middles % 2, 1.0, -1.0)
    found = np.array([_shift(small[n], (small[n - 1] + small[n + 1]) / 2) for n in middles]) * signs[:, None] * step
    both = np.median(found, axis=0)
    return Displacement(float(both[0]), float(both[1]), float((found @ both > 0).mean()))


def _shift(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Rows and columns by which ``image`` lies beyond ``reference``; a gain and an offset between them do not count."""
    # Squares of a sentinel are beyond float32
    image, reference = image.astype(np.float64), reference.astype(np.float64)
    down, right = np.gradient(reference)
    basis = np.stack([-down, -right, reference, np.ones_like(reference)]).reshape(4, -1)
    return np.linalg.lstsq(basis @ basis.T, basis @ image.reshape(-1), rcond=None)[0][:2]


def _blurred(image: np.ndarray, step: int) -> np.ndarray:
    rows, columns = (size // step * step for size in image.shape)
    blocks = image[:rows, :columns].reshape(rows // step, step, columns // step, step)
    return smoothed(np.nan_to_num(blocks.mean(axis=(1, 3), dtype=np.float32)), _BLUR_PIXELS)
