"""What of a scan is computed, and what of that together.

A region is computed as a run of the whole would, with all that the network and the steps after it look at.

The network is told one slicing, and knows positions in units of acquired slices only. An even scan takes one pass.
Where the spacing changes, or where a slice is missing, the intervals of each spacing take a pass of their own, in which
the slices around them count as neighbours however far away they are. Measured on CT, this is better than filling in
what is missing by interpolation, and as good as slices of the same spacing all along (docs/method.md).
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, replace

import numpy as np

from ..grid import AXIS_OF_ARRAY, SliceGrid
from ..network.config import NetworkConfig, Slicing
from ..noise import REACH_PIXELS, STEP_PIXELS
from ..resampling import NEIGHBOURS
from .consistency import CoveringGrid
from .options import Region

_AROUND_SLICES = 4
"""The same along the slices; what the B-spline and data consistency take from farther away is below 0.1 HU."""

_DIGITS = 3
"""To which spacings in mm and thicknesses in spacings count as the same."""

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
    margin = config.receptive_pixels + REACH_PIXELS
    for letter, (first, stop) in zip("ijk", astuple(region), strict=True):
        dimension = AXIS_OF_ARRAY[letter]
        if letter == grid.axis:
            grid, source[dimension], kept[dimension] = _slices(grid, first, stop, config)
            continue
        # A part that began inside a cell would be another image to the network, and have its noise levels elsewhere
        step = math.lcm(config.cell, STEP_PIXELS)
        low = max(0, (first - margin) // step * step)
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


@dataclass(frozen=True, eq=False)
class Pass:
    """Output slices that are computed with one slicing.

    Attributes:
        slicing: What the network is told.
        acquired: The acquired slices that it sees.
        outputs: (m,) which slices of the covering grid, rising.
        positions: (m,) where they lie, in units of the acquired slices that it sees.
    """

    slicing: Slicing
    acquired: slice
    outputs: np.ndarray
    positions: np.ndarray


def passes(
    grid: SliceGrid, covering: CoveringGrid, tau: float | np.ndarray, pixel_mm: float, reach: int
) -> tuple[Pass, ...]:
    """Divide a covering grid's slices.

    Args:
        grid: What was asked for.
        covering: The same with all slices that are computed.
        tau: Slice thickness / slice spacing, of each acquired slice where they differ.
        pixel_mm: In-plane spacing.
        reach: Acquired slices to either side of an interval that its output slices depend on.
    """
    own, positions = grid.acquisition, covering.positions
    if own is None:
        slicing = Slicing(float(tau), grid.spacing_in_mm / pixel_mm, grid.ratio)
        return (Pass(slicing, slice(0, grid.n_in), np.arange(len(positions)), positions),)
    apart = own.interval_mm
    thickness = tau * own.local_spacing_mm
    taus = np.concatenate(
        [np.full(part.last - part.first, np.median(thickness[part.first : part.last + 1])) for part in own.parts]
    ) / apart
    interval = np.clip(np.floor(positions), 0, grid.n_in - 2).astype(int)
    # An acquired slice lies in two intervals; the finer one knows more of it
    finer = (positions == interval) & (interval > 0) & (apart[interval - 1] < apart[interval])
    interval -= finer
    kinds, of_interval = np.unique(np.round(np.stack([apart, taus]), _DIGITS), axis=1, return_inverse=True)
    found = []
    for kind in range(kinds.shape[1]):
        outputs = np.flatnonzero(of_interval.reshape(-1)[interval] == kind)
        if len(outputs):
            around = interval[outputs]
            acquired = slice(max(0, around.min() - reach), min(grid.n_in, around.max() + 2 + reach))
            mm, tau_here = kinds[:, kind]
            slicing = Slicing(float(tau_here), mm / pixel_mm, mm / grid.spacing_out_mm)
            found.append(Pass(slicing, acquired, outputs, positions[outputs] - acquired.start))
    return tuple(found)
