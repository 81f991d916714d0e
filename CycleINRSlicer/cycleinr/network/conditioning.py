"""What the network is told besides the image: where the query lies, and how the scan was sliced.

Three numbers describe the slicing. tau (thickness / spacing) and the anisotropy (slice spacing / pixel spacing) go to
the encoder, which then needs to run only once however many output slices are asked for; the decoder is told the
ratio (acquired / requested spacing) and the position as well.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from .config import HARMONICS
from .layers import normal_
from .slicing import Slicing

__all__ = ["Modulator", "Slicing", "offset_features", "slicing_features"]


def slicing_features(tau: torch.Tensor, anisotropy: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
    """(N,) each -> (N, 3) features of about unit size."""
    return torch.stack(
        [2 * tau - 1, torch.log2(anisotropy.clamp(0.5, 32)) - 2, torch.log2(ratio.clamp(1, 16)) - 1.5], dim=1
    )


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
        normal_(self.out.weight, std=hidden**-0.5)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.out(torch.nn.functional.silu(self.hidden(features)))
