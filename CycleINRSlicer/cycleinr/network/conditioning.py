"""What the network is told besides the image: where the query lies, and how the scan was sliced.

Three numbers describe the slicing. tau (thickness / spacing) and the anisotropy (slice spacing / pixel spacing) go to
the encoder, which then needs to run only once however many output slices are asked for; the decoder is told the
ratio (acquired / requested spacing) and the position as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from .layers import normal_

HARMONICS = 3


@dataclass(frozen=True)
class Slicing:
    """How the input was sliced and how the output will be.

    Attributes:
        tau: Slice thickness / slice spacing of the acquired slices.
        anisotropy: Acquired slice spacing / in-plane pixel spacing.
        ratio: Acquired slice spacing / requested slice spacing.
    """

    tau: float
    anisotropy: float
    ratio: float

    def to_tensor(self, device=None) -> torch.Tensor:
        """(1, 3): tau and the two ratios' base-2 logarithms, each centred to about [-1, 1]."""
        return slicing_features(
            torch.tensor([self.tau], device=device),
            torch.tensor([self.anisotropy], device=device),
            torch.tensor([self.ratio], device=device),
        )


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
