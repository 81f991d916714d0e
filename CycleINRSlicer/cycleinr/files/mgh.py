"""FreeSurfer's .mgh and .mgz files. Layout: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ..errors import InputError
from .samples import ImageHeader, damaged, read_samples, unpacked_start

SUFFIXES = (".mgz", ".mgh")

_VOXELS_AT = 284
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}


def looks_like_mgh(start: bytes) -> bool:
    """Whether the first bytes of a file, unpacked, are those of an MGH header."""
    if len(start) < _VOXELS_AT:
        return False
    version, *sizes, kind = struct.unpack_from(">6i", start)
    return version == 1 and min(sizes) > 0 and kind in _TYPES


def mgh_header(path: Path) -> ImageHeader:
    """The header; an InputError says that there is none, or that it says nothing of the place."""
    start = unpacked_start(path)
    if not looks_like_mgh(start):
        raise damaged(path, "it has no MGH header")
    *sizes, kind, _, is_placed = struct.unpack_from(">6ih", start, 4)
    numbers = np.array(struct.unpack_from(">15f", start, 30), np.float64)
    if not is_placed:
        raise InputError(f"{path.name} does not say where it lies. Give the volume that it was made from.")
    if not np.isfinite(numbers).all():
        raise damaged(path, "its header places it nowhere")
    affine = np.eye(4)
    # Columns of direction cosines one after the other; the place is that of the middle
    affine[:3, :3] = numbers[3:12].reshape(3, 3).T * numbers[:3]
    affine[:3, 3] = numbers[12:] - affine[:3, :3] @ (np.array(sizes[:3]) / 2)
    stored = np.dtype(_TYPES[kind])
    values = stored.newbyteorder("=")

    def voxels(first: int, count: int) -> np.ndarray:
        return read_samples(path, _VOXELS_AT, stored, sizes, first, count).astype(values)

    return ImageHeader(tuple(sizes if sizes[3] > 1 else sizes[:3]), values, affine, voxels)
