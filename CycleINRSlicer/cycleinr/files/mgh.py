"""FreeSurfer's .mgh and .mgz files. Layout: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .nifti import check_length, damaged, fill, opened, skip, unpacked_start, unpacking

SUFFIXES = (".mgz", ".mgh")

_VOXELS_AT = 284
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}


@dataclass(frozen=True, eq=False)
class Header:
    """What the header says.

    Attributes:
        sizes: Samples along i, j, k and frames.
        stored_type: Of the samples.
        ijk_to_ras: 4x4, mm.
    """

    sizes: tuple[int, int, int, int]
    stored_type: np.dtype
    ijk_to_ras: np.ndarray


def looks_like_mgh(start: bytes) -> bool:
    """Whether the first bytes of a file, unpacked, are those of an MGH header."""
    if len(start) < _VOXELS_AT:
        return False
    version, *sizes, kind = struct.unpack_from(">6i", start)
    return version == 1 and min(sizes) > 0 and kind in _TYPES


def read_header(path: Path) -> Header:
    """The header; an InputError says that there is none, or that it says nothing of the place."""
    start = unpacked_start(path)
    if not looks_like_mgh(start):
        raise damaged(path, "it has no MGH header")
    i, j, k, frames, kind = struct.unpack_from(">5i", start, 4)
    is_placed = struct.unpack_from(">h", start, 28)[0]
    numbers = struct.unpack_from(">15f", start, 30)
    if not is_placed:
        raise InputError(f"{path.name} does not say where it lies. Give the volume that it was made from.")
    if not all(map(math.isfinite, numbers)):
        raise damaged(path, "its header places it nowhere")
    affine = np.eye(4)
    # Columns of direction cosines one after the other; the place is that of the middle
    affine[:3, :3] = np.reshape(numbers[3:12], (3, 3)).T * numbers[:3]
    affine[:3, 3] = np.array(numbers[12:]) - affine[:3, :3] @ (np.array([i, j, k]) / 2)
    return Header((i, j, k, frames), np.dtype(_TYPES[kind]), affine)


def read_voxels(path: Path, header: Header, first: int = 0, count: int = 1) -> np.ndarray:
    """Values (count, K, J, I) of the frames from ``first``, counted from 0.

    Raises:
        InputError: The file ends too early, or its packed data are damaged.
    """
    shape = count, *header.sizes[2::-1]
    check_length(path, math.prod(shape) * header.stored_type.itemsize)
    array = np.empty(shape, header.stored_type)
    skipped = _VOXELS_AT + first * (array.nbytes // count)
    with unpacking(path), opened(path) as file:
        found = skip(file, skipped) + fill(array, file)
    if found < skipped + array.nbytes:
        raise damaged(path, f"it ends after {found} of {skipped + array.nbytes} bytes")
    return array.astype(header.stored_type.newbyteorder("="))
