"""Computing a part of a scan as a run of the whole would, with all that the network and the steps after it look at."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, replace

import numpy as np

from ..grid import AXIS_OF_ARRAY, SliceGrid
from ..interpolation import NEIGHBOURS
from ..network.config import NetworkConfig
from .options import Region

_AROUND_PIXELS = 8
"""What the steps after the network look at: bounds of data consistency, and the filter of noise matching."""

_AROUND_SLICES = 4
"""The same along the slices; what the B-spline and data consistency take from farther away is below 0.1 HU."""

_ALL = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Part:
    """What is computed of a scan, and what of that is the result.

    Attributes:
        grid: The slices that are computed, of the part.
        source: The voxels that go in, [k, j, i].
        kept: The voxels of what comes out that are the result, [k, j, i].
    """

    grid: SliceGrid
    source: tuple[slice, slice, slice] = _ALL
    kept: tuple[slice, slice, slice] = _ALL


def part_of(shape_kji: tuple[int, int, int], grid: SliceGrid, region: Region | None, config: NetworkConfig) -> Part:
    """Find what has to be computed.

    Args:
        shape_kji: The scan's.
        grid: The slices of the whole scan's result.
        region: What is wanted; None for all.
        config: Sizes of the network.

    Raises:
        RequestError: The region does not lie inside the scan.
    """
    if region is None:
        return Part(grid)
    region.check_inside(shape_kji)
    source, kept = list(_ALL), list(_ALL)
    margin = config.receptive_pixels + _AROUND_PIXELS
    for letter, (first, stop) in zip("ijk", astuple(region), strict=True):
        dimension = AXIS_OF_ARRAY[letter]
        if letter == grid.axis:
            grid, source[dimension], kept[dimension] = _slices(grid, first, stop, config)
            continue
        # A part that began inside a cell would be another image to the network
        low = max(0, (first - margin) // config.cell * config.cell)
        high = stop + margin
        high = min(shape_kji[dimension], high + (high - low) % config.cell)
        source[dimension], kept[dimension] = slice(low, high), slice(first - low, stop - low)
    return Part(grid, tuple(source), tuple(kept))


def _slices(grid: SliceGrid, first: int, stop: int, config: NetworkConfig) -> tuple[SliceGrid, slice, slice]:
    """The part's grid, the acquired slices that go in, and the computed slices that are the result."""
    positions = grid.positions()
    wanted = _between(positions, first - 0.5, stop - 0.5)
    if grid.acquisition is not None:
        return grid, slice(0, grid.n_in), wanted
    margin = config.blocks + NEIGHBOURS // 2 + _AROUND_SLICES
    low, high = max(0, first - margin), min(grid.n_in, stop + margin)
    computed = _between(
        positions, -math.inf if low == 0 else low, math.inf if high == grid.n_in else np.nextafter(high - 1, high)
    )
    first_mm = grid.first_mm + computed.start * grid.spacing_out_mm - low * grid.spacing_in_mm
    own = replace(grid, n_in=high - low, n_out=computed.stop - computed.start, first_mm=first_mm)
    return own, slice(low, high), slice(wanted.start - computed.start, wanted.stop - computed.start)


def _between(positions: np.ndarray, low: float, high: float) -> slice:
    """Those of rising positions with ``low <= position < high``; at least the one that is nearest."""
    start, stop = np.searchsorted(positions, (low, high))
    start = min(int(start), len(positions) - 1)
    return slice(start, max(start + 1, int(stop)))
