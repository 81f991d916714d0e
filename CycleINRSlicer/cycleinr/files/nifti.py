"""Whether a NIfTI file holds all the bytes that its header promises.

The NIfTI library fills what is missing with zeros, and reports a full disk on the console only. So neither reading
nor writing would notice a truncated file.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

_CHUNK_BYTES = 1 << 20
_HEADER_BYTES = 540
_HEADER_SIZES = (348, 540)
"""What the first number of a NIfTI-1 and of a NIfTI-2 header is."""

_BITS_OF_TYPE = {
    **dict.fromkeys((2, 256), 8),
    **dict.fromkeys((4, 512), 16),
    128: 24,
    **dict.fromkeys((8, 16, 768, 2304), 32),
    **dict.fromkeys((32, 64, 1024, 1280), 64),
    **dict.fromkeys((1536, 1792), 128),
    2048: 256,
}
"""Bits of a voxel by the header's datatype, which is what the NIfTI library goes by; its bitpix may say otherwise."""


def find_damage(path: Path) -> str | None:
    """Say what is wrong with a .nii or .nii.gz file, None if it is complete.

    Compressed files are decompressed once, which also verifies their checksum.
    """
    try:
        with gzip.open(path) if _is_gzip(path) else open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
            needed = _promised_bytes(header)
            if needed is None:
                return "it has no NIfTI header"
            if not _is_placed(header):
                return "its header places it nowhere: a number of its transform is infinite or not a number"
            found = len(header)
            while chunk := file.read(_CHUNK_BYTES):
                found += len(chunk)
    except EOFError:
        return "the compressed data end too early"
    except (gzip.BadGzipFile, zlib.error):
        return "the compressed data are damaged"
    if found < needed:
        return f"it ends after {found} of {needed} bytes"
    return None


def _is_placed(header: bytes) -> bool:
    """Whether the spacing and the transforms in use are finite; ITK's reader never ends on an infinite one."""
    order = "<" if struct.unpack_from("<i", header)[0] in _HEADER_SIZES else ">"
    if struct.unpack_from(f"{order}i", header)[0] == _HEADER_SIZES[0]:
        number, codes, spacing, quaternion, rows = "f", struct.unpack_from(f"{order}2h", header, 252), 80, 256, 280
    else:
        number, codes, spacing, quaternion, rows = "d", struct.unpack_from(f"{order}2i", header, 344), 112, 352, 400
    used = [(3, spacing)] + [(6, quaternion)] * (codes[0] > 0) + [(12, rows)] * (codes[1] > 0)
    return all(map(math.isfinite, (x for n, at in used for x in struct.unpack_from(f"{order}{n}{number}", header, at))))


def _is_gzip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _promised_bytes(header: bytes) -> int | None:
    """Length of the file, in bytes, from a NIfTI-1 (348 bytes) or NIfTI-2 (540 bytes) header; None if it is neither."""
    if len(header) < 348:
        return None
    for order in "<>":
        size = struct.unpack_from(f"{order}i", header)[0]
        if size == 348:
            dim = struct.unpack_from(f"{order}8h", header, 40)
            kind, bits = struct.unpack_from(f"{order}2h", header, 70)
            offset = struct.unpack_from(f"{order}f", header, 108)[0]
        elif size == 540 and len(header) >= 540:
            dim = struct.unpack_from(f"{order}8q", header, 16)
            kind, bits = struct.unpack_from(f"{order}2h", header, 12)
            offset = struct.unpack_from(f"{order}q", header, 168)[0]
        else:
            continue
        if not 1 <= dim[0] <= 7 or not math.isfinite(offset):
            return None
        bits = max(bits, _BITS_OF_TYPE.get(kind, 0))
        return int(offset) + math.prod(max(n, 1) for n in dim[1 : dim[0] + 1]) * bits // 8
    return None
