"""ArSSR: latent codes of a 3D network, sampled trilinearly, and a decoder that is also told the coordinates.

Source: Wu et al., "An Arbitrary Scale Super-Resolution Approach for 3D MR Images via Implicit Neural Representation",
IEEE JBHI 27 (2023), arXiv 2110.14476.

The paper's: the RDN encoder (8 blocks of 3 layers, 64 channels, growth 64, 128 channels out, 5.9 M parameters), the
decoder of two stages of four linear layers of width 256 with ReLU and its input skipped into the second stage
(0.36 M), the trilinear sampling, normalised coordinates beside the code, the L1 loss.

Ours: the skip is a sum, which the stated number of parameters implies. The paper refines all three axes; here the
in-plane grid stays, so that trilinear sampling at a pixel is linear interpolation along the slices. All pixels of the
asked slices enter the loss instead of 8000 random points. Coordinates run from -1 to 1 over the block in hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from cycleinr.weights import RESIDUAL_SCALE, Sizes
from torch import nn

from cycleinr_research.torch_linear import linear

from .rdn import RdnSizes, ResidualDenseNetwork

_COORDINATES = 3
_STAGE_LAYERS = 4


@dataclass(frozen=True)
class ArssrSizes(Sizes):
    """Sizes of ArSSR.

    Attributes:
        blocks, layers, growth, width: Of the encoder; see ``RdnSizes``.
        code: Channels of a latent code.
        hidden: Width of the decoder's linear layers.
    """

    blocks: int = 8
    layers: int = 3
    growth: int = 64
    width: int = 64
    code: int = 128
    hidden: int = 256


class Decoder(nn.Module):
    """Code and coordinates to intensity."""

    def __init__(self, sizes: ArssrSizes):
        super().__init__()
        told = sizes.code + _COORDINATES
        self.first = _stage(told, sizes.hidden, told)
        self.second = _stage(told, sizes.hidden, 1)

    def forward(self, told: torch.Tensor) -> torch.Tensor:
        """(..., code + 3) -> (...,)."""
        return self.second(told + torch.relu(self.first(told))).squeeze(-1)


def _stage(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    widths = [inputs, *[hidden] * (_STAGE_LAYERS - 1), outputs]
    layers = [nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)]
    parts = [part for layer in layers[:-1] for part in (layer, nn.ReLU())]
    return nn.Sequential(*parts, layers[-1])


class ArSSR(nn.Module):
    """Encoder and decoder; see the module's text for what is the paper's."""

    architecture = "arssr"
    method = "ArSSR (IEEE JBHI 2023, arXiv 2110.14476), written anew and trained here"
    sizes = ArssrSizes
    memory_format = torch.channels_last_3d
    ratio = None

    def __init__(self, config: ArssrSizes | None = None):
        super().__init__()
        self.config = config or ArssrSizes()
        c = self.config
        rdn = RdnSizes(3, 1, c.blocks, c.layers, c.growth, c.width)
        self.encoder = nn.Sequential(ResidualDenseNetwork(rdn), rdn.convolution(c.width, c.code))
        self.decoder = Decoder(c)

    def forward(self, stack: torch.Tensor, positions: torch.Tensor, slicing: torch.Tensor) -> torch.Tensor:
        """Shapes as ``CycleINR.forward``; ``slicing`` is not used."""
        volume = stack.unsqueeze(1).contiguous(memory_format=self.memory_format)
        codes = self.encoder(volume).permute(0, 2, 3, 4, 1)
        # Query by query: the codes of all of them at once would be larger than everything else.
        corrections = [self._query(codes, positions[:, t : t + 1]) for t in range(positions.shape[1])]
        return linear(stack, positions) + RESIDUAL_SCALE * torch.stack(corrections, dim=1)

    def _query(self, codes: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """codes (N, S, H, W, C), position (N, 1) -> (N, H, W)."""
        sampled = linear(codes, position)[:, 0]
        return self.decoder(torch.cat([sampled, _coordinates(codes, position)], dim=-1))


def _coordinates(codes: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Normalised coordinates (z, y, x) of a slice's pixels, (N, H, W, 3)."""
    count, slices, height, width = codes.shape[:4]
    z = (2 * position / (slices - 1) - 1)[..., None].expand(count, height, width)
    y, x = ((2 * torch.arange(n, device=codes.device) + 1) / n - 1 for n in (height, width))
    return torch.stack([z, y[:, None].expand_as(z), x.expand_as(z)], dim=-1)
