"""L1 against the fine slices, and two terms against over-smoothing: cycle-consistent (CycleINR, CVPR 2024) and noise.

The cycle: acquired slices X give an implicit representation; slices Y are sampled from it half-way between X's; Y
alone gives a second representation; X^ is sampled from that at X's positions and compared with X. X^ can only carry
X's detail and noise if Y does, so a smoothed Y is punished although no truth at Y's positions is needed.

The noise term compares local noise levels (Immerkaer, Computer Vision and Image Understanding 64(2), 1996) of predicted
and true slices. It is a ratio, so that the noise of flat tissue counts as much as the edges of bone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ..network.interpolation import cubic_convolution
from .patches import Batch

_BETWEEN = (0.3, 0.7)
_NOISE_WINDOW = 8
_NOISE_FLOOR = 0.002
"""About 3 HU; keeps empty background, where both levels are 0, out of the noise term."""


@dataclass(frozen=True)
class Losses:
    """The terms of one step; ``cycle`` is None where the batch has no cycle term."""

    l1: torch.Tensor
    noise: torch.Tensor
    cycle: torch.Tensor | None
    residual: torch.Tensor

    def total(self, cycle_weight: float, noise_weight: float) -> torch.Tensor:
        total = self.l1
        if noise_weight:
            total = total + noise_weight * self.noise
        return total if self.cycle is None else total + cycle_weight * self.cycle


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
    noise = noise_difference(predicted[:, :asked], batch.truth)
    if not cycle:
        return Losses(l1, noise, None, residual)
    inner = torch.arange(1, slices - 1, device=step.device) - step
    back = model(predicted[:, asked:], inner, batch.slicing)
    return Losses(l1, noise, (back - batch.stack[:, 1:-1]).abs().mean(), residual)


def noise_difference(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean over windows of the absolute logarithm of predicted over true noise level.

    Args:
        predicted, truth: (stacks, slices, rows, columns), network units; at least 10 x 10 pixels.
    """
    levels = [local_noise(slices) + _NOISE_FLOOR for slices in (predicted, truth)]
    return (levels[0] / levels[1]).log().abs().mean()


def local_noise(slices: torch.Tensor) -> torch.Tensor:
    """Noise level in windows of 8 x 8 pixels, in the slices' own units; 0 where a window is flat or a plane."""
    kernel = slices.new_tensor([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    response = F.conv2d(slices.flatten(0, 1)[:, None], kernel).abs()
    return F.avg_pool2d(response, _NOISE_WINDOW) * (math.sqrt(math.pi / 2) / 6)
