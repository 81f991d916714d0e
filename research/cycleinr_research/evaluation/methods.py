"""Plain interpolation between slices: what users have without a trained network.

Each of these methods is linear along k, so each is one matrix of weights (n_out, n_in) that all pixel columns share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..grid import SliceGrid
from ..volume import Volume
from .noise_matching import match_noise

Reconstruction = Callable[[Volume, SliceGrid], np.ndarray]
"""method(volume_lr, grid) -> float32 (n_out, rows, columns), resampled along axis k."""

LANCZOS_LOBES = 3
_NEGLIGIBLE_WEIGHT = 1e-12


@dataclass(frozen=True)
class Method:
    """Something that fills in slices, with the name that files use and the label that tables print.

    :param only_ratio: the one ratio that the method is made for; None for any.
    """

    name: str
    label: str
    run: Reconstruction
    only_ratio: float | None = None

    def serves(self, ratio: float) -> bool:
        """Whether the method is made for this ratio."""
        return self.only_ratio is None or abs(ratio - self.only_ratio) < 1e-3


def nearest(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """The nearest acquired slice; halfway between two, the later one."""
    return _apply(nearest_weights(grid.positions(), grid.n_in), volume_lr)


def linear(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """Linear interpolation between the two neighbouring slices; the outermost slices are repeated outwards."""
    return _apply(linear_weights(grid.positions(), grid.n_in), volume_lr)


def bspline(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """Cubic B-spline interpolation through the acquired slices, mirrored at the ends."""
    return _apply(bspline_weights(grid.positions(), grid.n_in), volume_lr)


def lanczos(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """Lanczos-windowed sinc with 3 lobes; the outermost slices are repeated outwards, weights sum to 1."""
    return _apply(lanczos_weights(grid.positions(), grid.n_in), volume_lr)


def noise_matched(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """B-spline, then each new slice's fine detail scaled until its noise matches its acquired neighbours'."""
    return match_noise(bspline(volume_lr, grid), grid.positions(), volume_lr.array)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("nearest", "Nearest slice", nearest),
        Method("linear", "Linear", linear),
        Method("bspline", "Cubic B-spline", bspline),
        Method("lanczos", "Lanczos (a = 3)", lanczos),
        Method("noise_matched", "B-spline + noise matching", noise_matched),
    )
}
"""The plain methods by name. Add a `Method` to a copy to measure anything else beside them."""


def nearest_weights(positions: np.ndarray, n_in: int) -> np.ndarray:
    """Weights (n_out, n_in) of `nearest`; positions in units of input slices."""
    weights = np.zeros((len(positions), n_in))
    weights[np.arange(len(positions)), np.clip(np.floor(positions + 0.5), 0, n_in - 1).astype(int)] = 1.0
    return weights


def linear_weights(positions: np.ndarray, n_in: int) -> np.ndarray:
    """Weights (n_out, n_in) of `linear`; positions in units of input slices."""
    clamped = np.clip(positions, 0, n_in - 1)
    return np.clip(1.0 - np.abs(clamped[:, None] - np.arange(n_in)), 0.0, 1.0)


def bspline_weights(positions: np.ndarray, n_in: int) -> np.ndarray:
    """Weights (n_out, n_in) of `bspline`; positions in units of input slices.

    The prefilter, applied to unit impulses, times the cubic B-spline basis at the positions.
    Source: Unser, IEEE Signal Processing Magazine 16(6), 1999.
    """
    from scipy.ndimage import spline_filter1d

    coefficients = spline_filter1d(np.eye(n_in), order=3, axis=0, mode="mirror")
    first = np.floor(positions).astype(int) - 1
    weights = np.zeros((len(positions), n_in))
    for tap in range(4):
        distance = np.abs(positions - (first + tap))
        basis = np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6)
        weights += basis[:, None] * coefficients[_mirrored(first + tap, n_in)]
    # At an acquired slice only rounding is left beside the 1; without it the slice is returned bit by bit.
    weights[np.abs(weights) < _NEGLIGIBLE_WEIGHT] = 0.0
    return weights


def lanczos_weights(positions: np.ndarray, n_in: int) -> np.ndarray:
    """Weights (n_out, n_in) of `lanczos`; positions in units of input slices.

    Source: Duchon, Journal of Applied Meteorology 18(8), 1979.
    """
    first = np.floor(positions).astype(int) - LANCZOS_LOBES + 1
    taps = first[:, None] + np.arange(2 * LANCZOS_LOBES)
    distance = positions[:, None] - taps
    kernel = np.where(np.abs(distance) < LANCZOS_LOBES, np.sinc(distance) * np.sinc(distance / LANCZOS_LOBES), 0.0)
    kernel[np.abs(kernel) < _NEGLIGIBLE_WEIGHT] = 0.0
    weights = np.zeros((len(positions), n_in))
    rows = np.broadcast_to(np.arange(len(positions))[:, None], taps.shape)
    np.add.at(weights, (rows, np.clip(taps, 0, n_in - 1)), kernel)
    return weights / weights.sum(axis=1, keepdims=True)


def _mirrored(index: np.ndarray, n: int) -> np.ndarray:
    """Indices reflected about the centres of the first and last slice: -1 -> 1, n -> n - 2."""
    if n == 1:
        return np.zeros_like(index)
    folded = np.abs(index) % (2 * n - 2)
    return np.where(folded < n, folded, 2 * n - 2 - folded)


def _apply(weights: np.ndarray, volume_lr: Volume) -> np.ndarray:
    stack = np.ascontiguousarray(volume_lr.array, dtype=np.float32)
    flat = weights.astype(np.float32) @ stack.reshape(stack.shape[0], -1)
    return flat.reshape(len(weights), *stack.shape[1:])
