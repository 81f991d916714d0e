"""TVSRN: a transformer without convolutions, for one fixed ratio.

Source: Yu et al., "RPLHR-CT Dataset and Transformer Baseline for Volumetric Super-Resolution from CT Scans", MICCAI
2022 (arXiv 2206.06253).

The paper's: 4 slices in and (4 - 1) ratio + 1 out, of which the inner ones are kept (10 of 16 at x5); patches of 8 x 8
pixels; an encoder of 4 Swin layers on the acquired slices; mask tokens for the slices to create and a sinusoidal code
of the slice; through-plane attention in sagittal and coronal windows of 4 x 4, then 2 x 4 Swin layers in the plane;
8 heads, windows of 8 x 8, hidden layers 4 times as wide; L1 loss, AdamW with weight decay 1e-4.

Ours: "8 channels" is read as 8 for each of 8 heads, 64 for the patch of a slice, as many as it has pixels. Windows are
shifted by padding instead of rolling round, so that nothing attends across the image's borders. Positions that are no
slice of the fixed ratio's grid (slabs at even ratios) are interpolated linearly between its slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from cycleinr.weights import RESIDUAL_SCALE, Sizes
from torch import nn
from torch.nn import functional as F

from cycleinr_research.torch_linear import linear

WINDOW_SLICES = 4
_STRIDE = 2


@dataclass(frozen=True)
class TvsrnSizes(Sizes):
    """Sizes of TVSRN.

    Attributes:
        ratio: The one ratio that the network is for.
        patch: Pixels per side of a token's patch.
        width, heads: Channels of a token and attention heads.
        encoder_layers, through_layers, axial_layers: Attention layers of the three parts.
        window, through_window: Tokens per side of a window in the plane, and through it.
        expansion: Hidden units of a layer's perceptron, in units of its width.
    """

    ratio: int = 5
    patch: int = 8
    width: int = 64
    heads: int = 8
    encoder_layers: int = 4
    through_layers: int = 4
    axial_layers: int = 8
    window: int = 8
    through_window: int = 4
    expansion: int = 4


class WindowLayer(nn.Module):
    """A Swin layer: attention within windows of a plane of tokens, then a perceptron, both residual.

    Args:
        sizes: Sizes of the network.
        window: Tokens per side of a window.
        shifted: Whether windows begin half a window before the plane.
    """

    def __init__(self, sizes: TvsrnSizes, window: int, shifted: bool):
        super().__init__()
        self.heads, self.window, self.shift = sizes.heads, window, window // 2 if shifted else 0
        self.before_attention = nn.LayerNorm(sizes.width)
        self.project = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)
        self.bias = nn.Parameter(torch.zeros(sizes.heads, (2 * window - 1) ** 2))
        self.before_perceptron = nn.LayerNorm(sizes.width)
        hidden = sizes.expansion * sizes.width
        self.perceptron = nn.Sequential(nn.Linear(sizes.width, hidden), nn.GELU(), nn.Linear(hidden, sizes.width))
        self.register_buffer("offsets", _offset_indices(window), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N, rows, columns, width) -> the same shape."""
        tokens = tokens + self._attention(self.before_attention(tokens))
        return tokens + self.perceptron(self.before_perceptron(tokens))

    def _attention(self, tokens: torch.Tensor) -> torch.Tensor:
        count, rows, columns, width = tokens.shape
        window, shift = self.window, self.shift
        bottom, right = (-(size + shift) % window for size in (rows, columns))
        padding = (0, 0, shift, right, shift, bottom)
        windows = _into_windows(F.pad(tokens, padding), window)
        there = _into_windows(F.pad(torch.ones_like(tokens[:1, ..., :1]), padding), window)[..., 0] > 0
        query, key, value = self.project(windows).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.bias[:, self.offsets].expand(len(there), -1, -1, -1)
        bias = bias.masked_fill(~there[:, None, None, :], -1e4).repeat(count, 1, 1, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = self.out(mixed.transpose(1, 2).flatten(2))
        down, across = (rows + shift + bottom) // window, (columns + shift + right) // window
        plane = mixed.view(count, down, across, window, window, width).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return plane[:, shift : shift + rows, shift : shift + columns]


def _into_windows(tokens: torch.Tensor, window: int) -> torch.Tensor:
    """(N, rows, columns, C) in whole windows -> (N * windows, window ** 2, C)."""
    parts = tokens.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3)
    return parts.flatten(3, 4).flatten(0, 2)


def _offset_indices(window: int) -> torch.Tensor:
    """Index of the offset between every two places of a window, (window ** 2, window ** 2)."""
    places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    offset = places[:, None] - places + window - 1
    return offset[..., 0] * (2 * window - 1) + offset[..., 1]


def _layers(sizes: TvsrnSizes, count: int, window: int) -> nn.ModuleList:
    return nn.ModuleList(WindowLayer(sizes, window, n % 2 == 1) for n in range(count))


class TVSRN(nn.Module):
    """The transformer; see the module's text for what is the paper's."""

    architecture = "tvsrn"
    method = "TVSRN (MICCAI 2022, arXiv 2206.06253), written anew and trained here"
    sizes = TvsrnSizes
    memory_format = torch.contiguous_format

    def __init__(self, config: TvsrnSizes | None = None):
        super().__init__()
        self.config = config or TvsrnSizes()
        c = self.config
        self.ratio = c.ratio
        self.embed = nn.Linear(c.patch**2, c.width)
        self.encoder = _layers(c, c.encoder_layers, c.window)
        self.mask_token = nn.Parameter(torch.zeros(c.width))
        self.through = _layers(c, c.through_layers, c.through_window)
        self.axial = _layers(c, c.axial_layers, c.window)
        self.norm = nn.LayerNorm(c.width)
        self.out = nn.Linear(c.width, c.patch**2)
        nn.init.normal_(self.mask_token, std=0.02)
        # The first result is linear interpolation but for a few HU.
        nn.init.normal_(self.out.weight, std=0.002)
        nn.init.zeros_(self.out.bias)

    @property
    def slices_out(self) -> int:
        """Slices that one window of acquired slices is turned into."""
        return (WINDOW_SLICES - 1) * self.config.ratio + 1

    def forward(self, stack: torch.Tensor, positions: torch.Tensor, slicing: torch.Tensor) -> torch.Tensor:
        """Shapes as ``CycleINR.forward``; at least 4 slices; ``slicing`` is not used."""
        inside = positions.clamp(0, stack.shape[1] - 1)
        last = stack.shape[1] - WINDOW_SLICES
        starts = [min(start, last) for start in range(0, last + _STRIDE, _STRIDE)]
        windows = torch.stack([stack[:, start : start + WINDOW_SLICES] for start in starts], dim=1)
        corrections = self.window_corrections(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        centres = torch.tensor(starts, device=stack.device) + (WINDOW_SLICES - 1) / 2
        nearest = (inside.unsqueeze(-1) - centres).abs().argmin(-1)
        local = (inside - centres[nearest] + (WINDOW_SLICES - 1) / 2) * self.config.ratio
        chosen = [linear(corrections[:, w], local) * (nearest == w)[..., None, None] for w in range(len(starts))]
        return linear(stack, positions) + RESIDUAL_SCALE * torch.stack(chosen).sum(0)

    def window_corrections(self, window: torch.Tensor) -> torch.Tensor:
        """(N, 4, H, W) acquired slices -> corrections (N, slices_out, H, W) of their linear interpolation."""
        patch, ratio = self.config.patch, self.config.ratio
        height, width = window.shape[-2:]
        padded = F.pad(window, (0, -width % patch, 0, -height % patch), mode="replicate")
        pixels = F.pixel_unshuffle(padded.flatten(0, 1).unsqueeze(1), patch).permute(0, 2, 3, 1)
        tokens = self.embed(pixels)
        for layer in self.encoder:
            tokens = layer(tokens)
        acquired = tokens.unflatten(0, (-1, WINDOW_SLICES))
        shape = (acquired.shape[0], self.slices_out, *acquired.shape[2:])
        volume = self.mask_token.expand(shape).clone()
        volume[:, ::ratio] = acquired
        volume = volume + _sinusoids(self.slices_out, self.config.width, window.device)[:, None, None]
        for n, layer in enumerate(self.through):
            # Sagittal planes are (slice, row), coronal ones (slice, column); a shifted layer follows each plain one.
            across = 3 if n // 2 % 2 == 0 else 2
            planes = volume.movedim(across, 1)
            volume = layer(planes.flatten(0, 1)).unflatten(0, planes.shape[:2]).movedim(1, across)
        tokens = volume.flatten(0, 1)
        for layer in self.axial:
            tokens = layer(tokens)
        out = F.pixel_shuffle(self.out(self.norm(tokens)).permute(0, 3, 1, 2), patch)
        return out.unflatten(0, shape[:2])[:, :, 0, :height, :width]


def _sinusoids(count: int, width: int, device: torch.device) -> torch.Tensor:
    """The sinusoidal code of slices 0 ... count - 1, (count, width) (Vaswani et al., 2017)."""
    rates = torch.exp(-math.log(10_000.0) * torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(count, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
