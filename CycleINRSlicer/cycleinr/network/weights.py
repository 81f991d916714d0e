"""Weights on disk: one safetensors file and one model card (JSON) of the same name beside it.

The card holds the network's sizes, so the two files are enough to build the network; it also says what the weights
were trained on, how well they do and what they are for. safetensors holds numbers only: loading it runs no code.

The format: 8 bytes with the header's length (little-endian), a JSON header with each tensor's type, shape and place,
and the numbers one after the other without gaps. Our weights are 32-bit floats only; everything else is refused.
Source: https://github.com/huggingface/safetensors#format

Without PyTorch, the parameters are NumPy arrays whose names and shapes are those of ``network.model.CycleINR``.

Networks go by the name that cards and training configurations use. All of them are called as
``network(stack, positions, slicing)`` with the shapes of ``CycleINR.forward``, so one training loop and one evaluation
serve them all. A network class carries:

- ``architecture``: its name here, and ``method``: its source in a sentence.
- ``sizes``: the frozen dataclass of its sizes, a ``config.Sizes``.
- ``memory_format``: the layout in which its weights are trained.
- ``ratio`` (of an instance): the one ratio that it is made for, or None for any.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError
from .config import HARMONICS, NetworkConfig, Sizes

CARD_FORMAT = 1
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
_METADATA = "__metadata__"
_MOST_DIMENSIONS = 8
_FLOAT_BYTES = 4
CYCLEINR = "cycleinr"
_PLACES = {CYCLEINR: "cycleinr.network.model:CycleINR"}


def architecture(card: dict) -> str:
    """The network that a card describes; cards that do not say are CycleINR's."""
    return card.get("architecture", CYCLEINR)


def card_path(weights: Path) -> Path:
    return weights.with_suffix(".json")


def read_card(weights: Path) -> dict:
    """The model card of a weights file.

    Raises:
        ModelError: The card is missing, not JSON, or of a format that this version does not know.
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
        and isinstance(card.get("sha256"), str)
    ):
        raise ModelError(f"The model card {path.name} is not of format {CARD_FORMAT}. Use weights of this release.")
    return card


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
    except FormatError as error:
        raise ModelError(f"The weights {weights.name} are damaged ({error}). Install them again.") from error


def load_network(weights: Path, sha256: str | None = None):
    """Build the network that a weights file and its card describe, in evaluation mode on the CPU.

    Args:
        weights: The weights file.
        sha256: Hash of the weights that are meant, where the card was read before.

    Raises:
        ModelError: The file is missing, damaged, changed since its card was written, does not fit the card, or holds
            numbers that are not finite.
    """
    import torch

    card, arrays = read_weights(weights, sha256)
    tensors = {key: torch.from_numpy(value.copy()) for key, value in arrays.items()}
    name = architecture(card)
    sizes = sizes_of(name, card["network"])
    # Without numbers first: a card with wrong sizes must not take memory for a network that the weights do not fit.
    with torch.device("meta"):
        wanted = build_network(name, sizes).state_dict()
    if {key: (value.shape, value.dtype) for key, value in tensors.items()} != {
        key: (value.shape, value.dtype) for key, value in wanted.items()
    }:
        raise ModelError(f"The weights {weights.name} do not fit the network of their card.")
    model = build_network(name, sizes)
    model.load_state_dict(tensors)
    return model.eval()


def register(name: str, place: str) -> None:
    """Make another network known, as "module:class"; the module is imported when the network is first asked for."""
    _PLACES[name] = place


def network_class(name: str) -> type[Any]:
    """The class of an architecture.

    Raises:
        ModelError: No architecture has this name.
    """
    if not isinstance(name, str) or name not in _PLACES:
        raise ModelError(f"There is no architecture {name!r}. Choose of {', '.join(_PLACES)}.")
    module, _, cls = _PLACES[name].partition(":")
    return getattr(import_module(module), cls)


def sizes_of(name: str, values: dict) -> Sizes:
    """Sizes of an architecture from plain values, as a model card or a configuration holds them.

    Raises:
        ModelError: No such architecture, or a size that it does not have.
    """
    return network_class(name).sizes.from_dict(values)


def build_network(name: str, sizes: Sizes):
    """A network with random weights."""
    return network_class(name)(sizes)


class FormatError(ValueError):
    """The bytes are no safetensors file of finite 32-bit floats; the message says where they differ."""


def read_tensors(data: bytes) -> dict[str, np.ndarray]:
    """All tensors of a file by name, read-only views of ``data``.

    Args:
        data: The whole file.

    Raises:
        FormatError: The header is damaged or names another type, tensors overlap, leave gaps or reach beyond the file,
            or a number is not finite.
    """
    header, start = _header(data)
    places = sorted((_place(name, entry), name) for name, entry in header.items() if name != _METADATA)
    _check_metadata(header.get(_METADATA, {}))
    tensors, expected = {}, 0
    for (begin, end, shape), name in places:
        if begin != expected:
            raise FormatError(f"{name!r} begins at byte {begin} of the numbers instead of {expected}")
        if start + end > len(data):
            raise FormatError(f"{name!r} ends at byte {start + end}, and the file at {len(data)}")
        values = np.frombuffer(data, "<f4", (end - begin) // _FLOAT_BYTES, start + begin).reshape(shape)
        if not np.isfinite(values).all():
            raise FormatError(f"{name!r} holds numbers that are not finite")
        tensors[name], expected = values, end
    if start + expected != len(data):
        raise FormatError(f"{len(data) - start - expected} bytes follow the last tensor")
    return tensors


def _header(data: bytes) -> tuple[dict, int]:
    """The JSON header and where it ends."""
    if len(data) < _LENGTH_BYTES:
        raise FormatError(f"the file has {len(data)} bytes")
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    stop = _LENGTH_BYTES + length
    if length > _MOST_HEADER_BYTES or stop > len(data):
        raise FormatError(f"the header is said to have {length} bytes, in a file of {len(data)}")
    try:
        header = json.loads(data[_LENGTH_BYTES:stop].decode("utf-8"), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise FormatError("the header is no JSON object")
    return header, stop


def _without_repetition(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FormatError("the header has a name twice")
    return found


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError(f"{_METADATA} is no table of texts")


def _place(name: str, entry: object) -> tuple[int, int, tuple[int, ...]]:
    """First and last byte, relative to the header's end, and shape of a tensor."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"{name!r} is not described by dtype, shape and data_offsets")
    if entry["dtype"] != "F32":
        raise FormatError(f"{name!r} is of type {entry['dtype']!r:.20} instead of F32")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _whole_numbers(shape) or len(shape) > _MOST_DIMENSIONS:
        raise FormatError(f"{name!r} has the shape {shape!r:.80}")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise FormatError(f"{name!r} has the place {offsets!r:.80}")
    begin, end = offsets
    if end - begin != _FLOAT_BYTES * prod(shape):
        raise FormatError(f"{name!r} has {end - begin} bytes for the shape {shape!r:.80}")
    return begin, end, tuple(shape)


def _whole_numbers(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


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
        names = member_shapes(alone)
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


def parameter_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by name."""
    shapes = member_shapes(config)
    others = (f"others.{n}." for n in range(config.members - 1))
    return shapes | {prefix + name: shape for prefix in others for name, shape in shapes.items()}


def member_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """The same for the first member, or one that is alone."""
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
