"""ALCGS, attention-enhanced latent code grid sampling: the latent code at any through-plane position.

A query lies between acquired slices. Plain interpolation would mix the two nearest codes by distance; ALCGS starts
from that mix and corrects it by attention over the four nearest slices:

    weight_j = softmax_j( log(linear weight_j + floor) + q . (k_j + e_j) / sqrt(d) + b_j )

q is the linearly interpolated query projection, k_j slice j's key, e_j and b_j an embedding of the offset to slice j
and of the slicing. All projections are per acquired slice, so they are computed once, not once a query.
"""

from __future__ import annotations

import torch
from torch import nn

from .conditioning import Modulator, offset_features
from .config import HARMONICS, LINEAR_FLOOR, NetworkConfig
from .interpolation import neighbour_indices


def linear_prior(offsets: torch.Tensor) -> torch.Tensor:
    """log(linear interpolation weight + floor) for offsets in slice spacings."""
    return torch.log((1 - offsets.abs()).clamp(min=0) + LINEAR_FLOOR)


class LatentSampling(nn.Module):
    """Attention over the four acquired slices around a query position."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.heads = config.heads
        self.width = config.width
        self.project = nn.Conv2d(config.width, 3 * config.width, 1)
        self.offset = Modulator(2 * HARMONICS + 1 + 3, config.conditioning_width, config.width + config.heads)

    @property
    def scale(self) -> float:
        return (self.width // self.heads) ** -0.5

    def embeddings(self, offsets: torch.Tensor, slicing: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """offsets (N, T, 4), slicing (N, 3) -> e (N, T, 4, C) and b (N, T, 4, heads), the linear prior included."""
        told = slicing[:, None, None].expand(*offsets.shape, -1)
        values = self.offset(torch.cat([offset_features(offsets), told], dim=-1))
        embedding, bias = values.split([self.width, self.heads], dim=-1)
        return embedding, bias + linear_prior(offsets).unsqueeze(-1)

    def forward(self, codes: torch.Tensor, positions: torch.Tensor, slicing: torch.Tensor) -> torch.Tensor:
        """codes (N, S, C, h, w), positions (N, T), slicing (N, 3) -> sampled codes (N, T, C, h, w)."""
        stacks, slices = codes.shape[:2]
        flat = codes.flatten(0, 1)
        query, key, value = self.project(flat).unflatten(0, (stacks, slices)).chunk(3, dim=2)
        indices, offsets = neighbour_indices(positions, slices)
        missing = (indices < 0) | (indices >= slices)
        rows = torch.arange(stacks, device=codes.device)[:, None, None]
        near = indices.clamp(0, slices - 1)
        embedding, bias = self.embeddings(offsets, slicing)
        bias = bias.masked_fill(missing.unsqueeze(-1), float("-inf"))

        step = offsets[..., 1, None, None, None]
        asked = torch.lerp(query[rows, near[..., 1:2]].squeeze(2), query[rows, near[..., 2:3]].squeeze(2), step)
        keys = key[rows, near] + embedding[..., None, None]
        scores = (asked.unsqueeze(2) * keys).unflatten(3, (self.heads, -1)).sum(4) * self.scale
        weights = torch.softmax(scores + bias[..., None, None], dim=2)
        values = value[rows, near].unflatten(3, (self.heads, -1))
        return (weights.unsqueeze(4) * values).sum(2).flatten(2, 3)
