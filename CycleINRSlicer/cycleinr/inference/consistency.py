"""Data consistency: the finer volume, re-sliced with the scanner's profile, gives the acquired slices back.

Intensities are also clamped to the input's range and, for integer types, rounded, and neither may undo the
consistency. What the clamp took away is therefore shared out again among those slices of a window that have room left;
for windows that do not overlap, one such step is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..grid import SliceGrid
from ..profile import SliceProfile, consistency_matrix, profile_matrix

_ROUNDS = 25
_TOLERANCE = 5e-5
"""Largest deviation from an acquired value that is left, as a share of the input's range."""

_EPSILON = 1e-6


@dataclass(frozen=True)
class CoveringGrid:
    """The output grid with the slices added that the outermost slabs reach beyond it, to be cropped afterwards.

    Attributes:
        before, after: Slices added at either end.
        positions: (before + n_out + after,) in units of acquired slices.
        profile: Where the acquired slices lie on this grid.
    """

    before: int
    after: int
    positions: np.ndarray
    profile: SliceProfile


def covering_grid(grid: SliceGrid, tau: float) -> CoveringGrid:
    """Extend a grid so that every acquired slice's averaging window lies inside it."""
    centres = (np.arange(grid.n_in) * grid.spacing_in_mm - grid.first_mm) / grid.spacing_out_mm
    centres = np.where(np.abs(centres - np.round(centres)) < _EPSILON, np.round(centres), centres)
    reach = max(tau * grid.ratio, 1.0) / 2 - 0.5
    before = max(0, math.ceil(reach - centres[0] - _EPSILON))
    after = max(0, math.ceil(centres[-1] + reach - (grid.n_out - 1) - _EPSILON))
    steps = np.arange(-before, grid.n_out + after)
    inner = grid.positions()
    outer = grid.first_mm / grid.spacing_in_mm + steps / grid.ratio
    outer[before : before + grid.n_out] = inner
    profile = SliceProfile(len(steps), centres + before, grid.ratio, tau)
    return CoveringGrid(before, after, outer, profile)


class Consistency:
    """Projects a fine stack onto what was acquired, within the input's range.

    Args:
        profile: Where the acquired slices lie on the fine grid.
        low, high: The input's range, in its own units.
        integer: Whether the result will be rounded.
        device: Where the stacks live.
    """

    def __init__(self, profile: SliceProfile, low: float, high: float, integer: bool, device: torch.device):
        matrix = profile_matrix(profile)
        self.low, self.high, self.integer = low, high, integer
        self.forward = torch.from_numpy(matrix).float().to(device)
        self.back = torch.from_numpy(consistency_matrix(matrix)).float().to(device)
        members = matrix.T / np.maximum(matrix.sum(axis=0)[:, None], _EPSILON)
        self.members = torch.from_numpy(members).float().to(device)
        self.centre = torch.from_numpy(matrix.argmax(axis=1)).to(device)
        self.centre_weight = torch.from_numpy(matrix.max(axis=1)).float().to(device)[:, None]

    def apply(self, fine: torch.Tensor, acquired: torch.Tensor) -> None:
        """Correct ``fine`` (n_fine, pixels) in place to agree with ``acquired`` (n_acquired, pixels)."""
        for _ in range(_ROUNDS):
            error = acquired - self.forward @ fine
            if float(error.abs().max()) <= _TOLERANCE * (self.high - self.low):
                break
            fine.addmm_(self.back, error)
            fine.clamp_(self.low, self.high)
            error = acquired - self.forward @ fine
            self._share_out(fine, error.clamp(min=0), self.high)
            self._share_out(fine, error.clamp(max=0), self.low)
        if self.integer:
            fine.round_()
            self._spread_rounding(fine, acquired)

    def _share_out(self, fine: torch.Tensor, error: torch.Tensor, bound: float) -> None:
        """Move each window's slices towards ``bound``, in proportion to their room, until its mean moved by error."""
        room = bound - fine
        share = error / (self.forward @ room).abs().clamp(min=_EPSILON)
        fine.add_((self.members @ share).mul_(room.abs_()))

    def _spread_rounding(self, fine: torch.Tensor, acquired: torch.Tensor) -> None:
        """Move the middle slice of a window by whole units where that brings its mean nearer to the acquired value.

        Rounding errors of one window add up; on images with few grey levels their mean would break the promise.
        """
        error = acquired - self.forward @ fine
        fine.index_add_(0, self.centre, (error / self.centre_weight).round_())
        fine.clamp_(self.low, self.high)
