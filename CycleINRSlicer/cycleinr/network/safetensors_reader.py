"""Weights out of a safetensors file with NumPy alone.

The format: 8 bytes with the header's length (little-endian), a JSON header with each tensor's type, shape and place,
and the numbers one after the other without gaps. Our weights are 32-bit floats only; everything else is refused.
Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from math import prod

import numpy as np

_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
_METADATA = "__metadata__"
_MOST_DIMENSIONS = 8
_FLOAT_BYTES = 4


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
