"""The smooth starts that the network corrects: cubic convolution and the cubic B-spline along the through-plane axis.

Which is better depends on the scan: band-limited MR is up to 1 dB better with the B-spline, most other scans with the
short kernel. The decoder therefore mixes the two pixel by pixel. ``cycleinr.interpolation`` has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .. import interpolation
from ..interpolation import NEIGHBOURS


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
    """``interpolation.cubic_weights`` for tensors."""
    return _on_tensors(interpolation.cubic_weights, positions, slices)


def cubic_convolution(stack: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Keys's interpolation of stack (N, S, H, W) at positions (N, T) in units of slices -> (N, T, H, W)."""
    slices = stack.shape[1]
    indices, _ = neighbour_indices(positions, slices)
    rows = torch.arange(stack.shape[0], device=stack.device)[:, None, None]
    near = stack[rows, indices.clamp(0, slices - 1)]
    return torch.einsum("ntj,ntjhw->nthw", cubic_weights(positions, slices), near)


def bspline_weights(positions: torch.Tensor, slices: int) -> torch.Tensor:
    """``interpolation.bspline_weights`` for tensors; positions outside the stack take the outermost slice's value."""
    return _on_tensors(interpolation.bspline_weights, positions.clamp(0, slices - 1), slices)


def _on_tensors(weights: Callable, positions: torch.Tensor, slices: int) -> torch.Tensor:
    """Weights in double precision, on the CPU since not every device has that, and then as the positions are."""
    found = weights(positions.detach().double().cpu().numpy(), slices)
    return torch.from_numpy(found).to(positions.dtype).to(positions.device)
