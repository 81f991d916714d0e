"""Bounded consistency with the acquired slices inside the training loop, where gradients go through it.

The same rule as ``cycleinr.inference``'s, without in-place steps: the network then learns what the slices that it is
given do not say, and what the correction paints beside bone costs its own loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from cycleinr.inference.consistency import EXPLAINED, NOISE_HU, REACH_PIXELS, UNDERSHOOT_HU
from cycleinr.intensity import IntensityScale
from cycleinr.resampling import SliceProfile, consistency_matrix, profile_matrix, triangle_matrix

_HU = IntensityScale(0.0, 1.0).hu
"""One Hounsfield unit in network values."""

_AROUND = 2 * REACH_PIXELS + 1


@dataclass(frozen=True)
class Reacquisition:
    """How Q asked fine slices make up those acquired slices that lie wholly within them; zeros for all others.

    Attributes:
        forward, other: A box's and a triangle's matrix, (S, Q) each, or (N, S, Q).
        back: From what the acquired slices lack to the fine ones, (Q, S) or (N, Q, S).
        nearest: The acquired slice nearest to each fine one, (Q,) or (N, Q).
    """

    forward: torch.Tensor
    back: torch.Tensor
    other: torch.Tensor
    nearest: torch.Tensor

    @classmethod
    def of(cls, profile: SliceProfile, told_tau: float, asked: np.ndarray) -> Reacquisition:
        """As the engine sees it: a box of the thickness that it is told.

        Args:
            profile: How the slices were acquired.
            told_tau: Thickness / spacing as the network is told it.
            asked: Neighbouring fine slices, (Q,); the last may be repeated.
        """
        told = replace(profile, tau=told_tau)
        whole, triangle = profile_matrix(told), triangle_matrix(told)
        once = np.concatenate([[True], np.diff(asked) > 0])
        within = whole[:, asked] * once
        complete = within.sum(axis=1, keepdims=True) > 1 - 1e-6
        forward = within * complete
        back = np.zeros(forward.T.shape)
        rows = complete[:, 0]
        if rows.any():
            back[:, rows] = consistency_matrix(forward[rows])
        other = (triangle[:, asked] * once - within) * complete
        nearest = np.abs(asked[:, None] - profile.centres).argmin(axis=1)
        return cls(*(torch.from_numpy(m.astype(np.float32)) for m in (forward, back, other)), torch.from_numpy(nearest))

    @classmethod
    def stacked(cls, parts: list[Reacquisition]) -> Reacquisition:
        return cls(*(torch.stack([getattr(p, name) for p in parts]) for name in cls.__dataclass_fields__))

    def to(self, device: torch.device) -> Reacquisition:
        return Reacquisition(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def corrected(self, fine: torch.Tensor, acquired: torch.Tensor) -> torch.Tensor:
        """Fine slices (N, Q, H, W) moved towards acquired ones (N, S, H, W) as ``BoundedConsistency.apply`` does."""
        flat = fine.flatten(2)
        error = acquired.flatten(2) - self.forward @ flat
        change = (self.other @ flat).abs().detach()
        explained = EXPLAINED * change * (change / (change + NOISE_HU * _HU))
        error = error - torch.minimum(torch.maximum(error, -explained), explained)
        moved = fine + (self.back @ error).view_as(fine)
        lowest, highest = -_pooled(-acquired, 1), _pooled(acquired, 1)
        low = torch.maximum(torch.minimum(fine, self._near(lowest)), -_pooled(-fine, 1))
        high = torch.maximum(fine, self._near(_pooled(highest, _AROUND)))
        floor = self._near(-_pooled(-lowest, _AROUND)) - UNDERSHOOT_HU * _HU
        return torch.maximum(torch.minimum(torch.maximum(moved, low), high), floor)

    def _near(self, acquired: torch.Tensor) -> torch.Tensor:
        return acquired.gather(1, self.nearest[:, :, None, None].expand(-1, -1, *acquired.shape[2:]))


def _pooled(stack: torch.Tensor, pixels: int) -> torch.Tensor:
    """Highest values: over ``pixels`` x ``pixels``, or for 1 over a slice and its two neighbours."""
    if pixels > 1:
        return F.max_pool2d(stack, pixels, 1, pixels // 2)
    padded = F.pad(stack[:, None], (0, 0, 0, 0, 1, 1), value=-torch.inf)[:, 0]
    return torch.maximum(torch.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
