"""The smooth start that the network corrects: cubic convolution along the through-plane axis.

R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29 (1981), a = -1/2. It needs the
same four slices as ALCGS, so it adds nothing to the receptive field; the B-spline's infinite prefilter would.
"""

from __future__ import annotations

import torch

from .config import NEIGHBOURS


def neighbour_indices(positions: torch.Tensor, slices: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The four nearest slices of each position and the offsets from them.

    Args:
        positions: Query positions in units of acquired slices, any shape; 0 is the first slice's centre.
        slices: Number of acquired slices, at least 2.

    Returns:
        Indices (..., 4), which may be -1 or ``slices`` where a neighbour is missing, and offsets ``position - index``
        (..., 4). Positions outside the stack take the outermost interval.
    """
    first = positions.floor().clamp(0, slices - 2).long() - 1
    indices = first.unsqueeze(-1) + torch.arange(NEIGHBOURS, device=positions.device)
    return indices, positions.unsqueeze(-1) - indices


def cubic_weights(positions: torch.Tensor, slices: int) -> torch.Tensor:
    """Keys's weights for the four slices of ``neighbour_indices``, (..., 4), zero for missing ones.

    A missing neighbour is replaced by linear extrapolation from the two next to it; positions outside the stack take
    the outermost slice's value.
    """
    _, offsets = neighbour_indices(positions.clamp(0, slices - 1), slices)
    x = offsets.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    indices, _ = neighbour_indices(positions, slices)
    before, after = indices[..., 0] < 0, indices[..., 3] >= slices
    w0, w3 = weights[..., 0] * before, weights[..., 3] * after
    correction = torch.stack([-w0, 2 * w0 - w3, 2 * w3 - w0, -w3], dim=-1)
    return weights + correction
