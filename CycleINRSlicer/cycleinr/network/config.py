"""Sizes of the network; saved with the weights, so that a file of weights is enough to build the network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ModelError

if TYPE_CHECKING:
    import torch

HARMONICS = 3
"""Sines and cosines of an offset that the small networks are told."""

DIFFERENCE_GAIN = 4.0
"""By which the stem's differences to the neighbouring slices are amplified."""

NEGATIVE_SLOPE = 0.1
"""Of the activation."""

LINEAR_FLOOR = 0.02
"""Keeps the two farther slices, whose linear weight is 0, within the attention's reach."""

RESIDUAL_SCALE = 0.05
"""Typical size of the residual in network units; without it one optimiser step overshoots what is to be learnt."""

_CUTOFF = 0.7
"""Of the low-pass filter over the decoder's pixels, as a share of the Nyquist frequency."""

MAX_SIZE = 4096
"""Far beyond any network of ours; a damaged card must not ask for all memory."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network as whole numbers; to and from the ``network`` entry of a model card."""

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict):
        """Build from a model card's ``network`` entry.

        Raises:
            ModelError: A size is unknown to this version, no whole number, or absurdly large.
        """
        if not isinstance(values, dict):
            raise ModelError(f"The model card's network sizes are {values!r:.80}. Use weights of this release.")
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown or not all(type(v) is int and 0 < v <= MAX_SIZE for v in values.values()):
            raise ModelError(
                f"The model card's network sizes {values} are not of this version "
                f"(unknown: {', '.join(unknown) or 'none'}). Use weights and CycleINR of the same release."
            )
        return cls(**values)


@dataclass(frozen=True)
class NetworkConfig(Sizes):
    """Sizes of the CycleINR network.

    Attributes:
        width: Channels of a latent code.
        blocks: Residual blocks of the encoder; its receptive field is ``blocks`` slices to each side.
        heads: Attention heads of ALCGS; ``width`` is a multiple of it.
        decoder_width: Units in each hidden layer of the decoder.
        decoder_layers: Hidden layers of the decoder.
        cell: In-plane pixels per side of the cell that one latent code stands for. The in-plane grid never moves, so
            a cell's pixels are the decoder's ``cell ** 2`` outputs rather than separate queries.
        conditioning_width: Units of the small networks that turn position, ratio and tau into modulations.
        smoothing_taps: Length of the low-pass filter over the decoder's pixels (``network.layers``), odd; 1: none.
        members: Networks of these sizes whose corrections are averaged; one errs where another does not.
    """

    width: int = 64
    blocks: int = 8
    heads: int = 4
    decoder_width: int = 64
    decoder_layers: int = 2
    cell: int = 2
    conditioning_width: int = 32
    smoothing_taps: int = 1
    members: int = 1

    def __post_init__(self):
        if self.smoothing_taps % 2 == 0:
            raise ModelError(f"The network's filter has {self.smoothing_taps} taps; the number must be odd.")
        if self.width % self.heads:
            raise ModelError(f"The network's width {self.width} is no multiple of its {self.heads} attention heads.")

    @property
    def receptive_pixels(self) -> int:
        """In-plane pixels to each side that an output pixel depends on (stem, one 3x3 convolution a block, filter)."""
        return self.cell * (self.blocks + 1) + self.cell - 1 + self.smoothing_taps // 2


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


@lru_cache(maxsize=8)
def low_pass(taps: int) -> tuple[float, ...]:
    """Hamming-windowed sinc that passes what lies below 0.7 of the Nyquist frequency; its weights sum to 1.

    1 tap filters nothing.
    """
    weights = np.sinc(_CUTOFF * (np.arange(taps) - (taps - 1) / 2)) * np.hamming(taps)
    return tuple((weights / weights.sum()).tolist())
