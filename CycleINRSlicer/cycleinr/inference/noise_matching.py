"""CT: new slices get the noise level of the acquired ones, so that a stack of them does not flicker.

Thin slices: the network's slices are a few percent noisier or smoother than acquired ones, more so far from any
acquired slice. The acquired slices beside them tell what the level should be.

Thick slices are less noisy than the thin ones inside them by an amount that depends on the scanner's kernel. Of the
slices made of one thick slice the middle ones come out noisier than the outer ones. What thin slices' noise would be is
unknown, but it does not know where the thick ones were. So the part of the level that repeats with their spacing is
taken away, and its slow course along the scan follows the acquired slices'. Only fine detail of the size of noise is
scaled, and no voxel leaves the range of its own value and the acquired ones around it.

For MR the same step costs 0.2 to 0.5 dB (research/docs/results.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..grid import SliceGrid
from ..intensity import ValueRange, valid_in_result
from ..monitor import Monitor
from ..noise import matched, slice_sigmas
from ..resampling import SliceProfile, profile_matrix
from .bounded import within_plane
from .consistency import Arrays, Consistency, rows_at_once
from .plan import Plan

_EPSILON = 1e-6

_HARMONICS = 2
"""Of the acquired slices' spacing; more would fit what is no period in a short scan."""

_SLOW_INTERVALS = 3
"""A course over this many acquired slices is one of the anatomy."""

_THICKNESS_EXPONENT = 0.35
"""Noise of slices n times as thin is n to this power stronger; 0.5 if neighbouring slices shared none of it."""

_LARGEST_CHANGE = 0.4
_NEGLIGIBLE = 0.005
_DETAIL_SIGMAS = 3.0


def match_noise(
    result: np.ndarray,
    acquired: np.ndarray,
    work: Plan,
    values: ValueRange,
    monitor: Monitor,
    valid: np.ndarray | None = None,
    whole: WholeLevels | None = None,
) -> None:
    """Scale the fine detail of the new slices in place; re-slicing still gives acquired thin slices back.

    Args:
        result: (n_out, rows, columns), in the scan's units.
        acquired: (n_in, rows, columns).
        work: What was computed.
        values: The range of the whole scan.
        monitor: Can end the work.
        valid: Which pixels of the acquired slices are no padding; None for all.
        whole: Where only a part of the scan is computed, the noise levels of its slices.
    """
    if work.modality != "CT":
        return
    covering = work.covering
    own = slice(covering.before, covering.before + work.grid.n_out)
    profile, positions = covering.profile.of(slice(None), own), work.grid.positions()
    for slices, outputs in _parts(work.grid, positions):
        part = profile.of(slices, outputs)
        places, known = positions[outputs] - slices.start, None if valid is None else valid[slices]
        if part.is_thin:
            shares = profile_matrix(covering.profile)[slices, own][:, outputs]
            _match_thin(result[outputs], acquired[slices], places, part, shares, values, monitor, known)
        else:
            width = float(np.median(part.width))
            own_levels = whole and WholeLevels(whole.here[slices], whole.mean)
            even_out(result[outputs], acquired[slices], places, width, values, monitor, known, own_levels)


def _parts(grid: SliceGrid, positions: np.ndarray) -> list[tuple[slice, slice]]:
    """Acquired and output slices of each part with one spacing."""
    if grid.acquisition is None:
        return [(slice(0, grid.n_in), slice(0, grid.n_out))]
    parts = grid.acquisition.parts
    ends = [0, *(int(np.searchsorted(positions, part.last)) for part in parts[:-1]), grid.n_out]
    found = [(slice(part.first, part.last + 1), slice(*each)) for part, each in zip(parts, pairwise(ends), strict=True)]
    return [(slices, outputs) for slices, outputs in found if outputs.stop - outputs.start > 1]


def _match_thin(
    result: np.ndarray,
    acquired: np.ndarray,
    positions: np.ndarray,
    profile: SliceProfile,
    shares: np.ndarray,
    values: ValueRange,
    monitor: Monitor,
    valid: np.ndarray | None,
) -> None:
    """``match_noise`` of thin slices, with ``positions`` (n_out,) in units of acquired slices.

    ``shares`` (n_in, n_out) are what acquired slices see of the result, less than 1 in all where they see beyond it.
    """
    inside = shares.sum(axis=1) > 1 - _EPSILON
    new = positions != np.round(positions)
    new &= ~(shares[~inside] > 0).any(axis=0)
    wanted = np.interp(positions, np.arange(len(acquired)), slice_sigmas(acquired, valid))
    fine_valid = None if valid is None else valid_in_result(valid, positions)
    integer = result.dtype.kind in "iu"
    for index in np.flatnonzero(new):
        monitor.check()
        image = matched(
            result[index].astype(np.float32), wanted[index], valid=None if fine_valid is None else fine_valid[index]
        )
        values.write(image.round() if integer else image, result[index])
    if (shares[:, new] > 0).any():
        consistency = Consistency(profile.of(inside), float(values.low), float(values.high), integer, Arrays.numpy())
        _restore(result, acquired[inside], consistency, values, None if valid is None else valid[inside])


def _restore(
    result: np.ndarray,
    acquired: np.ndarray,
    consistency: Consistency,
    values: ValueRange,
    valid: np.ndarray | None,
) -> None:
    """Data consistency once more, where acquired slices lie between two new ones."""
    at_once = rows_at_once(result)
    for row in range(0, result.shape[1], at_once):
        rows = slice(row, row + at_once)
        fine, known = (stack[:, rows].astype(np.float32) for stack in (result, acquired))
        consistency.apply(fine, known, valid=None if valid is None else consistency.of(valid[:, rows]))
        values.write(fine, result[:, rows])


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
