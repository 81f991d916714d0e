"""How many image rows are computed at a time. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..network.config import NetworkConfig


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
