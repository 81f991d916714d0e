"""Writing NIfTI-1 files: several frames too, with the codes of the file that a scan came from."""

from __future__ import annotations

import gzip
import math
import os
import struct
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from ..errors import OutputError
from ..geometry import spacing_of
from .nifti import TYPE_CODES

_VOXELS_AT = 352
_MM, _SECONDS = 2, 8
_LONGEST = 32767
_NOTE_BYTES = 79
_PACKING = 3
"""A head CT gets no smaller from 4 to 6, which take up to three times as long."""


def write_nifti(
    frames: Sequence[np.ndarray],
    ijk_to_ras: np.ndarray,
    codes: tuple[int, int],
    path: Path,
    note: str = "",
    frame_s: float = 1.0,
) -> None:
    """Write a .nii or .nii.gz file.

    Args:
        frames: (K, J, I) each; one gives a 3-D image.
        codes: Qform and sform code; 0 for one that is left away. Without either, a place that the file cannot hold then
            is called the scanner's.
        note: Goes into ``descrip``, where it fits.
        frame_s: Time between frames in seconds.

    Raises:
        OutputError: An axis is longer than the format allows.
        OSError: It cannot be written.
    """
    longest = max(len(frames), *frames[0].shape)
    if longest > _LONGEST:
        raise OutputError(
            f"A NIfTI file has at most {_LONGEST} samples along an axis, and the result has {longest}. "
            "Write .nrrd or .mha instead."
        )
    header = _header(frames, ijk_to_ras, codes, note, frame_s)
    with open(path, "wb") as file:
        # No name and no time, so that the same result gives the same bytes
        packed = path.name.lower().endswith(".gz")
        with gzip.GzipFile("", "wb", _PACKING, file, mtime=0) if packed else nullcontext(file) as stream:
            stream.write(header)
            for frame in frames:
                for plane in frame:
                    stream.write(np.ascontiguousarray(plane, plane.dtype.newbyteorder("<")))
        file.flush()
        os.fsync(file.fileno())


def _header(
    frames: Sequence[np.ndarray], ijk_to_ras: np.ndarray, codes: tuple[int, int], note: str, frame_s: float
) -> bytearray:
    times, sizes, dtype = len(frames), frames[0].shape, frames[0].dtype
    dims = [4, *sizes[::-1], times] if times > 1 else [3, *sizes[::-1], 1]
    spacing = spacing_of(ijk_to_ras)
    (b, c, d), turned = _quaternion(ijk_to_ras[:3, :3] / spacing)
    header = bytearray(_VOXELS_AT)
    kind = f"{dtype.kind}{dtype.itemsize}"
    struct.pack_into("<i", header, 0, 348)
    header[38:39] = b"r"
    struct.pack_into("<8h", header, 40, *dims, 1, 1, 1)
    datatype = next(code for code, name in TYPE_CODES.items() if name == kind)
    struct.pack_into("<2h", header, 70, datatype, dtype.itemsize * 8)
    struct.pack_into("<8f", header, 76, turned, *spacing, frame_s if times > 1 else 1.0, 1, 1, 1)
    struct.pack_into("<3f", header, 108, _VOXELS_AT, 1, 0)
    header[123] = _MM | (_SECONDS if times > 1 else 0)
    text = note.encode("ascii", "replace")[:_NOTE_BYTES]
    header[148 : 148 + len(text)] = text
    struct.pack_into("<6f", header, 256, b, c, d, *ijk_to_ras[:3, 3])
    struct.pack_into("<12f", header, 280, *ijk_to_ras[:3].ravel())
    header[344:347] = b"n+1"
    if codes == (0, 0) and not np.allclose(ijk_to_ras, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])):
        codes = (1, 1)
    struct.pack_into("<2h", header, 252, *codes)
    return header


def _quaternion(rotation: np.ndarray) -> tuple[np.ndarray, float]:
    """(b, c, d) with a >= 0 of a matrix of unit columns, and -1 where the last column has to be turned around for it.

    Of the four ways to work it out, the one with the largest number is taken, which loses no digits.
    """
    turned = math.copysign(1.0, float(np.linalg.det(rotation)))
    r = rotation * (1.0, 1.0, turned)
    squares = np.array(
        [
            1 + r[0, 0] + r[1, 1] + r[2, 2],
            1 + r[0, 0] - r[1, 1] - r[2, 2],
            1 - r[0, 0] + r[1, 1] - r[2, 2],
            1 - r[0, 0] - r[1, 1] + r[2, 2],
        ]
    )
    products = np.array(
        [
            [squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], squares[1], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], squares[2], r[1, 2] + r[2, 1]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], squares[3]],
        ]
    )
    largest = int(squares.argmax())
    quaternion = products[largest] / np.linalg.norm(products[largest])
    return quaternion[1:] * math.copysign(1.0, quaternion[0]), turned
