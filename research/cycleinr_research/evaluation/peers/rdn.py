"""Residual dense network in two or three dimensions, the feature extractor of ArSSR and SAINT.

Source: Zhang et al., "Residual Dense Network for Image Super-Resolution", CVPR 2018 (arXiv 1802.08797).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(frozen=True)
class RdnSizes:
    """Sizes of a residual dense network, with the paper's letters.

    Attributes:
        dimensions: 2 or 3.
        inputs: Channels of the image.
        blocks: Residual dense blocks (D).
        layers: Convolutions in a block (C).
        growth: Channels that each of them adds (G).
        width: Channels between blocks (G0).
    """

    dimensions: int
    inputs: int
    blocks: int
    layers: int
    growth: int
    width: int

    def convolution(self, inputs: int, outputs: int, kernel: int = 3) -> nn.Module:
        """A convolution that keeps the image's size."""
        return _CONVOLUTION[self.dimensions](inputs, outputs, kernel, padding=kernel // 2)


class DenseBlock(nn.Module):
    """Every layer sees the block's input and all layers before it; a 1x1 convolution brings them back to the width."""

    def __init__(self, sizes: RdnSizes):
        super().__init__()
        inputs = [sizes.width + n * sizes.growth for n in range(sizes.layers)]
        self.layers = nn.ModuleList(sizes.convolution(n, sizes.growth) for n in inputs)
        self.fuse = sizes.convolution(sizes.width + sizes.layers * sizes.growth, sizes.width, kernel=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, width, ...) -> the same shape."""
        found = x
        for layer in self.layers:
            found = torch.cat([found, torch.relu(layer(found))], dim=1)
        return x + self.fuse(found)


class ResidualDenseNetwork(nn.Module):
    """Two shallow convolutions, dense blocks, global fusion of all blocks, global residual."""

    def __init__(self, sizes: RdnSizes):
        super().__init__()
        self.shallow = sizes.convolution(sizes.inputs, sizes.width)
        self.first = sizes.convolution(sizes.width, sizes.width)
        self.blocks = nn.ModuleList(DenseBlock(sizes) for _ in range(sizes.blocks))
        self.fuse = nn.Sequential(
            sizes.convolution(sizes.blocks * sizes.width, sizes.width, kernel=1),
            sizes.convolution(sizes.width, sizes.width),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(N, inputs, ...) -> (N, width, ...)."""
        shallow = self.shallow(image)
        x, found = self.first(shallow), []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return shallow + self.fuse(torch.cat(found, dim=1))
