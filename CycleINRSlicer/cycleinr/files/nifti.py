"""What ITK's NIfTI library does not do by itself: read the file that was named, and notice one that is cut off.

It makes up the name of the file that holds the voxels: asked for scan.nii.gz, it takes those of a scan.nii that lies
beside it. It fills what is missing with zeros, and reports a full disk on the console only.
"""

from __future__ import annotations

import gzip
import math
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..affine import is_sheared
from ..errors import InputError

_CHUNK_BYTES = 1 << 20
_HEADER_BYTES = 540
_HEADER_SIZES = (348, 540)
"""What the first number of a NIfTI-1 and of a NIfTI-2 header is."""

_SCANNER = 1
"""The code of a transform to the scanner's coordinates."""

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


@contextmanager
def alone(path: Path, placed: bool = True) -> Iterator[Path]:
    """A second name of a .nii or .nii.gz file in a temporary folder, where the NIfTI library finds no other file.

    The ending is that of the content: ".nii.gz" where it is compressed.

    :param placed: False for a copy that says nothing of its place, which is not compressed.
    :raises InputError: no temporary folder can be made, or the file does not fit into it where it has to be copied.
    :raises OSError: the file cannot be opened.
    """
    name = "image.nii.gz" if _is_gzip(path) else "image.nii"
    try:
        private = tempfile.TemporaryDirectory(prefix="cycleinr-nifti-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_room(path, error) from error
    with private as folder:
        second = Path(folder) / (name if placed else "image.nii")
        try:
            if placed:
                _name_again(Path(os.path.abspath(path)), second)
            else:
                _copy_unplaced(path, second)
        except OSError as error:
            raise _no_room(path, error) from error
        yield second


def _name_again(path: Path, second: Path) -> None:
    """By a link where the system allows one, else by a copy."""
    for link in (os.symlink, os.link):
        try:
            link(path, second)
        except OSError:
            continue
        return
    shutil.copyfile(path, second)


def _copy_unplaced(path: Path, second: Path) -> None:
    with gzip.open(path) if _is_gzip(path) else open(path, "rb") as file, open(second, "wb") as copy:
        header = bytearray(file.read(_HEADER_BYTES))
        order, places = _layout(header)
        struct.pack_into(f"{order}2{places.code}", header, places.codes, 0, 0)
        copy.write(header)
        shutil.copyfileobj(file, copy, _CHUNK_BYTES)


def sheared_affine(path: Path) -> np.ndarray | None:
    """The 4x4 affine to RAS mm of a .nii or .nii.gz file if it is one that ITK cannot hold; else None.

    ITK takes the qform where there is one, which turns what a tilted gantry sheared. The sform is the place in the
    scanner if its code says so, and the only one where there is no qform.
    """
    with gzip.open(path) if _is_gzip(path) else open(path, "rb") as file:
        header = file.read(_HEADER_BYTES)
    order, places = _layout(header)
    qform, sform = struct.unpack_from(f"{order}2{places.code}", header, places.codes)
    if sform <= 0 or (qform > 0 and sform != _SCANNER):
        return None
    affine = np.eye(4)
    affine[:3] = np.reshape(struct.unpack_from(f"{order}12{places.number}", header, places.rows), (3, 4))
    return affine if is_sheared(affine) else None


def _no_room(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path.name} cannot be read: NIfTI files are read through a temporary folder, and none can be made or filled "
        f"({error.strerror}). Free space for temporary files, or set TMPDIR to another folder."
    )


def find_damage(path: Path, header_only: bool = False) -> str | None:
    """Say what is wrong with a .nii or .nii.gz file, or with its header alone, None if it is complete.

    Compressed files are decompressed once, which also verifies their checksum.
    """
    try:
        with gzip.open(path) if _is_gzip(path) else open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
            needed = _promised_bytes(header)
            if needed is None:
                return "it has no NIfTI header"
            if _is_half_of_a_pair(header):
                return "its header says that it is one of a pair of files (.hdr and .img), and has no voxels of its own"
            if not _is_placed(header):
                return "its header places it nowhere: a number of its transform is infinite or not a number"
            if header_only:
                return None
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
    order, places = _layout(header)
    codes = struct.unpack_from(f"{order}2{places.code}", header, places.codes)
    used = [(3, places.spacing)] + [(6, places.quaternion)] * (codes[0] > 0) + [(12, places.rows)] * (codes[1] > 0)
    return all(
        map(math.isfinite, (x for n, at in used for x in struct.unpack_from(f"{order}{n}{places.number}", header, at)))
    )


class _Places(NamedTuple):
    """Types and offsets of what places a file: qform and sform code, spacing, quaternion and rows of the sform."""

    code: str
    number: str
    codes: int
    spacing: int
    quaternion: int
    rows: int


def _layout(header: bytes | bytearray) -> tuple[str, _Places]:
    """Byte order, and where things are, in the header of a file that is one."""
    order = "<" if struct.unpack_from("<i", header)[0] in _HEADER_SIZES else ">"
    first = struct.unpack_from(f"{order}i", header)[0] == _HEADER_SIZES[0]
    return order, _Places("h", "f", 252, 80, 256, 280) if first else _Places("i", "d", 344, 112, 352, 400)


def _is_half_of_a_pair(header: bytes) -> bool:
    """By the magic: "ni1" or "ni2" instead of "n+1" or "n+2"."""
    second = struct.unpack_from("<i", header)[0] in (540, 0x1C020000)
    return header[4:7] == b"ni2" if second else header[344:347] == b"ni1"


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
