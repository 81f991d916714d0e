"""How many image rows are computed at a time, and what they take. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import OutOfMemoryError
from ..grid import SliceGrid
from ..network.config import NetworkConfig
from ..resampling import NEIGHBOURS
from ..threads import CrewSize

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

    def __post_init__(self):
        if type(self.cells) is not int or self.cells < 1:
            raise ValueError(f"A strip has {self.cells} rows of cells; it must be a whole number from 1 on.")

    @classmethod
    def within(cls, fitting_rows: float, rows: int, config: NetworkConfig) -> Tiling | None:
        """The fewest strips of equal height that cover ``rows``, each of at most ``fitting_rows``.

        Returns:
            None where not even one row of cells fits.
        """
        fitting = int(fitting_rows // config.cell)
        if fitting < 1:
            return None
        cells = math.ceil(rows / config.cell)
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


@dataclass(frozen=True)
class StripCost:
    """Memory and arithmetic of computing some rows of all slices, by several threads."""

    config: NetworkConfig
    grid: SliceGrid
    columns: int
    threads: int

    @property
    def bytes_per_row_in(self) -> float:
        """Encoder state and acquired slices, for one image row that goes in."""
        slices = _ENCODER_SLICES * (self.config.blocks + 2 + self._crew.encoding * self._shared)
        return slices * self._codes_bytes + 2 * _FLOAT * self.columns * self.grid.n_in

    @property
    def bytes_per_row_out(self) -> float:
        """Sampling window, intervals under way and result, for one image row that is kept."""
        queries = self.grid.n_out / max(1, self.grid.n_in - 1)
        pixels = _PIXEL_COPIES * queries * self.columns
        slices = _WINDOW_SLICES + _PROJECTIONS * (self._crew.intervals + 1) * self._shared
        # Slices that take several passes are gathered from their results
        copies = 1 if self.grid.acquisition is None else 2
        results = copies * self.columns * self.grid.n_out
        return slices * self._codes_bytes + _FLOAT * (self._crew.intervals * pixels + results)

    @property
    def _crew(self) -> CrewSize:
        return CrewSize.of(self.threads, self.config.blocks)

    @property
    def _shared(self) -> bool:
        """Whether several threads are at work, each with slices of its own."""
        return self.threads > 1

    @property
    def _codes_bytes(self) -> float:
        """One slice's codes for one image row."""
        return self.columns / self.config.cell**2 * self.config.width * _FLOAT

    @property
    def overlap(self) -> int:
        """Rows that go in beside those that are kept."""
        return 2 * self.config.receptive_pixels

    def bytes_for(self, rows: int) -> float:
        """Of a strip of which ``rows`` are kept."""
        fixed = _FIXED_BYTES + _BLOCK_BYTES * (self._crew.intervals - 1)
        return fixed + self.bytes_per_row_in * (rows + self.overlap) + self.bytes_per_row_out * rows

    def tiling_within(self, limit_bytes: float, rows: int) -> Tiling:
        """Strips of equal height, as few as stay within the limit.

        Raises:
            OutOfMemoryError: Not even one cell's rows do.
        """
        fitting = (limit_bytes - self.bytes_for(0)) / (self.bytes_per_row_in + self.bytes_per_row_out)
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
        return 2 * cells * (encode * self.grid.n_in + decode * self.grid.n_out)
