"""Thick CT slices: the noise of the new slices without the period of the acquired ones.

Of the slices made of one thick slice the middle ones come out noisier than the outer ones, and a stack of them
flickers with the spacing of the scan. What thin slices' noise would be is unknown, but it does not know where the
thick ones were. So the part of the level that repeats with their spacing is taken away, and its slow course along the
scan follows the acquired slices'. Only fine detail of the size of noise is scaled, and no voxel leaves the range of
its own value and the acquired ones around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..intensity import ValueRange
from ..monitor import Monitor
from ..noise import matched, slice_sigmas
from ..padding import valid_in_result
from .bounded import within_plane

_HARMONICS = 2
"""Of the acquired slices' spacing; more would fit what is no period in a short scan."""

_SLOW_INTERVALS = 3
"""A course over this many acquired slices is one of the anatomy."""

_THICKNESS_EXPONENT = 0.35
"""Noise of slices n times as thin is n to this power stronger; 0.5 if neighbouring slices shared none of it."""

_LARGEST_CHANGE = 0.4
_NEGLIGIBLE = 0.005
_DETAIL_SIGMAS = 3.0


@dataclass(frozen=True)
class WholeLevels:
    """Noise levels of whole acquired slices, for a part of a scan.

    Attributes:
        here: (n_in,) of the slices that the part has a piece of.
        mean: Over all slices of the scan.
    """

    here: np.ndarray
    mean: float


def even_out(
    result: np.ndarray,
    acquired: np.ndarray,
    positions: np.ndarray,
    thickness: float,
    values: ValueRange,
    monitor: Monitor,
    valid: np.ndarray | None = None,
    whole: WholeLevels | None = None,
) -> None:
    """Scale the fine detail of slices in place until their noise level is free of the period.

    Args:
        result: (n_out, rows, columns), in the scan's units.
        acquired: (n_in, rows, columns).
        positions: (n_out,) in units of acquired slices.
        thickness: Of an acquired slice, in result slices.
        values: The range of the whole scan.
        monitor: Can end the work.
        valid: Which pixels of the acquired slices are no padding; None for all.
        whole: Where the stacks are a part of a scan, the noise levels of its slices.
    """
    fine_valid = None if valid is None else valid_in_result(valid, positions)
    own = slice_sigmas(result, fine_valid)
    levels = slice_sigmas(acquired, valid)
    wanted = even_levels(own, levels, positions, thickness)
    if whole is not None:
        # What slices have in common with the part is how much noisier than acquired ones they are
        to_whole = np.interp(positions, np.arange(len(levels)), whole.here / np.maximum(levels, 1e-6))
        wanted = even_levels(own * to_whole, whole.here, positions, thickness, whole.mean) / to_whole
    nearest = np.clip(np.round(positions), 0, len(acquired) - 1).astype(int)
    seen = -1
    for index in np.flatnonzero(np.abs(wanted - own) > _NEGLIGIBLE * own):
        monitor.check()
        if nearest[index] != seen:
            seen = nearest[index]
            floor, ceiling = _around(acquired, seen)
        before = result[index].astype(np.float32)
        mask = None if fine_valid is None else fine_valid[index]
        image = matched(before, wanted[index], _DETAIL_SIGMAS * own[index], mask)
        np.clip(image, np.minimum(before, floor), np.maximum(before, ceiling), out=image)
        values.write(image.round() if result.dtype.kind in "iu" else image, result[index])


def even_levels(
    own: np.ndarray, acquired: np.ndarray, positions: np.ndarray, thickness: float, mean: float | None = None
) -> np.ndarray:
    """The noise levels that slices should have.

    Args:
        own: (n_out,) levels that they have.
        acquired: (n_in,) the acquired slices' levels.
        positions: (n_out,) in units of acquired slices.
        thickness: Of an acquired slice, in result slices.
        mean: Of the acquired levels of the whole scan, where these are a part of it.
    """
    floor = 1e-3 * max(float(own.max()), 1e-6)
    levels = np.log(np.maximum(own, floor))
    window = _SLOW_INTERVALS / (positions[1] - positions[0])
    waves = np.cos(2 * np.pi * np.arange(1, _HARMONICS + 1) * positions[:, None])
    fast = np.clip(levels - _sliding_mean(levels, window), -_LARGEST_CHANGE, _LARGEST_CHANGE)
    shares = np.linalg.lstsq(waves - _sliding_mean(waves, window), fast, rcond=1e-3)[0]
    even = own * np.exp(-(waves - waves.mean(axis=0)) @ shares)
    course = np.interp(positions, np.arange(len(acquired)), acquired)
    level = even.mean() if mean is None else even.mean() * mean / max(course.mean(), 1e-6)
    course = level + thickness**_THICKNESS_EXPONENT * (course - (course.mean() if mean is None else mean))
    wanted = even + _sliding_mean(course - even, window)
    return np.clip(wanted, (1 - _LARGEST_CHANGE) * own, (1 + _LARGEST_CHANGE) * own)


def _sliding_mean(values: np.ndarray, window: float) -> np.ndarray:
    """Mean over a window of any width around each value along axis 0, over what there is at the ends."""
    index = np.arange(len(values))
    low = np.maximum(index[:, None] - window / 2, index - 0.5)
    weights = np.clip(np.minimum(index[:, None] + window / 2, index + 0.5) - low, 0, None)
    return weights @ values / weights.sum(axis=1).reshape(-1, *[1] * (values.ndim - 1))


def _around(acquired: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest acquired value around every pixel of slice n, as `BoundedConsistency` sees them."""
    near = acquired[max(n - 1, 0) : n + 2]
    return tuple(
        within_plane(extreme, extreme.reduce(near, axis=0, keepdims=True))[0].astype(np.float32)
        for extreme in (np.minimum, np.maximum)
    )
