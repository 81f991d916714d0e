"""Interpolation between slices: nearest, linear, cubic convolution and cubic B-spline, as weights and on volumes.

Each is linear along k, so each is one matrix of weights that all pixel columns share. Positions are in units of
acquired slices; 0 is the first slice's centre.

Cubic convolution: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29 (1981),
a = -1/2.
Cubic B-spline: M. Unser, "Splines: a perfect fit for signal and image processing", IEEE SPM 16 (1999).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .grid import SliceGrid
from .volume import Volume

Reconstruction = Callable[[Volume, SliceGrid], np.ndarray]
"""method(volume_lr, grid) -> float32 (n_out, rows, columns), resampled along axis k."""

NEIGHBOURS = 4
"""Acquired slices that cubic convolution and the network look at, two on each side of the position."""

_NEGLIGIBLE_WEIGHT = 1e-12


def nearest(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """The nearest acquired slice; halfway between two, the later one."""
    return resampled(nearest_weights(grid.positions(), grid.n_in), volume_lr)


def linear(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """Linear interpolation between the two neighbouring slices; the outermost slices are repeated outwards."""
    return resampled(linear_weights(grid.positions(), grid.n_in), volume_lr)


def bspline(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """Cubic B-spline interpolation through the acquired slices, mirrored at the ends."""
    return resampled(bspline_weights(grid.positions(), grid.n_in), volume_lr)


def resampled(weights: np.ndarray, volume_lr: Volume) -> np.ndarray:
    """Weights (n_out, n_in) applied to a volume's slices, float32 (n_out, rows, columns)."""
    stack = np.ascontiguousarray(volume_lr.array, dtype=np.float32)
    flat = weights.astype(np.float32) @ stack.reshape(stack.shape[0], -1)
    return flat.reshape(len(weights), *stack.shape[1:])


def nearest_weights(positions: np.ndarray, slices: int) -> np.ndarray:
    """Weights (n_out, slices) of `nearest`."""
    weights = np.zeros((len(positions), slices))
    weights[np.arange(len(positions)), np.clip(np.floor(positions + 0.5), 0, slices - 1).astype(int)] = 1.0
    return weights


def linear_weights(positions: np.ndarray, slices: int) -> np.ndarray:
    """Weights (n_out, slices) of `linear`."""
    clamped = np.clip(positions, 0, slices - 1)
    return np.clip(1.0 - np.abs(clamped[:, None] - np.arange(slices)), 0.0, 1.0)


def neighbour_indices(positions: np.ndarray, slices: int) -> tuple[np.ndarray, np.ndarray]:
    """The four nearest slices of each position and the offsets from them.

    Args:
        positions: Of any shape.
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
    """Weights of all acquired slices in `bspline`, double precision, (..., slices); they fall off by 3.7 a slice."""
    at_slices = _cubic_basis(np.arange(slices, dtype=np.float64), slices)
    weights = _cubic_basis(np.asarray(positions, dtype=np.float64), slices) @ np.linalg.inv(at_slices)
    # At an acquired slice only rounding is left beside the 1; without it the slice is returned bit by bit.
    weights[np.abs(weights) < _NEGLIGIBLE_WEIGHT] = 0.0
    return weights


def _cubic_basis(positions: np.ndarray, slices: int) -> np.ndarray:
    """The basis functions at the positions, those of mirrored slices added to their originals', (..., slices)."""
    first = np.floor(positions).astype(np.int64) - 1
    basis = np.zeros((*positions.shape, slices))
    for tap in range(NEIGHBOURS):
        knots = first + tap
        x = np.abs(positions - knots)
        value = np.where(x < 1, 2 / 3 - x * x + x**3 / 2, np.clip(2 - x, 0, None) ** 3 / 6)
        mirrored = _mirrored(knots, slices)[..., None]
        np.put_along_axis(basis, mirrored, np.take_along_axis(basis, mirrored, -1) + value[..., None], -1)
    return basis


def _mirrored(index: np.ndarray, n: int) -> np.ndarray:
    """Indices reflected about the centres of the first and last slice: -1 -> 1, n -> n - 2."""
    if n == 1:
        return np.zeros_like(index)
    folded = np.abs(index) % (2 * n - 2)
    return np.where(folded < n, folded, 2 * n - 2 - folded)
