"""L1 against the fine slices, and the cycle-consistent loss against over-smoothing (CycleINR, CVPR 2024).

The cycle: acquired slices X give an implicit representation; slices Y are sampled from it half-way between X's; Y
alone gives a second representation; X^ is sampled from that at X's positions and compared with X. X^ can only carry
X's detail and noise if Y does, so a smoothed Y is punished although no truth at Y's positions is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ..network.interpolation import cubic_convolution
from .patches import Batch

_BETWEEN = (0.3, 0.7)


@dataclass(frozen=True)
class Losses:
    """The terms of one step; ``cycle`` is None where the batch has no cycle term."""

    l1: torch.Tensor
    cycle: torch.Tensor | None
    residual: torch.Tensor

    def total(self, cycle_weight: float) -> torch.Tensor:
        return self.l1 if self.cycle is None else self.l1 + cycle_weight * self.cycle


def training_losses(model: nn.Module, batch: Batch, with_cycle: bool, generator: torch.Generator) -> Losses:
    """Both losses of a batch; the first pass serves both.

    The cycle term is formed on thin slices (tau = 0) only: Y are predicted thin slices, and thick X would be
    compared with them slab against point.
    """
    stacks, slices = batch.stack.shape[:2]
    cycle = with_cycle and batch.thin
    positions = batch.positions
    if cycle:
        draw = torch.rand(stacks, 1, generator=generator).to(batch.stack.device)
        step = _BETWEEN[0] + (_BETWEEN[1] - _BETWEEN[0]) * draw
        between = torch.arange(slices - 1, device=step.device) + step
        positions = torch.cat([positions, between], dim=1)
    predicted = model(batch.stack, positions, batch.slicing)
    asked = batch.positions.shape[1]
    with torch.no_grad():
        plain = cubic_convolution(batch.stack, batch.positions)
        residual = (predicted[:, :asked] - plain).abs().mean()
    l1 = (predicted[:, :asked] - batch.truth).abs().mean()
    if not cycle:
        return Losses(l1, None, residual)
    inner = torch.arange(1, slices - 1, device=step.device) - step
    back = model(predicted[:, asked:], inner, batch.slicing)
    return Losses(l1, (back - batch.stack[:, 1:-1]).abs().mean(), residual)
