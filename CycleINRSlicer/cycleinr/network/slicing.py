"""How a scan was sliced and will be, as the numbers that the network is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


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

    def features(self) -> np.ndarray:
        """(3,) float32: tau and the two ratios' base-2 logarithms, each centred to about [-1, 1]."""
        anisotropy, ratio = np.clip(self.anisotropy, 0.5, 32), np.clip(self.ratio, 1, 16)
        return np.array([2 * self.tau - 1, np.log2(anisotropy) - 2, np.log2(ratio) - 1.5], np.float32)

    def to_tensor(self, device=None) -> torch.Tensor:
        """``features`` as a (1, 3) torch tensor."""
        import torch

        return torch.from_numpy(self.features()[None]).to(device)
