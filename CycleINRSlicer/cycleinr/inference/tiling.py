"""What of a scan is computed, what of that together, and what that takes. Imports no torch.

A region is computed as a run of the whole would, with all that the network and the steps after it look at. The rows of
a part are computed some at a time, in strips.

The network is told one slicing. An even scan takes one pass; where the spacing changes, or where a slice is missing,
the intervals of each spacing take a pass of their own (docs/method.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

import numpy as np

from .. import OutOfMemoryError
from ..grid import AXIS_OF_ARRAY, SliceGrid
from ..request import Region
from ..resampling import NEIGHBOURS
from ..threads import CrewSize
from ..weights import NetworkConfig, Slicing
from .consistency import CoveringGrid
from .noise import NOISE_REACH_PIXELS, STEP_PIXELS

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
    """What has to be computed of a scan of this shape, whose whole result has ``grid``, for a region or (None) all.

    Raises:
        RequestError: The region does not lie inside the scan.
    """
    if region is None:
        return Part(grid)
    region.check_inside(shape_kji)
    source, kept = list(_ALL), list(_ALL)
    margin = config.receptive_pixels + NOISE_REACH_PIXELS
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
    """Divide a covering grid's slices, which depend on ``reach`` acquired slices to either side of their interval.

    ``tau`` is slice thickness / slice spacing, of each acquired slice where they differ.
    """
    own, positions = grid.acquisition, covering.positions
    if own is None:
        slicing = Slicing(float(tau), grid.spacing_in_mm / pixel_mm, grid.ratio)
        return (Pass(slicing, slice(0, grid.n_in), np.arange(len(positions)), positions),)
    apart_mm = own.interval_mm
    thickness_mm = own.usual(tau * own.local_spacing_mm).repeat([part.last - part.first for part in own.parts])
    # Each interval's kind: how far apart its slices are, and how thick in spacings
    kinds = np.round(np.stack([apart_mm, thickness_mm / apart_mm], axis=1), _DIGITS)
    interval = _intervals(positions, apart_mm)
    found = []
    for mm, own_tau in np.unique(kinds, axis=0).tolist():
        outputs = np.flatnonzero((kinds == (mm, own_tau)).all(axis=1)[interval])
        if len(outputs):
            first, last = interval[outputs].min(), interval[outputs].max() + 1
            acquired = slice(max(0, first - reach), min(grid.n_in, last + 1 + reach))
            slicing = Slicing(own_tau, mm / pixel_mm, mm / grid.spacing_out_mm)
            found.append(Pass(slicing, acquired, outputs, positions[outputs] - acquired.start))
    return tuple(found)


def _intervals(positions: np.ndarray, apart_mm: np.ndarray) -> np.ndarray:
    """In which interval each position lies; an acquired slice lies in two, of which the finer one knows more of it."""
    interval = np.clip(np.floor(positions), 0, len(apart_mm) - 1).astype(int)
    finer_before = (positions == interval) & (interval > 0) & (apart_mm[interval - 1] < apart_mm[interval])
    return interval - finer_before


_FLOAT = 4

_ENCODER_SLICES = 2
"""Slices that each encoder block holds while it streams: its unfinished output and its hidden values."""

_PROJECTIONS = 3
"""Query, key and value, each as large as a slice's codes."""

_WINDOW_SLICES = _PROJECTIONS * NEIGHBOURS
"""Projections around an interval."""

_PIXEL_COPIES = 8
"""Arrays of residuals and gates that a thread holds for each output slice of its interval."""

_FIXED_BYTES = 80e6
"""Pieces of data consistency and blocks of the decoder, whose size does not depend on the strip's."""

_BLOCK_BYTES = 12e6
"""Blocks of the decoder for each further thread."""


@dataclass(frozen=True)
class Tiling:
    """Strips of image rows that begin and end on cells, whatever their number: a strip that began inside a cell would
    be another image to the network.

    Attributes:
        cells: Rows of cells that are kept at a time, at least 1.
        config: Sizes of the cell and of what the network reaches beyond the rows that are kept.
    """

    cells: int
    config: NetworkConfig

    @classmethod
    def within(cls, fitting_rows: float, rows: int, config: NetworkConfig) -> Tiling | None:
        """The fewest strips of equal height that cover ``rows``, each of at most ``fitting_rows``.

        Returns:
            None where not even one row of cells fits.
        """
        cells = math.ceil(rows / config.cell)
        # A limit may be infinite
        fitting = int(min(fitting_rows / config.cell, cells))
        if fitting < 1:
            return None
        return cls(math.ceil(cells / math.ceil(cells / fitting)), config)

    @property
    def rows(self) -> int:
        """Image rows that are kept at a time."""
        return self.cells * self.config.cell

    def halved(self) -> Tiling:
        """Strips of half the height, in whole cells; one row of cells stays one."""
        return Tiling(max(1, self.cells // 2), self.config)

    def strips(self, rows: int) -> Iterator[tuple[slice, slice]]:
        """Split ``rows`` image rows.

        Yields:
            The rows to compute, with what the network reaches on either side, and among them the rows to keep,
            relative to the first one computed.
        """
        reach = self.config.receptive_pixels
        margin = reach + -reach % self.config.cell
        for start in range(0, rows, self.rows):
            stop = min(start + self.rows, rows)
            low, high = max(start - margin, 0), min(stop + margin, rows)
            yield slice(low, high), slice(start - low, stop - low)


class StripCost:
    """Memory and arithmetic of computing some rows of all slices, by several threads."""

    def __init__(self, config: NetworkConfig, grid: SliceGrid, columns: int, threads: int):
        self.config, self.grid, self.columns = config, grid, columns
        crew = CrewSize.of(threads, config.blocks)
        self._fixed_bytes = _FIXED_BYTES + _BLOCK_BYTES * (crew.intervals - 1)
        # One slice's codes for one image row
        codes_bytes = columns / config.cell**2 * config.width * _FLOAT
        # For a row that goes in: encoder state and acquired slices
        slices = _ENCODER_SLICES * (config.blocks + 2 + crew.encoding * crew.shared)
        self._row_in_bytes = slices * codes_bytes + 2 * _FLOAT * columns * grid.n_in
        # For a row that is kept: sampling window, intervals under way and result
        slices = _WINDOW_SLICES + _PROJECTIONS * (crew.intervals + 1) * crew.shared
        pixels = _PIXEL_COPIES * (grid.n_out / max(1, grid.n_in - 1)) * columns
        # Slices that take several passes are gathered from their results
        results = (1 if grid.acquisition is None else 2) * columns * grid.n_out
        self._row_out_bytes = slices * codes_bytes + _FLOAT * (crew.intervals * pixels + results)

    def bytes_for(self, rows: int) -> float:
        """Of a strip of which ``rows`` are kept."""
        rows_in = rows + 2 * self.config.receptive_pixels
        return self._fixed_bytes + self._row_in_bytes * rows_in + self._row_out_bytes * rows

    def tiling_within(self, limit_bytes: float, rows: int) -> Tiling:
        """Strips of equal height, as few as stay within the limit.

        Raises:
            OutOfMemoryError: Not even one cell's rows do.
        """
        fitting = (limit_bytes - self.bytes_for(0)) / (self._row_in_bytes + self._row_out_bytes)
        tiling = Tiling.within(fitting, rows, self.config)
        if tiling is None:
            needed = self.bytes_for(self.config.cell) / 1e9
            raise OutOfMemoryError(
                f"The memory limit of {limit_bytes / 1e9:.3g} GB is below the {needed:.3g} GB that the smallest part "
                "of this volume takes. Raise the limit, or crop the volume."
            )
        return tiling

    def flops(self, rows: int) -> float:
        """Multiply-adds times two of encoder, projections, sampling and decoder over the whole volume."""
        width, hidden = self.config.width, self.config.decoder_width
        cells = rows * self.columns / self.config.cell**2
        encode = self.config.blocks * 12 * width**2 + 3 * width**2 + 27 * 4 * width
        decode = width * hidden + (self.config.decoder_layers - 1) * hidden**2 + 40 * width
        return 2 * self.config.members * cells * (encode * self.grid.n_in + decode * self.grid.n_out)
