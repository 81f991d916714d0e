"""CT: new slices get the noise level of the acquired ones, so that a stack of them does not flicker.

Levels are measured around every pixel, so a part of a scan that is computed alone gets what it has in the whole.

Thin slices: the network's slices are up to a fifth noisier or smoother than acquired ones, more so far from any
acquired slice. The acquired slices beside them tell what the level should be.

Thick slices are less noisy than the thin ones inside them by an amount that depends on the scanner's kernel. Of the
slices made of one thick slice the middle ones come out noisier than the outer ones. What thin slices' noise would be is
unknown, but it does not know where the thick ones were. So what repeats with the acquired slices is taken from the
level, and its slow course along the scan follows the acquired slices'. Only fine detail of the size of noise is scaled,
and no voxel leaves the range of its own value and the acquired ones around it.

For MR the same step costs 0.2 to 0.5 dB (research/docs/results.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from ..grid import AXIS_OF_ARRAY, SliceGrid
from ..intensity import ValueRange
from ..monitor import Monitor
from ..noise import STEP_PIXELS, local_sigmas, with_local_sigmas
from ..resampling import SliceProfile, profile_matrix
from .consistency import Arrays, Consistency, rows_at_once, within_plane
from .plan import Plan

_EPSILON = 1e-6

_HARMONICS = 2
"""Of the acquired slices' spacing; more would fit what is no period."""

_PERIODS = 12
"""Acquired intervals to either side that tell what repeats."""

_SLOW_SLICES = 3
"""A course over this many acquired slices is one of the anatomy."""

_LEVEL_EXPONENT, _COURSE_EXPONENT = 0.1, 0.4
"""The acquired slices' mean level times thickness in result slices to the one power, their course to the other.

Noise that slices do not share grows with the power 0.5, the course of real thin slices as here. A mean level as high
would be more than the network predicts."""

_LARGEST_CHANGE = 0.4
_DETAIL_SIGMAS = 3.5
"""Of an acquired slice; what is beyond is an edge."""


@dataclass(frozen=True, eq=False)
class Stacks:
    """Slices before and after; all of a scan, or those of one spacing.

    Attributes:
        result: (n_out, rows, columns), in the scan's units.
        acquired: (n_in, rows, columns).
        positions: (n_out,) of the result's slices in units of acquired slices.
        values: The range of the whole scan.
        valid: Which pixels of the acquired slices are no padding; None for all.
    """

    result: np.ndarray
    acquired: np.ndarray
    positions: np.ndarray
    values: ValueRange
    valid: np.ndarray | None = None

    def of(self, slices: slice, outputs: slice) -> Stacks:
        """Some acquired slices and the result's slices between them."""
        valid, positions = self.valid if self.valid is None else self.valid[slices], self.positions[outputs]
        return Stacks(self.result[outputs], self.acquired[slices], positions - slices.start, self.values, valid)

    def shares(self) -> np.ndarray:
        """(n_out, n_in): what linear interpolation takes of each acquired slice."""
        numbers = np.arange(len(self.acquired))
        return np.clip(1 - np.abs(np.clip(self.positions, 0, numbers[-1])[:, None] - numbers), 0, None)

    def replace(self, index: int, image: np.ndarray) -> None:
        """Write a slice of the result, rounded where it holds integers."""
        self.values.write(image.round() if self.result.dtype.kind in "iu" else image, self.result[index])


def match_noise(stacks: Stacks, work: Plan, levels: np.ndarray, monitor: Monitor) -> None:
    """Scale the fine detail of the new slices in place; re-slicing still gives acquired thin slices back.

    Args:
        stacks: What was computed, of the whole scan or of a part.
        work: How.
        levels: ``slice_sigmas`` of all of the scan's slices.
        monitor: Can end the work.
    """
    grid, covering = work.grid, work.covering
    own = slice(covering.before, covering.before + grid.n_out)
    profile, matrix = covering.profile.of(slice(None), own), profile_matrix(covering.profile)[:, own]
    for slices, outputs in _parts(grid, stacks.positions):
        part, some = profile.of(slices, outputs), stacks.of(slices, outputs)
        if part.is_thin:
            _match_thin(some, part, matrix[slices, outputs], monitor)
        else:
            # A part of an even scan follows the course of the whole
            even = grid.acquisition is None
            of_all = levels if even else levels[slices]
            course = _sliding_mean_weights(np.arange(len(of_all)), _SLOW_SLICES) @ of_all
            here = course[work.part.source[AXIS_OF_ARRAY[grid.axis]]] if even else course
            even_out(some, here, float(of_all.mean()), float(np.median(part.width)), monitor)


def _parts(grid: SliceGrid, positions: np.ndarray) -> list[tuple[slice, slice]]:
    """Acquired and output slices of each part with one spacing."""
    if grid.acquisition is None:
        return [(slice(0, grid.n_in), slice(0, grid.n_out))]
    parts = grid.acquisition.parts
    ends = [0, *(int(np.searchsorted(positions, part.last)) for part in parts[:-1]), grid.n_out]
    found = [(slice(part.first, part.last + 1), slice(*each)) for part, each in zip(parts, pairwise(ends), strict=True)]
    return [(slices, outputs) for slices, outputs in found if outputs.stop - outputs.start > 1]


def _match_thin(stacks: Stacks, profile: SliceProfile, seen: np.ndarray, monitor: Monitor) -> None:
    """``match_noise`` of thin slices; ``seen`` (n_in, n_out) is what acquired slices see of the result, less than 1 in
    all where they see beyond it."""
    inside = seen.sum(axis=1) > 1 - _EPSILON
    new = stacks.positions != np.round(stacks.positions)
    new &= ~(seen[~inside] > 0).any(axis=0)
    shares = stacks.shares()
    levels = lru_cache(2)(lambda n: local_sigmas(stacks.acquired[n].astype(np.float32)))
    for index in np.flatnonzero(new):
        monitor.check()
        image = stacks.result[index].astype(np.float32)
        wanted = sum(np.float32(shares[index, n]) * levels(n) for n in np.flatnonzero(shares[index]).tolist())
        stacks.replace(index, with_local_sigmas(image, local_sigmas(image), wanted))
    if (seen[:, new] > 0).any():
        _restore(stacks, profile.of(inside), inside)


def _restore(stacks: Stacks, profile: SliceProfile, inside: np.ndarray) -> None:
    """Data consistency once more with the slices ``inside``, where acquired slices lie between two new ones."""
    values, result = stacks.values, stacks.result
    acquired, valid = (each if each is None else each[inside] for each in (stacks.acquired, stacks.valid))
    integer = result.dtype.kind in "iu"
    consistency = Consistency(profile, float(values.low), float(values.high), integer, Arrays.numpy())
    at_once = rows_at_once(result)
    for row in range(0, result.shape[1], at_once):
        rows = slice(row, row + at_once)
        fine, known = (stack[:, rows].astype(np.float32) for stack in (result, acquired))
        consistency.apply(fine, known, valid=None if valid is None else consistency.of(valid[:, rows]))
        values.write(fine, result[:, rows])


def even_out(stacks: Stacks, levels: np.ndarray, mean_level: float, thickness: float, monitor: Monitor) -> None:
    """Scale the fine detail of slices made of thick ones in place until their noise level is free of the period.

    Args:
        stacks: What was computed.
        levels: (n_in,) slow course of the whole acquired slices' noise levels.
        mean_level: Of all of the scan's slices.
        thickness: Of an acquired slice, in result slices.
        monitor: Can end the work.
    """
    positions, result, shares = stacks.positions, stacks.result, stacks.shares()
    course = shares @ np.maximum(levels, _EPSILON)
    wanted_course = thickness**_LEVEL_EXPONENT * mean_level + thickness**_COURSE_EXPONENT * (course - mean_level)
    without_period, slow = _without_period(positions), _sliding_mean_weights(positions, _SLOW_SLICES)
    own_weights = without_period - slow @ without_period
    acquired_weights = slow @ (np.clip(wanted_course / course, 0, None)[:, None] * shares)
    own, of_acquired = _coarse_levels(result), _coarse_levels(stacks.acquired)
    wanted = np.tensordot(np.float32(own_weights), own, 1) + np.tensordot(np.float32(acquired_weights), of_acquired, 1)
    np.clip(wanted, (1 - _LARGEST_CHANGE) * own, (1 + _LARGEST_CHANGE) * own, out=wanted)
    nearest, seen = np.clip(np.round(positions), 0, len(stacks.acquired) - 1).astype(int), -1
    for index in range(len(result)):
        monitor.check()
        if nearest[index] != seen:
            seen = nearest[index]
            floor, ceiling = _around(stacks.acquired, seen)
        before = result[index].astype(np.float32)
        levels_here = (_at_every_pixel(coarse[index], before.shape) for coarse in (own, wanted))
        image = with_local_sigmas(before, *levels_here, _DETAIL_SIGMAS * course[index])
        np.clip(image, np.minimum(before, floor), np.maximum(before, ceiling), out=image)
        stacks.replace(index, image)


def _coarse_levels(stack: np.ndarray) -> np.ndarray:
    return np.stack([local_sigmas(image.astype(np.float32))[::STEP_PIXELS, ::STEP_PIXELS] for image in stack])


def _at_every_pixel(coarse: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return coarse.repeat(STEP_PIXELS, 0).repeat(STEP_PIXELS, 1)[: shape[0], : shape[1]]


def _without_period(positions: np.ndarray) -> np.ndarray:
    """(n_out, n_out): levels of slices around each one to its level without what repeats with the acquired slices.

    Least squares of a mean, a slope and the harmonics, over the intervals to either side.
    """
    waves = np.cos(2 * np.pi * np.arange(1, _HARMONICS + 1) * positions[:, None])
    found = np.eye(len(positions))
    for own, position in enumerate(positions):
        near = np.flatnonzero(np.abs(positions - position) <= _PERIODS)
        mean = waves[near].mean(axis=0)
        basis = np.column_stack([np.ones(len(near)), positions[near] - position, waves[near] - mean])
        found[own, near] -= (waves[own] - mean) @ np.linalg.pinv(basis, rcond=1e-3)[2:]
    return found


def _sliding_mean_weights(places: np.ndarray, width: float) -> np.ndarray:
    """(n, n): the mean over all places that are at most half of ``width`` away from each one."""
    near = np.abs(places[:, None] - places) <= width / 2
    return near / near.sum(axis=1, keepdims=True)


def _around(acquired: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest acquired value around every pixel of slice n, as `BoundedConsistency` sees them."""
    near = acquired[max(n - 1, 0) : n + 2]
    return tuple(
        within_plane(extreme, extreme.reduce(near, axis=0, keepdims=True))[0].astype(np.float32)
        for extreme in (np.minimum, np.maximum)
    )
