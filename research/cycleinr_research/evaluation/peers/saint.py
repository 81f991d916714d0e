"""SAINT: two-dimensional super-resolution of sagittal and coronal planes, fused slice by slice.

Source: Peng et al., "SAINT: Spatially Aware Interpolation NeTwork for Medical Slice Synthesis", CVPR 2020
(arXiv 2001.00704).

The paper's: stage 1, one RDN for both planes (6 blocks of 8 layers, growth 32, 64 channels) that sees three
neighbouring planes, and filters that a small network generates from the sub-pixel distance and the voxel spacing;
stage 2, a small RDN (4 blocks of 6 layers, growth 12) on the axial slices of both results, whose output is added to
their mean; L1 loss.

Ours: the paper asks for whole ratios only; the distance that filters are generated from is a real number, so any
position can be asked for. Filters are 3 x 3, the filter network has one hidden layer of 64. Both stages are trained at
once by the loss of the fused result (the paper trains them one after the other). The spacing is told as the two
logarithms that CycleINR is told, the slice thickness is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from cycleinr.weights import RESIDUAL_SCALE, Sizes
from torch import nn
from torch.nn import functional as F

from cycleinr_research.torch_linear import linear

from .rdn import RdnSizes, ResidualDenseNetwork

_TOLD = 3
_KERNEL = 3
_PLANES = 3


@dataclass(frozen=True)
class SaintSizes(Sizes):
    """Sizes of SAINT.

    Attributes:
        blocks, layers, growth, width: Of the first stage; see ``RdnSizes``.
        filter_hidden: Hidden units of the network that generates filters.
        fusion_blocks, fusion_layers, fusion_growth, fusion_width: Of the second stage.
    """

    blocks: int = 6
    layers: int = 8
    growth: int = 32
    width: int = 64
    filter_hidden: int = 64
    fusion_blocks: int = 4
    fusion_layers: int = 6
    fusion_growth: int = 12
    fusion_width: int = 64


class PlaneNetwork(nn.Module):
    """Stage 1: planes (row: slice, column: pixel) made finer along their rows."""

    def __init__(self, sizes: SaintSizes):
        super().__init__()
        rdn = RdnSizes(2, _PLANES, sizes.blocks, sizes.layers, sizes.growth, sizes.width)
        self.features = ResidualDenseNetwork(rdn)
        self.filters = nn.Sequential(
            nn.Linear(_TOLD, sizes.filter_hidden),
            nn.ReLU(),
            nn.Linear(sizes.filter_hidden, sizes.width * _KERNEL**2),
        )
        # A tenth of what a convolution with as many inputs starts with: the first result is linear interpolation.
        nn.init.normal_(self.filters[-1].weight, std=0.1 * (sizes.filter_hidden * sizes.width * _KERNEL**2) ** -0.5)
        nn.init.zeros_(self.filters[-1].bias)

    def forward(self, stack: torch.Tensor, positions: torch.Tensor, slicing: torch.Tensor) -> torch.Tensor:
        """stack (N, S, H, W), of which the planes are (S, H) -> corrections (N, T, H, W)."""
        count, slices, height, width = stack.shape
        planes = F.pad(stack, (1, 1, 0, 0), mode="replicate").unfold(3, _PLANES, 1)
        planes = planes.permute(0, 3, 4, 1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = F.pad(self.features(planes), (1, 1, 1, 1), mode="replicate").unflatten(0, (count, width))
        lower = positions.clamp(0, slices - 1).floor().clamp(max=slices - 2).long()
        told = torch.stack([positions - lower, *slicing[:, 1:].t()[:, :, None].expand(-1, -1, lower.shape[1])], dim=-1)
        kernels = self.filters(told).unflatten(-1, (1, -1, _KERNEL, _KERNEL))
        corrections = [
            torch.stack([_filtered(own, k, kernel) for k, kernel in zip(at, filters, strict=True)])
            for own, at, filters in zip(features, lower.tolist(), kernels, strict=True)
        ]
        return torch.stack(corrections).transpose(2, 3)


def _filtered(features: torch.Tensor, k: int, kernel: torch.Tensor) -> torch.Tensor:
    """Padded features (W, C, S + 2, H + 2), a filter (1, C, 3, 3) -> its answer at slice k, (W, H)."""
    return F.conv2d(features[:, :, k : k + _KERNEL], kernel)[:, 0, 0]


class SAINT(nn.Module):
    """Both stages; see the module's text for what is the paper's."""

    architecture = "saint"
    method = "SAINT (CVPR 2020, arXiv 2001.00704), written anew and trained here"
    sizes = SaintSizes
    memory_format = torch.channels_last
    ratio = None

    def __init__(self, config: SaintSizes | None = None):
        super().__init__()
        self.config = config or SaintSizes()
        c = self.config
        self.planes = PlaneNetwork(c)
        fusion = RdnSizes(2, 2, c.fusion_blocks, c.fusion_layers, c.fusion_growth, c.fusion_width)
        self.fusion = nn.Sequential(ResidualDenseNetwork(fusion), fusion.convolution(c.fusion_width, 1))

    def forward(self, stack: torch.Tensor, positions: torch.Tensor, slicing: torch.Tensor) -> torch.Tensor:
        """Shapes as ``CycleINR.forward``."""
        plain = linear(stack, positions)
        sagittal = plain + RESIDUAL_SCALE * self.planes(stack, positions, slicing)
        coronal = plain + RESIDUAL_SCALE * self.planes(stack.transpose(2, 3), positions, slicing).transpose(2, 3)
        both = torch.stack([sagittal, coronal], dim=2).flatten(0, 1)
        residual = self.fusion(both.contiguous(memory_format=torch.channels_last))
        return (sagittal + coronal) / 2 + RESIDUAL_SCALE * residual.view_as(plain)
