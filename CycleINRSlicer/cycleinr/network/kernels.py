"""One-dimensional kernels in NumPy: through-plane interpolation and the low-pass filter over the pixels.

Cubic convolution: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29 (1981),
a = -1/2.
Cubic B-spline: M. Unser, "Splines: a perfect fit for signal and image processing", IEEE SPM 16 (1999).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .config import NEIGHBOURS

_CUTOFF = 0.7
"""Of the Nyquist frequency."""


def neighbour_indices(positions: np.ndarray, slices: int) -> tuple[np.ndarray, np.ndarray]:
    """The four nearest slices of each position and the offsets from them.

    Args:
        positions: Query positions in units of acquired slices, any shape; 0 is the first slice's centre.
        slices: Number of acquired slices, at least 2.

    Returns:
        Indices (..., 4), which may be -1 or ``slices`` where a neighbour is missing, and offsets ``position - index``
        (..., 4). Positions outside the stack take the outermost interval.
    """
    first = np.clip(np.floor(positions), 0, slices - 2).astype(np.int64) - 1
    indices = first[..., None] + np.arange(NEIGHBOURS)
    return indices, positions[..., None] - indices


def cubic_weights(positions: np.ndarray, slices: int) -> np.ndarray:
    """Keys's weights for the four slices of ``neighbour_indices``, (..., 4), zero for missing ones.

    A missing neighbour is replaced by linear extrapolation from the two next to it; positions outside the stack take
    the outermost slice's value.
    """
    indices, offsets = neighbour_indices(np.clip(positions, 0, slices - 1), slices)
    x = np.abs(offsets)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    w0, w3 = weights[..., 0] * (indices[..., 0] < 0), weights[..., 3] * (indices[..., 3] >= slices)
    return weights + np.stack([-w0, 2 * w0 - w3, 2 * w3 - w0, -w3], axis=-1)


def bspline_weights(positions: np.ndarray, slices: int) -> np.ndarray:
    """Weights of all acquired slices in cubic B-spline interpolation, mirrored at the ends.

    Args:
        positions: (...,) in units of acquired slices; those outside the stack take the outermost slice's value.
        slices: Number of acquired slices, at least 2.

    Returns:
        (..., slices) in double precision, falling off by a factor of 3.7 a slice.
    """
    knots = np.arange(-1, slices + 1)
    mirrored = np.abs(knots)
    mirrored = np.where(mirrored > slices - 1, 2 * (slices - 1) - mirrored, mirrored)
    fold = np.zeros((slices + 2, slices))
    fold[np.arange(slices + 2), mirrored] = 1
    at_slices = _cubic_basis(np.arange(slices)[:, None] - knots) @ fold
    inside = np.clip(positions, 0, slices - 1).astype(np.float64)
    return _cubic_basis(inside[..., None] - knots) @ fold @ np.linalg.inv(at_slices)


def _cubic_basis(offset: np.ndarray) -> np.ndarray:
    x = np.abs(offset)
    return np.where(x < 1, 2 / 3 - x * x + x**3 / 2, np.clip(2 - x, 0, None) ** 3 / 6)


@lru_cache(maxsize=8)
def low_pass(taps: int) -> tuple[float, ...]:
    """Hamming-windowed sinc that passes what lies below 0.7 of the Nyquist frequency; its weights sum to 1.

    1 tap filters nothing.
    """
    weights = np.sinc(_CUTOFF * (np.arange(taps) - (taps - 1) / 2)) * np.hamming(taps)
    return tuple((weights / weights.sum()).tolist())
