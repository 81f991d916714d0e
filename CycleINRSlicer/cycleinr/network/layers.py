"""What all parts of the network are made of: activation, first weights, conditioning, the low-pass filter over its
pixels, and the smooth starts that it corrects.

Three numbers describe the slicing. tau (thickness / spacing) and the anisotropy (slice spacing / pixel spacing) go to
the encoder, which then needs to run only once however many output slices are asked for; the decoder is told the
ratio (acquired / requested spacing) and the position as well.

The smooth starts are cubic convolution and the cubic B-spline along the through-plane axis. Which is better depends on
the scan: band-limited MR is up to 1 dB better with the B-spline, most other scans with the short kernel. The decoder
therefore mixes the two pixel by pixel. ``cycleinr.resampling`` has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .. import resampling
from ..resampling import high_pass, low_pass
from ..weights import HARMONICS, NEGATIVE_SLOPE, NetworkConfig


def leaky(x: torch.Tensor) -> torch.Tensor:
    """The network's activation: leaky, because plain ReLU units died in training."""
    return F.leaky_relu(x, NEGATIVE_SLOPE)


def kaiming_normal_(weight: torch.Tensor) -> None:
    """Noise that keeps its variance through a layer (out, in, height, width) and ``leaky`` (He et al., 2015)."""
    nn.init.normal_(weight, std=(2 / (1 + NEGATIVE_SLOPE**2) / weight[0].numel()) ** 0.5)


def offset_features(offset: torch.Tensor) -> torch.Tensor:
    """Through-plane offsets in acquired-slice spacings, (...,) -> (..., 2 * HARMONICS + 1) smooth features."""
    angles = [math.pi / 2 * (k + 1) * offset for k in range(HARMONICS)]
    return torch.stack([offset, *map(torch.sin, angles), *map(torch.cos, angles)], dim=-1)


class Modulator(nn.Module):
    """A small network from slicing and position to modulations of about unit size.

    Its last layer starts random, not at zero: the detail to be learnt differs in sign from one side of an interval to
    the other, and codes that do not depend on the position carry no gradient towards that.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.out = nn.Linear(hidden, outputs)
        nn.init.normal_(self.out.weight, std=hidden**-0.5)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.out(torch.nn.functional.silu(self.hidden(features)))


def smooth_pixels(planes: torch.Tensor, config: NetworkConfig) -> torch.Tensor:
    """The network's filters on (N, C, H, W), along rows and columns; the outermost pixels are repeated outwards."""
    if config.smoothing_taps > 1:
        planes = _both_ways(planes, low_pass(config.smoothing_taps))
    if config.diagonal_taps > 1:
        planes = planes - _both_ways(planes, high_pass(config.diagonal_taps))
    return planes


def _both_ways(planes: torch.Tensor, weights: tuple[float, ...]) -> torch.Tensor:
    reach = len(weights) // 2
    for dim, margins in ((3, (reach, reach, 0, 0)), (2, (0, 0, reach, reach))):
        planes = _filtered(F.pad(planes, margins, mode="replicate"), weights, dim)
    return planes


def _filtered(planes: torch.Tensor, weights: tuple[float, ...], dim: int) -> torch.Tensor:
    """Sums of shifted planes: PyTorch's convolution of one channel by a 1x7 kernel takes 20 times as long on a CPU."""
    reach = len(weights) // 2
    size = planes.shape[dim] - 2 * reach
    total = weights[reach] * planes.narrow(dim, reach, size)
    for n in range(reach):
        pair = planes.narrow(dim, n, size) + planes.narrow(dim, 2 * reach - n, size)
        total.add_(pair, alpha=weights[n])
    return total


def neighbour_indices(positions: torch.Tensor, slices: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``resampling.neighbour_indices`` for tensors."""
    indices, offsets = resampling.neighbour_indices(_doubles(positions), slices)
    on_device = torch.from_numpy(indices).to(positions.device)
    return on_device, torch.from_numpy(offsets).to(positions.dtype).to(positions.device)


def cubic_weights(positions: torch.Tensor, slices: int) -> torch.Tensor:
    """``resampling.cubic_weights`` for tensors."""
    return _on_tensors(resampling.cubic_weights, positions, slices)


def cubic_convolution(stack: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Keys's interpolation of stack (N, S, H, W) at positions (N, T) in units of slices -> (N, T, H, W)."""
    slices = stack.shape[1]
    indices, _ = neighbour_indices(positions, slices)
    rows = torch.arange(stack.shape[0], device=stack.device)[:, None, None]
    near = stack[rows, indices.clamp(0, slices - 1)]
    return torch.einsum("ntj,ntjhw->nthw", cubic_weights(positions, slices), near)


def bspline_weights(positions: torch.Tensor, slices: int) -> torch.Tensor:
    """``resampling.bspline_weights`` for tensors; positions outside the stack take the outermost slice's value."""
    return _on_tensors(resampling.bspline_weights, positions.clamp(0, slices - 1), slices)


def _on_tensors(weights: Callable, positions: torch.Tensor, slices: int) -> torch.Tensor:
    return torch.from_numpy(weights(_doubles(positions), slices)).to(positions.dtype).to(positions.device)


def _doubles(positions: torch.Tensor) -> np.ndarray:
    """On the CPU, since not every device has double precision."""
    return positions.detach().cpu().double().numpy()
