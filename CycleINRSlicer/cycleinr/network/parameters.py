"""A trained CycleINR's parameters as NumPy arrays, and the small networks that condition it.

Names and shapes are those of ``network.model.CycleINR`` in PyTorch; reading them needs neither PyTorch nor safetensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ModelError
from .config import HARMONICS, NetworkConfig
from .weights import read_weights


@dataclass(frozen=True)
class Parameters:
    """Sizes and trained parameters.

    Attributes:
        config: Sizes.
        arrays: Every parameter by its PyTorch name, float32.
    """

    config: NetworkConfig
    arrays: dict[str, np.ndarray]

    def __post_init__(self):
        found = {name: array.shape for name, array in self.arrays.items()}
        if found != parameter_shapes(self.config):
            raise ModelError("The parameters do not fit the network of their model card. Install both files again.")

    def matrix(self, layer: str) -> np.ndarray:
        """Weights (out, in) of a 1x1 convolution."""
        return self.arrays[f"{layer}.weight"][:, :, 0, 0]

    def bias(self, layer: str) -> np.ndarray:
        """(out,)"""
        return self.arrays[f"{layer}.bias"]

    def modulator(self, name: str, features: np.ndarray) -> np.ndarray:
        """Modulations (..., out) of a small network (``conditioning.Modulator``) from features (..., in)."""
        hidden = features.astype(np.float32) @ self.arrays[f"{name}.hidden.weight"].T + self.bias(f"{name}.hidden")
        # SiLU by tanh, which does not overflow
        hidden = hidden * (0.5 + 0.5 * np.tanh(0.5 * hidden))
        return hidden @ self.arrays[f"{name}.out.weight"].T + self.bias(f"{name}.out")


def parameter_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by name."""
    width, told = config.width, 2 * HARMONICS + 1 + 3
    decoder = [config.decoder_width] * config.decoder_layers
    shapes = _layer("encoder.stem", width, 3 * config.cell**2, 3, 3)
    for n in range(config.blocks):
        shapes |= _layer(f"encoder.blocks.{n}.inplane", width, width, 3, 3)
        shapes |= _layer(f"encoder.blocks.{n}.through", width, 3 * width, 1, 1)
    shapes |= _layer("sampling.project", 3 * width, width, 1, 1)
    for n, (inputs, outputs) in enumerate(zip([width, *decoder], decoder, strict=False)):
        shapes |= _layer(f"decoder.hidden.{n}", outputs, inputs, 1, 1)
    shapes |= _layer("decoder.out", 2 * config.cell**2, decoder[-1], 1, 1)
    for name, inputs, outputs in (
        ("encoder.modulator", 2, 2 * width * config.blocks),
        ("sampling.offset", told, width + config.heads),
        ("decoder.modulator", told, 2 * sum(decoder)),
    ):
        shapes |= _layer(f"{name}.hidden", config.conditioning_width, inputs)
        shapes |= _layer(f"{name}.out", outputs, config.conditioning_width)
    return shapes


def _layer(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def offset_features(offsets: np.ndarray) -> np.ndarray:
    """Through-plane offsets in acquired-slice spacings, (...,) -> (..., 2 * HARMONICS + 1) smooth features."""
    angles = [math.pi / 2 * (k + 1) * offsets for k in range(HARMONICS)]
    return np.stack([offsets, *map(np.sin, angles), *map(np.cos, angles)], axis=-1)


def load_parameters(weights: Path, sha256: str | None = None) -> Parameters:
    """The parameters in a weights file whose card describes a CycleINR.

    Args:
        weights: The weights file.
        sha256: Hash of the weights that are meant, where the card was read before.

    Raises:
        ModelError: The file is missing, damaged, changed since its card was written, or does not fit the card.
    """
    card, arrays = read_weights(weights, sha256)
    return Parameters(NetworkConfig.from_dict(card["network"]), arrays)
