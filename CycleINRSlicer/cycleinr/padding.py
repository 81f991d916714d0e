"""Voxels outside the reconstructed field: which of a result they are, and what stands for them on the way.

A jump from tissue to padding is an edge that no scan has, and it bleeds as far as the network looks. So padding is
filled with values that continue the slice, and put back into the result as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .grid import from_axis_first, to_axis_first
from .volume import Volume


def filled(volume: Volume, axis: str) -> Volume:
    """The scan with values that make no edge in the place of its padding; the scan itself where all is measured.

    Args:
        volume: With its ``valid`` mask, which the returned volume keeps.
        axis: Through-plane axis.
    """
    if volume.valid is None:
        return volume
    stack, valid = (to_axis_first(each, axis) for each in (volume.array, volume.valid))
    out = np.array(stack, order="C")
    recipes, made_for = [], None
    for image, mask in zip(out, valid, strict=True):
        # Most scans have one field for all slices
        if made_for is None or not np.array_equal(mask, made_for):
            recipes, made_for = _recipes(mask), mask
        flat = image.reshape(-1)
        for recipe in recipes:
            values = (recipe.weights * flat[recipe.sources]).sum(axis=0)
            flat[recipe.targets] = np.rint(values) if out.dtype.kind in "iu" else values
    whole = np.flatnonzero(valid.any(axis=(1, 2)))
    for n in np.flatnonzero(~valid.any(axis=(1, 2))):
        out[n] = out[whole[np.abs(whole - n).argmin()]]
    return replace(volume, array=from_axis_first(out, axis))


def valid_in_result(valid: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Which voxels of a result are no padding, (n_out, rows, columns) of bool.

    The nearest acquired slice decides, since a slice stands for what lies nearer to it than to any other: beyond that
    a voxel would be made of filled values alone. In the middle between two, one that is measured is enough.

    Args:
        valid: (n_in, rows, columns) of bool, of the acquired slices.
        positions: (n_out,) in units of acquired slices.
    """
    below, above = _nearest(positions, len(valid))
    return valid[below] | valid[above]


def put_back(result: np.ndarray, acquired: np.ndarray, valid: np.ndarray, positions: np.ndarray) -> None:
    """Write the padding of the nearest acquired slice into a result, in place; arguments as of ``valid_in_result``."""
    for fine, below, above in zip(result, *_nearest(positions, len(acquired)), strict=True):
        padding = ~(valid[below] | valid[above])
        fine[padding] = acquired[below][padding]


def _nearest(positions: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the acquired slices nearest to each position; they differ in the middle between two."""
    below, above = np.ceil(positions - 0.5 - 1e-6), np.floor(positions + 0.5 + 1e-6)
    return tuple(np.clip(each, 0, count - 1).astype(int) for each in (np.minimum(below, above), above))


@dataclass(frozen=True, eq=False)
class _Recipe:
    """How a slice's padding is made of its measured pixels: flat indices of both, and weights (4, n) that sum to 1."""

    targets: np.ndarray
    sources: np.ndarray
    weights: np.ndarray


def _recipes(valid: np.ndarray) -> list[_Recipe]:
    """Each invalid pixel as the mean of the nearest valid ones along its row and column, weighted by 1 / distance^2.

    Of ten ways that were tried this one changes the pixels inside least against a scan that goes on outside. Pixels
    without a valid one in row and column are made of those that are made first.
    """
    if not valid.any():
        return []
    found, known = [], valid.copy()
    while not known.all():
        rows, columns = np.nonzero(~known)
        sources, weights = [], []
        for others, line, here, strides in (
            (known, rows, columns, (valid.shape[1], 1)),
            (known.T, columns, rows, (1, valid.shape[1])),
        ):
            index = np.arange(others.shape[1], dtype=np.int32)
            before = np.maximum.accumulate(np.where(others, index, -1), axis=1)[line, here]
            after = np.minimum.accumulate(np.where(others, index, len(index))[:, ::-1], axis=1)[:, ::-1][line, here]
            for source, there in ((before, before >= 0), (after, after < len(index))):
                # What is nowhere has no weight; any valid pixel may stand for it
                weights.append(there / np.maximum(np.abs(here - source), 1).astype(np.float64) ** 2)
                sources.append(np.where(there, line * strides[0] + source * strides[1], known.argmax()))
        weight = np.stack(weights)
        reached = weight.any(axis=0)
        targets = (rows * valid.shape[1] + columns)[reached]
        weight = weight[:, reached] / weight[:, reached].sum(axis=0)
        found.append(_Recipe(targets, np.stack(sources)[:, reached], weight))
        known.reshape(-1)[targets] = True
    return found
