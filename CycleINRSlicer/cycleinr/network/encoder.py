"""The 2.5D convolutional encoder: an acquired stack of slices in, one latent code per slice and in-plane cell out.

3x3 convolutions act in the plane, 1x1 convolutions over three neighbouring slices act through it. Folding the depth
into the batch keeps every convolution two-dimensional, which is the fast path on CPUs.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..weights import DIFFERENCE_GAIN, NetworkConfig
from .layers import Modulator, kaiming_normal_, leaky


class EncoderBlock(nn.Module):
    """Residual block: in-plane 3x3, activation, three neighbouring slices mixed by 1x1 convolutions."""

    def __init__(self, width: int):
        super().__init__()
        self.inplane = nn.Conv2d(width, width, 3, padding=1)
        self.through = nn.Conv2d(3 * width, width, 1)
        kaiming_normal_(self.inplane.weight)
        nn.init.zeros_(self.inplane.bias)
        nn.init.normal_(self.through.weight, std=0.3 / (3 * width) ** 0.5)
        nn.init.zeros_(self.through.bias)

    def forward(self, codes: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, stacks: int) -> torch.Tensor:
        """codes (N * S, C, h, w) of ``stacks`` = N stacks; scale and shift (N * S, C, 1, 1)."""
        hidden = leaky(self.inplane(codes) * (1 + scale) + shift)
        return codes + self.through(with_neighbours(hidden, stacks))


def with_neighbours(slices: torch.Tensor, stacks: int) -> torch.Tensor:
    """Each slice's channels with those of the slice before and after: (N * S, C, h, w) -> (N * S, 3 C, h, w).

    Beyond a stack's ends there are zeros.
    """
    stack = slices.unflatten(0, (stacks, -1))
    before = F.pad(stack[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
    after = F.pad(stack[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1))
    joined = torch.cat([before, stack, after], dim=2).flatten(0, 1)
    return joined.contiguous(memory_format=torch.channels_last)


def with_differences(stack: torch.Tensor) -> torch.Tensor:
    """What the stem sees: each slice and its amplified differences to the slices before and after.

    stack (N, S, H, W) -> (N * S, 3, H, W). Differences to a missing slice are zero. Local brightness is a hundred
    times larger than the detail that the network predicts; without the amplified differences training stalls for
    thousands of steps.
    """
    steps = DIFFERENCE_GAIN * stack.diff(dim=1)
    before = F.pad(-steps, (0, 0, 0, 0, 1, 0))
    after = F.pad(steps, (0, 0, 0, 0, 0, 1))
    return torch.stack([stack, before, after], dim=2).flatten(0, 1)


class Encoder(nn.Module):
    """Latent codes of a stack of acquired slices, conditioned on tau and the anisotropy."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.cell = config.cell
        self.stem = nn.Conv2d(3 * config.cell**2, config.width, 3, padding=1)
        self.blocks = nn.ModuleList(EncoderBlock(config.width) for _ in range(config.blocks))
        self.modulator = Modulator(2, config.conditioning_width, 2 * config.width * config.blocks)

    def modulations(self, slicing: torch.Tensor) -> torch.Tensor:
        """slicing (N, 3) -> (blocks, 2, N, C): each block's scale and shift."""
        values = self.modulator(slicing[:, :2])
        return values.unflatten(1, (len(self.blocks), 2, -1)).permute(1, 2, 0, 3)

    def forward(self, stack: torch.Tensor, slicing: torch.Tensor) -> torch.Tensor:
        """stack (N, S, H, W) with even H and W, slicing (N, 3) -> codes (N, S, C, H / cell, W / cell)."""
        stacks, slices = stack.shape[:2]
        cells = F.pixel_unshuffle(with_differences(stack), self.cell)
        codes = self.stem(cells.contiguous(memory_format=torch.channels_last))
        for block, (scale, shift) in zip(self.blocks, self.modulations(slicing), strict=True):
            scale, shift = (m.repeat_interleave(slices, 0)[:, :, None, None] for m in (scale, shift))
            codes = block(codes, scale, shift, stacks)
        return codes.unflatten(0, (stacks, slices))
