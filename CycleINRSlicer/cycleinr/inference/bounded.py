"""Consistency with thick slices, as far as what they average is known.

No scanner's slice is an exact box. A true scan of 2.5 mm slices misses the 5 mm slices of the same head by 13 HU RMS;
moving a result until nothing is left over paints dark spots under bone instead. Therefore

- a difference that a triangle of the same width instead of the box would explain is left as it is, in part;
- a correction makes no voxel more extreme than both the network's value and the acquired values around it, nor darker
  than the network's own slices beside it;
- the network's own value lies at most a little below all acquired values around it.

"Around" is: in the nearest acquired slice and its two neighbours, up to 2 pixels away.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..resampling import SliceProfile, consistency_matrix, profile_matrix, triangle_matrix
from .consistency import Array, Arrays, Consistency

REACH_PIXELS = 2
"""How far within the plane "around" reaches."""

_EXPLAINED = 0.25
"""How much of the change from box to triangle counts as explained."""

_NOISE_HU = 10.0
"""A change well below this is noise, which tells nothing about the profile."""

_UNDERSHOOT_HU = 5.0
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
        self.noise, self.undershoot = _NOISE_HU * hu, _UNDERSHOOT_HU * hu
        self.of = arrays.of
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
        explained = _EXPLAINED * change * (change / (change + self.noise))
        error -= self.xp.clip(error, -explained, explained)
        if valid is not None:
            error *= valid.reshape(error.shape)
        return (self.back @ error).reshape(fine.shape)


class MixedConsistency:
    """Exact where the acquired slices are fine ones, bounded where they average several; arguments as of the latter.

    Of neighbouring slices of one kind, each kind sees the fine slices that are nearest to them or within them.
    """

    def __init__(self, profile: SliceProfile, low: float, high: float, hu: float, integer: bool, arrays: Arrays):
        self.integer, self.xp, self.of = integer, arrays.module, arrays.of
        changes = np.flatnonzero(np.diff(profile.thin)) + 1
        nearest = np.abs(np.arange(profile.n_fine)[:, None] - profile.centres).argmin(axis=1)
        seen = (profile_matrix(profile) > 0).T
        self._parts = []
        ends = [0, *changes.tolist(), len(profile.centres)]
        for acquired in map(slice, ends[:-1], ends[1:]):
            near = (nearest >= acquired.start) & (nearest < acquired.stop)
            inside = np.flatnonzero(near | seen[:, acquired].any(axis=1))
            fine = slice(int(inside[0]), int(inside[-1]) + 1)
            part = consistency_for(profile.of(acquired, fine), low, high, hu, integer, arrays)
            self._parts.append((part, fine, acquired))
        # Last, since they are known exactly
        self._parts.sort(key=lambda part: isinstance(part[0], Consistency))

    def apply(self, fine: Array, acquired: Array, first_row: int = 0, valid: Array | None = None) -> None:
        """As ``BoundedConsistency.apply``."""
        for part, own, known in self._parts:
            part.apply(fine[own], acquired[known], first_row, None if valid is None else valid[known])


AnyConsistency = Consistency | BoundedConsistency | MixedConsistency


def consistency_for(
    profile: SliceProfile, low: float, high: float, hu: float, integer: bool, arrays: Arrays
) -> AnyConsistency:
    """Exact where an acquired slice is a fine one, bounded where it averages several; arguments of the latter."""
    if profile.is_thin:
        return Consistency(profile, low, high, integer, arrays)
    kind = MixedConsistency if profile.thin.any() else BoundedConsistency
    return kind(profile, low, high, hu, integer, arrays)


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
