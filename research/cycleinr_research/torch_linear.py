"""Linear interpolation between slices for tensors: what validation compares with and the peers correct."""

from __future__ import annotations

import torch


def linear(stack: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Linear interpolation of stack (N, S, ...) at positions (N, T) -> (N, T, ...); the end slices go on outwards."""
    slices = stack.shape[1]
    inside = positions.clamp(0, slices - 1)
    lower = inside.floor().clamp(max=slices - 2).long()
    rows = torch.arange(stack.shape[0], device=stack.device)[:, None]
    step = (inside - lower)[(...,) + (None,) * (stack.dim() - 2)]
    return torch.lerp(stack[rows, lower], stack[rows, lower + 1], step)
