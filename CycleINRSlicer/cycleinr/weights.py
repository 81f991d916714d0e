"""The network without PyTorch: its sizes, what it is told of a scan's slicing, and its weights as NumPy arrays.

Weights on disk are one safetensors file and one model card (JSON) of the same name beside it, which holds the network's
sizes and says what the weights were trained on, how well they do and what they are for. safetensors holds numbers only:
loading it runs no code. 8 bytes have the header's length (little-endian); a JSON header has each tensor's type, shape
and place; the numbers follow without gaps. Ours are 32-bit floats only; everything else is refused.
Source: https://github.com/huggingface/safetensors#format

Names and shapes of the arrays are those of ``network.model.CycleINR``.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import ModelError
from .resampling import counted

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
        smoothing_taps: Length of the low-pass filter over the decoder's pixels (``resampling``), odd; 1: none.
        diagonal_taps: Length of the filter against what changes sign with every row and every column, which reads as
            dots; odd; 1: none.
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
    diagonal_taps: int = 1
    members: int = 1

    def __post_init__(self):
        for taps in (self.smoothing_taps, self.diagonal_taps):
            if taps % 2 == 0:
                raise ModelError(f"A filter of the network has {taps} taps; the number must be odd.")
        if self.width % self.heads:
            raise ModelError(f"The network's width {self.width} is no multiple of its {self.heads} attention heads.")

    @property
    def receptive_pixels(self) -> int:
        """In-plane pixels to each side that an output pixel depends on (stem, one 3x3 convolution a block, filter)."""
        return self.cell * (self.blocks + 1) + self.cell - 1 + self.filter_reach

    @property
    def filter_reach(self) -> int:
        """In-plane pixels to each side that the filters see."""
        return self.smoothing_taps // 2 + self.diagonal_taps // 2


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


CARD_FORMAT = 1
_LENGTH_BYTES = 8
_FLOAT_BYTES = 4
CYCLEINR = "cycleinr"


def architecture(card: dict) -> str:
    """The network that a card describes; cards that do not say are CycleINR's."""
    return card.get("architecture", CYCLEINR)


def check_is_cycleinr(weights: Path, card: dict) -> None:
    """Refuse, with a ModelError, the weights of networks that only the research package knows."""
    if architecture(card) != CYCLEINR:
        raise ModelError(
            f"The weights {weights.name} are of {architecture(card)}, a network that CycleINR is compared with. "
            "Only cycleinr evaluate runs it, a command of the research package."
        )


def card_path(weights: Path) -> Path:
    return weights.with_suffix(".json")


def read_card(weights: Path) -> dict:
    """The model card of a weights file.

    Raises:
        ModelError: The card is missing, not JSON, of a format that this version does not know, or an entry that is read
            has another type.
    """
    path = card_path(weights)
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"The model card {path.name} beside {weights.name} cannot be read ({error.strerror}). "
            "Weights and card belong together: copy both."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"The model card {path.name} is damaged ({error}). Install the weights again.") from error
    if not (
        isinstance(card, dict)
        and card.get("format") == CARD_FORMAT
        and isinstance(card.get("network"), dict)
        and all(isinstance(card.get(name, ""), str) for name in ("name", "architecture"))
        and isinstance(card.get("sha256"), str)
    ):
        raise ModelError(f"The model card {path.name} is not of format {CARD_FORMAT}. Use weights of this release.")
    match card.get("training", {}):
        case {"ratios": [int() | float() as low, int() | float() as high]} if 0 < low <= high:
            return card
        case dict() as training if not training.get("ratios"):
            return card
        case wrong:
            raise ModelError(
                f"The model card {path.name} has {wrong!r:.80} under training, whose ratios are to be the lowest and "
                "the highest, above 0. Install the weights again."
            )


def read_weights(weights: Path, sha256: str | None = None) -> tuple[dict, dict[str, np.ndarray]]:
    """The model card of a weights file, and the file's arrays by name.

    Args:
        weights: The weights file.
        sha256: Hash of the weights that are meant, where the card was read before.

    Raises:
        ModelError: The file is missing, damaged, or changed since its card was written.
    """
    card = read_card(weights)
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise ModelError(f"The weights {weights.name} cannot be read: {error.strerror}.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != card["sha256"]:
        raise ModelError(f"The weights {weights.name} are not those of their model card. Install both files again.")
    if sha256 is not None and found != sha256:
        raise ModelError(f"The weights {weights.name} were replaced by others while they were in use. Start again.")
    try:
        return card, read_tensors(data)
    except ValueError as error:
        raise ModelError(f"The weights {weights.name} are damaged ({error}). Install them again.") from error


def read_tensors(data: bytes) -> dict[str, np.ndarray]:
    """All tensors of a file by name, read-only views of ``data``.

    Args:
        data: The whole file.

    Raises:
        ValueError: The header is damaged or names another type, tensors overlap, leave gaps or reach beyond the file,
            or a number is not finite.
    """
    start, begin, tensors = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little"), 0, {}
    try:
        if start > len(data):
            raise ValueError(f"the header ends at byte {start}, and the file at {len(data)}")
        header = json.loads(data[_LENGTH_BYTES:start].decode("utf-8"), object_pairs_hook=_without_repetition)
        if not all(isinstance(value, str) for value in header.pop("__metadata__", {}).values()):
            raise ValueError("its metadata is no table of texts")
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            shape = entry["shape"]
            if not all(type(size) is int and size >= 0 for size in shape):
                raise ValueError(f"{name!r} has the shape {shape!r:.80}")
            count = math.prod(shape)
            end = begin + _FLOAT_BYTES * count
            if entry != {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}:
                raise ValueError(f"{name!r} is {entry!r:.200} instead of F32 from byte {begin} to {end}")
            tensors[name] = np.frombuffer(data, "<f4", count, start + begin).reshape(shape)
            if not np.isfinite(tensors[name]).all():
                raise ValueError(f"{name!r} holds numbers that are not finite")
            begin = end
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(str(error)) from error
    if start + begin != len(data):
        raise ValueError(f"{counted(len(data) - start - begin, 'byte')} too many after the last tensor")
    return tensors


def _without_repetition(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("the header has a name twice")
    return found


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

    @property
    def members(self) -> list[Parameters]:
        """Those of each member, as a network of its own."""
        alone = replace(self.config, members=1)
        names = parameter_shapes(alone)
        prefixes = ["", *(f"others.{n}." for n in range(self.config.members - 1))]
        return [Parameters(alone, {name: self.arrays[prefix + name] for name in names}) for prefix in prefixes]

    def matrix(self, layer: str) -> np.ndarray:
        """Weights (out, in) of a 1x1 convolution."""
        return self.arrays[f"{layer}.weight"][:, :, 0, 0]

    def bias(self, layer: str) -> np.ndarray:
        """(out,)"""
        return self.arrays[f"{layer}.bias"]

    def modulator(self, name: str, features: np.ndarray) -> np.ndarray:
        """Modulations (..., out) of a small network (``layers.Modulator``) from features (..., in)."""
        hidden = features.astype(np.float32) @ self.arrays[f"{name}.hidden.weight"].T + self.bias(f"{name}.hidden")
        # SiLU by tanh, which does not overflow
        hidden = hidden * (0.5 + 0.5 * np.tanh(0.5 * hidden))
        return hidden @ self.arrays[f"{name}.out.weight"].T + self.bias(f"{name}.out")


def read_parameters(weights: Path, sha256: str | None = None) -> Parameters:
    """CycleINR's sizes and parameters; arguments and errors as ``read_weights``.

    Raises:
        ModelError: They are another network's, or do not fit the card.
    """
    card, arrays = read_weights(weights, sha256)
    check_is_cycleinr(weights, card)
    return Parameters(NetworkConfig.from_dict(card["network"]), arrays)


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
    prefixes = ["", *(f"others.{n}." for n in range(config.members - 1))]
    return {prefix + name: shape for prefix in prefixes for name, shape in shapes.items()}


def _layer(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def offset_features(offsets: np.ndarray) -> np.ndarray:
    """Through-plane offsets in acquired-slice spacings, (...,) -> (..., 2 * HARMONICS + 1) smooth features."""
    angles = [math.pi / 2 * (k + 1) * offsets for k in range(HARMONICS)]
    return np.stack([offsets, *map(np.sin, angles), *map(np.cos, angles)], axis=-1)
