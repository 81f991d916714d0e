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
            bits = struct.unpack_from(f"{order}h", header, 72)[0]
            offset = struct.unpack_from(f"{order}f", header, 108)[0]
        elif size == 540 and len(header) >= 540:
            dim = struct.unpack_from(f"{order}8q", header, 16)
            bits = struct.unpack_from(f"{order}h", header, 14)[0]
            offset = struct.unpack_from(f"{order}q", header, 168)[0]
        else:
            continue
        if not 1 <= dim[0] <= 7 or not math.isfinite(offset):
            return None
        return int(offset) + math.prod(max(n, 1) for n in dim[1 : dim[0] + 1]) * bits // 8
    return None
