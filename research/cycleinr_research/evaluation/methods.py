"""The methods without a trained network: plain interpolation between slices, and noise matching after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cycleinr.grid import SliceGrid
from cycleinr.inference.noise import slice_sigmas
from cycleinr.resampling import bspline_weights, linear_weights, nearest_weights, resampled, smoothed
from cycleinr.volume import Volume
from scipy.optimize import brentq

Reconstruction = Callable[[Volume, SliceGrid], np.ndarray]
"""method(volume_lr, grid) -> float32 (n_out, rows, columns), resampled along axis k."""

LANCZOS_LOBES = 3
_NEGLIGIBLE_WEIGHT = 1e-12
_LOWEST_GAIN, _HIGHEST_GAIN = 0.25, 4.0


@dataclass(frozen=True)
class Method:
    """Something that fills in slices, with the name that files use and the label that tables print.

    Attributes:
        only_ratio: The one ratio that the method is made for; None for any.
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
    return resampled(nearest_weights(grid.positions(), grid.n_in), volume_lr.array)


def linear(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """Linear interpolation between the two neighbouring slices; the outermost slices are repeated outwards."""
    return resampled(linear_weights(grid.positions(), grid.n_in), volume_lr.array)


def bspline(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """Cubic B-spline interpolation through the acquired slices, mirrored at the ends."""
    return resampled(bspline_weights(grid.positions(), grid.n_in), volume_lr.array)


def lanczos(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """Lanczos-windowed sinc with 3 lobes; the outermost slices are repeated outwards, weights sum to 1."""
    return resampled(lanczos_weights(grid.positions(), grid.n_in), volume_lr.array)


def noise_matched(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
    """B-spline, then each new slice's fine detail scaled until its noise matches its acquired neighbours'.

    The aim is interpolated linearly between the sigmas of the neighbouring acquired slices; slices at acquired
    positions are not touched.
    """
    slices, positions = bspline(volume_lr, grid), grid.positions()
    wanted = np.interp(positions, np.arange(len(volume_lr.array)), slice_sigmas(volume_lr.array))
    for index in np.flatnonzero(positions != np.round(positions)):
        slices[index] = _matched(slices[index], wanted[index])
    return slices


def _matched(image: np.ndarray, wanted: float) -> np.ndarray:
    """A slice whose fine detail, the image minus its Gaussian of 1 pixel, is scaled until its noise is as wanted."""
    smooth = smoothed(image, 1.0)
    detail = image - smooth

    def surplus(gain: float) -> float:
        return float(slice_sigmas((smooth + np.float32(gain) * detail)[None])[0]) - wanted

    if surplus(_LOWEST_GAIN) >= 0 or surplus(_HIGHEST_GAIN) <= 0:
        gain = _LOWEST_GAIN if surplus(_LOWEST_GAIN) >= 0 else _HIGHEST_GAIN
    else:
        gain = brentq(surplus, _LOWEST_GAIN, _HIGHEST_GAIN, xtol=1e-3)
    return smooth + np.float32(gain) * detail


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


def lanczos_weights(positions: np.ndarray, n_in: int) -> np.ndarray:
    """Weights (n_out, n_in) of ``lanczos``; positions in units of input slices.

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
