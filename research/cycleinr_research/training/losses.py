"""L1 against the fine slices, and the cycle-consistent loss against over-smoothing (CycleINR, CVPR 2024).

Two terms are this project's own. L1 inside the soft-tissue window: over the whole range of CT, bone and air hold most
of the error, and a reader looks at a fifth of the range. And the loss on false extremes: values beyond all that the
truth has nearby read as calcification, or as air beside bone, so that they cost more than their L1. Where a batch has
what makes up its slices, all three count before and after bounded consistency, half each.

The cycle: acquired slices X give an implicit representation; slices Y are sampled from it half-way between X's; Y
alone gives a second representation; X^ is sampled from that at X's positions and compared with X. X^ can only carry
X's detail and noise if Y does, so a smoothed Y is punished although no truth at Y's positions is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from cycleinr.network.layers import cubic_convolution
from torch import nn

from .config import TrainingConfig
from .patches import PatchBatch

_BETWEEN = (0.3, 0.7)
_MARGIN = 0.02


@dataclass(frozen=True)
class Losses:
    """The terms of one step; ``cycle`` is None where the batch has no cycle term, ``teacher`` where there is none."""

    l1: torch.Tensor
    window: torch.Tensor
    extremes: torch.Tensor
    cycle: torch.Tensor | None
    residual: torch.Tensor
    teacher: torch.Tensor | None = None

    def total(self, config: TrainingConfig) -> torch.Tensor:
        total = self.l1 + config.window_weight * self.window + config.extreme_weight * self.extremes
        if self.teacher is not None:
            total = total + config.teacher_weight * self.teacher
        return total if self.cycle is None else total + config.cycle_weight * self.cycle


def window_l1(predicted: torch.Tensor, truth: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """L1 after both were cut to the window's ends; 0 for stacks without a window (infinite ends).

    Args:
        predicted, truth: (N, Q, H, W).
        window: Lower and upper end, (N, 2).
    """
    low, high = (end[:, None, None, None] for end in window.unbind(1))
    there = torch.isfinite(low)
    error = (torch.clamp(predicted, low, high) - torch.clamp(truth, low, high)).abs()
    return (error * there).mean()


def false_extremes(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """How far values lie beyond the truth's own 5 x 5 neighbourhood and a margin of 0.02 (30 HU), on average.

    Args:
        predicted, truth: (N, Q, H, W).
    """
    highest = F.max_pool2d(truth, 5, 1, 2)
    lowest = -F.max_pool2d(-truth, 5, 1, 2)
    return (F.relu(predicted - highest - _MARGIN) + F.relu(lowest - _MARGIN - predicted)).mean()


@torch.no_grad()
def taught(teachers: list[nn.Module], batch: PatchBatch, generator: torch.Generator) -> torch.Tensor:
    """What one of the teachers, drawn at random, answers on the mean over one of the two pairs of opposite flips."""
    drawn = torch.randint(2 * len(teachers), (1,), generator=generator).item()
    teacher, pair = teachers[drawn // 2], ([], [2, 3]) if drawn % 2 else ([2], [3])
    answers = (teacher(batch.stack.flip(flip), batch.positions, batch.slicing).flip(flip) for flip in pair)
    return sum(answers) / 2


def training_losses(
    model: nn.Module, batch: PatchBatch, with_cycle: bool, generator: torch.Generator, teachers: list[nn.Module] = ()
) -> Losses:
    """All losses of a batch; the first pass serves all.

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
    answers, truth, ends = predicted[:, :asked], batch.truth, batch.window
    if batch.reacquisition is not None:
        answers = torch.cat([answers, batch.reacquisition.corrected(answers, batch.stack)])
        truth, ends = torch.cat([truth, truth]), torch.cat([ends, ends])
    l1 = (answers - truth).abs().mean()
    window = window_l1(answers, truth, ends)
    extremes = false_extremes(answers, truth)
    teacher = (predicted[:, :asked] - taught(teachers, batch, generator)).abs().mean() if teachers else None
    if not cycle:
        return Losses(l1, window, extremes, None, residual, teacher)
    inner = torch.arange(1, slices - 1, device=step.device) - step
    back = model(predicted[:, asked:], inner, batch.slicing)
    return Losses(l1, window, extremes, (back - batch.stack[:, 1:-1]).abs().mean(), residual, teacher)
