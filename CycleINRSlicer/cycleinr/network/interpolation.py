"""The smooth starts that the network corrects: cubic convolution and the cubic B-spline along the through-plane axis.

Which is better depends on the scan: band-limited MR is up to 1 dB better with the B-spline, most other scans with the
short kernel. The decoder therefore mixes the two pixel by pixel.

Cubic convolution: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29 (1981),
a = -1/2.
Cubic B-spline: M. Unser, "Splines: a perfect fit for signal and image processing", IEEE SPM 16 (1999).
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


def cubic_convolution(stack: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Keys's interpolation of stack (N, S, H, W) at positions (N, T) in units of slices -> (N, T, H, W)."""
    slices = stack.shape[1]
    indices, _ = neighbour_indices(positions, slices)
    rows = torch.arange(stack.shape[0], device=stack.device)[:, None, None]
    near = stack[rows, indices.clamp(0, slices - 1)]
    return torch.einsum("ntj,ntjhw->nthw", cubic_weights(positions, slices), near)


def linear(stack: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Linear interpolation of stack (N, S, ...) at positions (N, T) -> (N, T, ...); the end slices go on outwards."""
    slices = stack.shape[1]
    inside = positions.clamp(0, slices - 1)
    lower = inside.floor().clamp(max=slices - 2).long()
    rows = torch.arange(stack.shape[0], device=stack.device)[:, None]
    step = (inside - lower)[(...,) + (None,) * (stack.dim() - 2)]
    return torch.lerp(stack[rows, lower], stack[rows, lower + 1], step)


def bspline_weights(positions: torch.Tensor, slices: int) -> torch.Tensor:
    """Weights of all acquired slices in cubic B-spline interpolation, mirrored at the ends.

    Args:
        positions: (...,) in units of acquired slices; those outside the stack take the outermost slice's value.
        slices: Number of acquired slices, at least 2.

    Returns:
        (..., slices), falling off by a factor of 3.7 a slice.
    """
    knots = torch.arange(-1, slices + 1, device=positions.device, dtype=torch.float64)
    fold = torch.zeros(slices + 2, slices, device=positions.device, dtype=torch.float64)
    mirrored = knots.abs().long()
    mirrored = torch.where(mirrored > slices - 1, 2 * (slices - 1) - mirrored, mirrored)
    fold[torch.arange(slices + 2), mirrored] = 1
    at_slices = _cubic_basis(knots[1:-1, None] - knots) @ fold
    inside = positions.double().clamp(0, slices - 1)
    at_positions = _cubic_basis(inside.unsqueeze(-1) - knots) @ fold
    return (at_positions @ torch.linalg.inv(at_slices)).to(positions.dtype)


def _cubic_basis(offset: torch.Tensor) -> torch.Tensor:
    x = offset.abs()
    near = 2 / 3 - x * x + x**3 / 2
    return torch.where(x < 1, near, (2 - x).clamp(min=0) ** 3 / 6)
