"""What the network added: result minus cubic B-spline interpolation of the scan.

The work takes about a second for 512 x 512 x 300 voxels, so it comes in steps of some tens of milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np

from .. import InputError
from ..geometry import subgrid_affine
from ..grid import AXIS_OF_ARRAY, COLUMN_OF_AXIS, to_axis_first
from ..resampling import bspline_weights
from ..volume import Volume

STEP_BYTES = 8_000_000
"""Difference values computed in one step, as float32."""

_NEGLIGIBLE_WEIGHT = 1e-6
"""B-spline weights fall by a factor of 3.7 a slice; smaller ones than this change no intensity that is shown."""

_LARGEST_INT16_SPREAD = 2**14
"""Cubic B-splines overshoot by less than half the spread of the values, so such differences fit into int16."""


def added_detail(scan: Volume, result: Volume) -> tuple[np.ndarray, Iterator[float]]:
    """Result minus cubic B-spline of the scan, (K, J, I) on the result's grid.

    Args:
        scan: The acquired scan.
        result: What was made of it, or of a part of it.

    Returns:
        An array, int16 for integer scans, else float32, and the steps that fill it: the fraction that is done after
        each one.

    Raises:
        InputError: The result's grid differs from the scan's, or a part of it, in more than the slices along one axis.
    """
    to_scan = np.linalg.inv(scan.ijk_to_ras) @ result.ijk_to_ras
    axis = _resampled_axis(scan, to_scan)
    dimension, column = AXIS_OF_ARRAY[axis], COLUMN_OF_AXIS[axis]
    # The part of the scan that the result was made of, with all slices
    first_kji = np.rint(to_scan[2::-1, 3]).clip(0, np.array(scan.shape_kji) - 1).astype(int)
    part = [slice(first, first + size) for first, size in zip(first_kji, result.shape_kji, strict=True)]
    part[dimension] = slice(None)
    scan = scan[tuple(part)]
    to_scan = np.linalg.inv(scan.ijk_to_ras) @ result.ijk_to_ras
    first_ijk, step_ijk, shape = np.zeros(3), np.ones(3), list(scan.shape_kji)
    first_ijk[column] = to_scan[column, 3]
    step_ijk[column] = to_scan[column, column]
    shape[dimension] = result.shape_kji[dimension]
    expected = SimpleNamespace(shape_kji=tuple(shape), ijk_to_ras=subgrid_affine(scan.ijk_to_ras, first_ijk, step_ijk))
    if not result.geometry_equal(expected):
        raise InputError(
            f"The grid of {result.name} is not that of {scan.name} with other slices, so their difference means "
            "nothing. Choose a result of CycleINR and the scan that it was made from."
        )
    positions = first_ijk[column] + step_ijk[column] * np.arange(shape[dimension])
    own = scan.acquisition
    if own is not None and own.axis == axis:
        positions = own.indices_of(positions * scan.spacing_ijk_mm[column])
    difference = np.empty(result.array.shape, _type_of(scan.array, result.array))
    return difference, _fill(difference, scan.array, result.array, axis, positions)


def _resampled_axis(scan: Volume, to_scan: np.ndarray) -> str:
    """The axis whose spacing changes most; the thickest where none does."""
    change = {axis: abs(np.log(abs(to_scan[column, column]) or 1.0)) for axis, column in COLUMN_OF_AXIS.items()}
    return max(change, key=lambda axis: (round(change[axis], 6), scan.spacing_ijk_mm[COLUMN_OF_AXIS[axis]]))


def _type_of(scan: np.ndarray, result: np.ndarray) -> type:
    if scan.dtype.kind == "f" or result.dtype.kind == "f":
        return np.float32
    spread = max(int(scan.max()), int(result.max())) - min(int(scan.min()), int(result.min()))
    return np.int16 if spread <= _LARGEST_INT16_SPREAD else np.float32


def _fill(difference, scan, result, axis: str, positions: np.ndarray) -> Iterator[float]:
    """Write result minus B-spline into ``difference``, some slices a step; yields the fraction that is done."""
    stack, fine, target = (to_axis_first(array, axis) for array in (scan, result, difference))
    weights = bspline_weights(positions, len(stack)).astype(np.float32)
    step = max(1, STEP_BYTES // (4 * stack[0].size))
    for start in range(0, len(fine), step):
        part = slice(start, min(start + step, len(fine)))
        used = np.flatnonzero(np.abs(weights[part]).max(axis=0) > _NEGLIGIBLE_WEIGHT)
        acquired = np.ascontiguousarray(stack[used[0] : used[-1] + 1], dtype=np.float32)
        smooth = weights[part, used[0] : used[-1] + 1] @ acquired.reshape(len(acquired), -1)
        smooth = np.subtract(fine[part], smooth.reshape(fine[part].shape), out=smooth.reshape(fine[part].shape))
        target[part] = smooth if difference.dtype.kind == "f" else np.rint(smooth, out=smooth)
        yield part.stop / len(fine)
