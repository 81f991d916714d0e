"""Data consistency: a fine stack agrees with the acquired slices, as far as what they average is known.

docs/method.md says why, and what is done with thin slices, which are known exactly, and with thick ones, whose profile
is not. There, "around" is: in the nearest acquired slice and its two neighbours, up to 2 pixels away.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np

from ..grid import SliceGrid
from ..resampling import SliceProfile, consistency_matrix, profile_matrix, triangle_matrix

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Union[np.ndarray, "torch.Tensor"]


@dataclass(frozen=True)
class Arrays:
    """One kind of arrays.

    Attributes:
        module: ``numpy`` or ``torch``, for the functions that both have under one name.
        of: Makes a float32 array of this kind from a NumPy array.
    """

    module: ModuleType
    of: Callable[[np.ndarray], Array]

    @classmethod
    def numpy(cls) -> Arrays:
        """Plain arrays; imports no torch."""
        return cls(np, lambda array: np.ascontiguousarray(array, dtype=np.float32))

    @classmethod
    def torch(cls, device: torch.device) -> Arrays:
        """Tensors on a device."""
        import torch

        return cls(torch, lambda array: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device))


_ROUNDS = 25
_TOLERANCE = 5e-5
"""Largest deviation from an acquired value that is left, as a share of the input's range."""

_EPSILON = 1e-6

_COLUMN_BYTES = 32e6
"""Result values that data consistency takes at a time: below 32 MiB, beyond which the C library hands memory back to
the system after each use."""


@dataclass(frozen=True)
class CoveringGrid:
    """The output grid with the slices added that the outermost slabs reach beyond it, to be cropped afterwards.

    Attributes:
        before: Slices added before the first; others are behind the last.
        positions: (before + n_out + after,) in units of acquired slices.
        profile: Where the acquired slices lie on this grid.
    """

    before: int
    positions: np.ndarray
    profile: SliceProfile


def covering_grid(grid: SliceGrid, tau: float | np.ndarray) -> CoveringGrid:
    """Extend a grid so that every acquired slice's averaging window lies inside it."""
    own = grid.profile(tau)
    reach = own.width / 2 - 0.5
    before = max(0, math.ceil((reach - own.centres).max() - _EPSILON))
    after = max(0, math.ceil((own.centres + reach).max() - (grid.n_out - 1) - _EPSILON))
    numbers = np.arange(-before, grid.n_out + after, dtype=np.float64)
    profile = replace(own, n_fine=len(numbers), centres=own.centres + before)
    return CoveringGrid(before, grid.positions_of(numbers), profile)


def rows_at_once(fine: Array) -> int:
    """Image rows of a fine stack (n_fine, rows, columns) that are made consistent at a time."""
    return max(1, int(_COLUMN_BYTES / (4 * fine.shape[0] * fine.shape[2])))


class Consistency:
    """Projects a fine stack onto what was acquired, within the input's range: for thin slices, which are known exactly.

    What the clamp to that range took away is shared out again among those slices of a window that have room left; for
    windows that do not overlap, one such step is exact. Arguments are those of ``BoundedConsistency``.
    """

    def __init__(self, profile: SliceProfile, low: float, high: float, integer: bool, arrays: Arrays):
        matrix = profile_matrix(profile)
        self.low, self.high, self.integer, self.xp = low, high, integer, arrays.module
        self.forward = arrays.of(matrix)
        self.back = arrays.of(consistency_matrix(matrix))
        self.members = arrays.of(matrix.T / np.maximum(matrix.sum(axis=0)[:, None], _EPSILON))
        self.of = arrays.of
        self.centre = matrix.argmax(axis=1)
        self.centre_weight = arrays.of(matrix.max(axis=1)[:, None])

    def apply(self, fine: Array, acquired: Array, first_row: int = 0, valid: Array | None = None) -> None:
        """As ``BoundedConsistency.apply``; ``fine`` is of C order."""
        rows = slice(first_row, first_row + fine.shape[1])
        acquired, valid = (
            each if each is None else each[:, rows].reshape(len(acquired), -1) for each in (acquired, valid)
        )
        self._project(fine.reshape(len(fine), -1), acquired, valid)

    def _project(self, fine: Array, acquired: Array, valid: Array | None) -> None:
        xp = self.xp

        def left() -> Array:
            error = acquired - self.forward @ fine
            return error if valid is None else error * valid

        for _ in range(_ROUNDS):
            error = left()
            if float(xp.abs(error).max()) <= _TOLERANCE * (self.high - self.low):
                break
            fine += self.back @ error
            xp.clip(fine, self.low, self.high, out=fine)
            error = left()
            self._share_out(fine, xp.clip(error, 0, None), self.high)
            self._share_out(fine, xp.clip(error, None, 0), self.low)
        if self.integer:
            xp.round(fine, out=fine)
            self._spread_rounding(fine, left())

    def _share_out(self, fine: Array, error: Array, bound: float) -> None:
        """Move each window's slices towards ``bound``, in proportion to their room, until its mean moved by error."""
        room = bound - fine
        share = error / self.xp.clip(abs(self.forward @ room), _EPSILON, None)
        fine += (self.members @ share) * abs(room)

    def _spread_rounding(self, fine: Array, error: Array) -> None:
        """Move the middle slice of a window by whole units where that brings its mean nearer to the acquired value.

        Rounding errors of one window add up; on images with few grey levels their mean would break the promise.
        """
        fine[self.centre] += self.xp.round(error / self.centre_weight)
        self.xp.clip(fine, self.low, self.high, out=fine)


REACH_PIXELS = 2
"""How far within the plane "around" reaches."""

EXPLAINED = 0.25
"""How much of the change from box to triangle counts as explained."""

NOISE_HU = 10.0
"""A change well below this is noise, which tells nothing about the profile."""

UNDERSHOOT_HU = 5.0
"""How far the network's value may lie below all acquired values around it."""


class BoundedConsistency:
    """Moves a fine stack towards what was acquired, within what an unknown profile and the surroundings allow.

    Args:
        profile: Where the acquired slices lie on the fine grid.
        low, high: The input's range, in its own units.
        hu: One Hounsfield unit in these units; for MR what corresponds to it.
        integer: Whether the result will be rounded.
        arrays: Of which kind the stacks are.
    """

    def __init__(self, profile: SliceProfile, low: float, high: float, hu: float, integer: bool, arrays: Arrays):
        matrix = profile_matrix(profile)
        self.low, self.high, self.integer, self.xp = low, high, integer, arrays.module
        self.noise, self.undershoot = NOISE_HU * hu, UNDERSHOOT_HU * hu
        self.forward = arrays.of(matrix)
        self.back = arrays.of(consistency_matrix(matrix))
        self.other = arrays.of(triangle_matrix(profile) - matrix)
        self.nearest = np.abs(np.arange(profile.n_fine)[:, None] - profile.centres).argmin(axis=1)

    def apply(self, fine: Array, acquired: Array, first_row: int = 0, valid: Array | None = None) -> None:
        """Correct ``fine`` in place.

        Args:
            fine: (n_fine, rows, columns).
            acquired: (n_acquired, rows, columns), with ``REACH_PIXELS`` rows more on either side where the image has
                them.
            first_row: Which of the acquired rows is the first of ``fine``.
            valid: Of the shape of ``acquired``, 1.0 where something was acquired and 0.0 elsewhere; None for 1
                everywhere.
        """
        xp, rows = self.xp, slice(first_row, first_row + fine.shape[1])
        lowest, highest = along(xp.minimum, acquired), along(xp.maximum, acquired)
        floor, ceiling = within_plane(xp.minimum, lowest)[:, rows], within_plane(xp.maximum, highest)[:, rows]
        low = xp.minimum(fine, lowest[:, rows][self.nearest])
        xp.maximum(low, along(xp.minimum, fine), out=low)
        high = xp.maximum(fine, ceiling[self.nearest])
        fine += self._correction(fine, acquired[:, rows], None if valid is None else valid[:, rows])
        xp.minimum(xp.maximum(fine, low, out=fine), high, out=fine)
        xp.maximum(fine, (floor - self.undershoot)[self.nearest], out=fine)
        xp.clip(fine, self.low, self.high, out=fine)
        if self.integer:
            xp.round(fine, out=fine)

    def _correction(self, fine: Array, acquired: Array, valid: Array | None) -> Array:
        """The least change that leaves of the difference to ``acquired`` what an unknown profile explains."""
        flat = fine.reshape(len(fine), -1)
        error = acquired.reshape(len(acquired), -1) - self.forward @ flat
        change = abs(self.other @ flat)
        explained = EXPLAINED * change * (change / (change + self.noise))
        error -= self.xp.clip(error, -explained, explained)
        if valid is not None:
            error *= valid.reshape(error.shape)
        return (self.back @ error).reshape(fine.shape)


class DataConsistency:
    """Exact where an acquired slice is a fine one, bounded where it averages several; arguments as of the latter.

    Of neighbouring slices of one kind, each kind sees the fine slices that are nearest to them or within them.
    """

    def __init__(self, profile: SliceProfile, low: float, high: float, hu: float, integer: bool, arrays: Arrays):
        self.integer, self.xp, self.of = integer, arrays.module, arrays.of
        nearest = np.abs(np.arange(profile.n_fine)[:, None] - profile.centres).argmin(axis=1)
        seen = (profile_matrix(profile) > 0).T
        self.parts: list[tuple[Consistency | BoundedConsistency, slice, slice]] = []
        ends = [0, *(np.flatnonzero(np.diff(profile.thin)) + 1).tolist(), len(profile.centres)]
        for acquired in map(slice, ends[:-1], ends[1:]):
            near = (nearest >= acquired.start) & (nearest < acquired.stop)
            inside = np.flatnonzero(near | seen[:, acquired].any(axis=1))
            fine = slice(int(inside[0]), int(inside[-1]) + 1)
            own = profile.of(acquired, fine)
            thin = Consistency(own, low, high, integer, arrays) if own.is_thin else None
            self.parts.append((thin or BoundedConsistency(own, low, high, hu, integer, arrays), fine, acquired))
        # Last, since they are known exactly
        self.parts.sort(key=lambda part: isinstance(part[0], Consistency))

    def apply(self, fine: Array, acquired: Array, first_row: int = 0, valid: Array | None = None) -> None:
        """As ``BoundedConsistency.apply``."""
        for part, own, known in self.parts:
            part.apply(fine[own], acquired[known], first_row, None if valid is None else valid[known])


def along(extreme: Callable, stack: Array, axis: int = 0) -> Array:
    """The extreme of every value and its two neighbours along an axis."""
    first, last = [slice(None)] * 3, [slice(None)] * 3
    first[axis], last[axis] = slice(None, -1), slice(1, None)
    before, after = tuple(first), tuple(last)
    out = extreme(stack, stack)
    extreme(out[after], stack[before], out=out[after])
    extreme(out[before], stack[after], out=out[before])
    return out


def within_plane(extreme: Callable, stack: Array) -> Array:
    """The extreme over all pixels up to ``REACH_PIXELS`` rows and columns away."""
    for axis in (1, 2) * REACH_PIXELS:
        stack = along(extreme, stack, axis)
    return stack
