"""The fully connected decoder: sampled code and position in, the correction of a cell's pixels out.

For each pixel there is a residual and a gate; the gate says how much of the way from cubic convolution to the cubic
B-spline the pixel goes.

Position, ratio and tau are the same for a whole output slice, so they act as a scale and a shift on every hidden
layer; at inference both fold into that slice's weights and cost nothing.
"""

from __future__ import annotations

import torch
from torch import nn

from .conditioning import Modulator, offset_features
from .config import HARMONICS, RESIDUAL_SCALE, NetworkConfig
from .layers import kaiming_normal_, leaky, normal_


class Decoder(nn.Module):
    """Hidden layers of 1x1 convolutions over whole slices, modulated by the query position."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.cell = config.cell
        self.sizes = [config.decoder_width] * config.decoder_layers
        inputs = [config.width, *self.sizes[:-1]]
        self.hidden = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in zip(inputs, self.sizes, strict=True))
        self.out = nn.Conv2d(self.sizes[-1], 2 * config.cell**2, 1)
        self.modulator = Modulator(2 * HARMONICS + 1 + 3, config.conditioning_width, 2 * sum(self.sizes))
        for layer in self.hidden:
            kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def modulations(self, steps: torch.Tensor, slicing: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """steps (N, T): position within its interval, 0 to 1; slicing (N, 3) -> per layer scale, shift (N, T, D)."""
        told = slicing[:, None].expand(*steps.shape, -1)
        values = self.modulator(torch.cat([offset_features(steps), told], dim=-1))
        parts = values.split([2 * size for size in self.sizes], dim=-1)
        return [tuple(part.chunk(2, dim=-1)) for part in parts]

    def forward(
        self, sampled: torch.Tensor, steps: torch.Tensor, slicing: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """sampled (N, T, C, h, w), steps (N, T), slicing (N, 3) -> residual, gate (N, T, h * cell, w * cell) each."""
        x = sampled.flatten(0, 1)
        for layer, (scale, shift) in zip(self.hidden, self.modulations(steps, slicing), strict=True):
            scale, shift = (m.flatten(0, 1)[:, :, None, None] for m in (scale, shift))
            x = leaky(layer(x) * (1 + scale) + shift)
        pixels = nn.functional.pixel_shuffle(self.out(x), self.cell).unflatten(0, steps.shape)
        return RESIDUAL_SCALE * pixels[:, :, 0], pixels[:, :, 1]
