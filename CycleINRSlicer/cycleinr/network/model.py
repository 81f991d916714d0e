"""CycleINR: a stack of slices as an implicit function of the through-plane position.

Method: "CycleINR: Cycle Implicit Neural Representation for Arbitrary-Scale Volumetric Super-Resolution of Medical
Data", CVPR 2024 (arXiv 2404.04878). The paper's poster gives the parts (CNN encoder, ALCGS, fully connected decoder,
cycle-consistent loss); sizes, conditioning and the residual on cubic convolution are our own choices.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from ..weights import NetworkConfig
from .decoder import Decoder, LatentSampling
from .encoder import Encoder
from .layers import bspline_weights, cubic_convolution, neighbour_indices, smooth_pixels


class CycleINR(nn.Module):
    """I(z) for any through-plane position z of a stack of acquired slices."""

    architecture = "cycleinr"
    method = "CycleINR (CVPR 2024, arXiv 2404.04878); sizes and conditioning are this project's own"
    sizes = NetworkConfig
    memory_format = torch.channels_last
    ratio = None

    def __init__(self, config: NetworkConfig | None = None):
        super().__init__()
        self.config = config or NetworkConfig()
        self.encoder = Encoder(self.config)
        self.sampling = LatentSampling(self.config)
        self.decoder = Decoder(self.config)
        alone = replace(self.config, members=1)
        self.others = nn.ModuleList(CycleINR(alone) for _ in range(1, self.config.members))

    def encode(self, stack: torch.Tensor, slicing: torch.Tensor) -> torch.Tensor:
        """Latent codes (N, S, members * C, h, w) of the acquired slices."""
        bottom, right = (-size % self.config.cell for size in stack.shape[-2:])
        if bottom or right:
            stack = F.pad(stack, (0, right, 0, bottom), mode="replicate")
        return torch.cat([member.encoder(stack, slicing) for member in (self, *self.others)], dim=2)

    def correction(
        self, codes: torch.Tensor, stack: torch.Tensor, positions: torch.Tensor, slicing: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The network's residual and its gate towards the B-spline; same shapes as ``forward``."""
        height, width = stack.shape[-2:]
        _, offsets = neighbour_indices(positions, stack.shape[1])
        parts = zip((self, *self.others), codes.split(self.config.width, dim=2), strict=True)
        found = [
            member.decoder(member.sampling(own, positions, slicing), offsets[..., 1], slicing) for member, own in parts
        ]
        residual, gate = (sum(each) / len(found) for each in zip(*found, strict=True))
        planes = torch.stack([residual, gate], dim=2)[..., :height, :width]
        return smooth_pixels(planes.flatten(0, 1), self.config).unflatten(0, positions.shape).unbind(2)

    def forward(self, stack: torch.Tensor, positions: torch.Tensor, slicing: torch.Tensor) -> torch.Tensor:
        """Slices at the asked positions.

        Args:
            stack: (N, S, H, W) acquired slices, normalised intensities.
            positions: (N, T) query positions in units of acquired slices; 0 is the first slice's centre.
            slicing: (N, 3) features of tau, anisotropy and ratio (``weights.Slicing``).

        Returns:
            (N, T, H, W) slices, normalised intensities.
        """
        return self.decode(self.encode(stack, slicing), stack, positions, slicing)

    def decode(
        self, codes: torch.Tensor, stack: torch.Tensor, positions: torch.Tensor, slicing: torch.Tensor
    ) -> torch.Tensor:
        """``forward`` with the codes of ``encode``, which serve any number of positions."""
        residual, gate = self.correction(codes, stack, positions, slicing)
        smooth = cubic_convolution(stack, positions)
        spline = torch.einsum("nts,nshw->nthw", bspline_weights(positions, stack.shape[1]), stack)
        return smooth + residual + gate * (spline - smooth)
