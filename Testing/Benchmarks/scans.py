"""Scans of any size with real grey values: the bundled head CT, mirrored at its borders until it is large enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
HEAD_CT = REPOSITORY / "CycleINRSlicer" / "Resources" / "SampleData" / "ct_head_5mm.nii.gz"

FULL_CT = (60, 512, 512)
"""Slices, rows and columns of the scan that figures are about: 60 slices of 5 mm become 296 of 1 mm."""


def make_scan(shape_kji: tuple[int, int, int]):
    """A ``Volume`` of 5 mm slices with this shape."""
    from cycleinr.files import read_volume

    head = read_volume(HEAD_CT)
    array = head.array
    for axis, size in enumerate(shape_kji):
        array = np.take(array, _mirrored(size, array.shape[axis]), axis)
    affine = np.diag([0.5, 0.5, 5.0, 1.0])
    return head.with_array(np.ascontiguousarray(array), affine)


def middle(volume, shape_kji: tuple[int, int, int]):
    """The middle of a ``Volume``, or all of it along an axis that is shorter."""
    sizes = zip(volume.shape_kji, shape_kji, strict=True)
    starts = [(max(0, (have - want) // 2), want) for have, want in sizes]
    return volume[tuple(slice(start, start + want) for start, want in starts)]


def _mirrored(size: int, available: int) -> np.ndarray:
    index = np.arange(size) % (2 * available - 2)
    return np.where(index < available, index, 2 * available - 2 - index)


def shape_for(output_voxels: float, n_in: int = FULL_CT[0]) -> tuple[int, int, int]:
    """Shape of a scan with square slices whose result at 1 mm has about this many voxels."""
    n_out = 5 * (n_in - 1) + 1
    side = round((output_voxels / n_out) ** 0.5 / 4) * 4
    return n_in, side, side
