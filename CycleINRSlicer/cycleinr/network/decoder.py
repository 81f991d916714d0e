"""From codes to pixels: the latent code at any through-plane position, and the fully connected decoder.

ALCGS, attention-enhanced latent code grid sampling: a query lies between acquired slices. Plain interpolation would
mix the two nearest codes by distance; ALCGS starts from that mix and corrects it by attention over the four nearest
slices:

    weight_j = softmax_j( log(linear weight_j + floor) + q . (k_j + e_j) / sqrt(d) + b_j )

q is the linearly interpolated query projection, k_j slice j's key, e_j and b_j an embedding of the offset to slice j
and of the slicing. All projections are per acquired slice, so they are computed once, not once a query.

The decoder gives each pixel of a cell a residual and a gate; the gate says how much of the way from cubic convolution
to the cubic B-spline the pixel goes. Position, ratio and tau are the same for a whole output slice, so they act as a
scale and a shift on every hidden layer; at inference both fold into that slice's weights and cost nothing.
"""

from __future__ import annotations

import torch
from torch import nn

from ..weights import HARMONICS, LINEAR_FLOOR, RESIDUAL_SCALE, NetworkConfig
from .layers import Modulator, kaiming_normal_, leaky, neighbour_indices, offset_features


class LatentSampling(nn.Module):
    """Attention over the four acquired slices around a query position."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.heads = config.heads
        self.width = config.width
        self.project = nn.Conv2d(config.width, 3 * config.width, 1)
        self.offset = Modulator(2 * HARMONICS + 1 + 3, config.conditioning_width, config.width + config.heads)

    def embeddings(self, offsets: torch.Tensor, slicing: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """offsets (N, T, 4), slicing (N, 3) -> e (N, T, 4, C) and b (N, T, 4, heads), the linear prior included."""
        told = slicing[:, None, None].expand(*offsets.shape, -1)
        values = self.offset(torch.cat([offset_features(offsets), told], dim=-1))
        embedding, bias = values.split([self.width, self.heads], dim=-1)
        linear_weights = (1 - offsets.abs()).clamp(min=0)
        return embedding, bias + torch.log(linear_weights + LINEAR_FLOOR).unsqueeze(-1)

    def forward(self, codes: torch.Tensor, positions: torch.Tensor, slicing: torch.Tensor) -> torch.Tensor:
        """codes (N, S, C, h, w), positions (N, T), slicing (N, 3) -> sampled codes (N, T, C, h, w)."""
        stacks, slices = codes.shape[:2]
        asked = positions.shape[1]
        query, key, value = self.project(codes.flatten(0, 1)).chunk(3, dim=1)
        indices, offsets = neighbour_indices(positions, slices)
        missing = (indices < 0) | (indices >= slices)
        first = slices * torch.arange(stacks, device=codes.device)[:, None, None]
        near = (indices.clamp(0, slices - 1) + first).flatten(0, 1).unbind(1)
        embedding, bias = (part.flatten(0, 1)[..., None, None] for part in self.embeddings(offsets, slicing))
        bias = bias.masked_fill(missing.flatten(0, 1)[..., None, None, None], float("-inf"))

        # One neighbour at a time: all four at once leave a CPU's caches, and a training step takes a tenth longer
        step, scale = offsets[..., 1].flatten()[:, None, None, None], (self.width // self.heads) ** -0.5
        wanted = torch.lerp(query.index_select(0, near[1]), query.index_select(0, near[2]), step)
        scores = [
            (wanted * (key.index_select(0, rows) + embedding[:, j])).unflatten(1, (self.heads, -1)).sum(2)
            for j, rows in enumerate(near)
        ]
        weights = torch.softmax(torch.stack(scores, 1) * scale + bias, dim=1).unsqueeze(3)
        sampled = sum(
            weights[:, j] * value.index_select(0, rows).unflatten(1, (self.heads, -1)) for j, rows in enumerate(near)
        )
        return sampled.flatten(1, 2).unflatten(0, (stacks, asked))


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
        nn.init.normal_(self.out.weight, std=0.02)
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
