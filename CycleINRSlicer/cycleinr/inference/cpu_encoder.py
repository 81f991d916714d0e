"""The encoder as a stream of slices on the CPU: each block holds two of them, however deep the scan is.

The result equals ``network.encoder.Encoder`` on the whole stack. The modulations by tau and anisotropy are folded into
the convolutions once. A block goes over a slice in bands that stay in a core's cache from the convolution to the mixing
with the neighbouring slices: memory, not arithmetic, is what several cores wait for.

The 3x3 convolutions are Winograd's minimal filtering F(4x4, 3x3): of a tile of 4 x 4 outputs, a transform of the 6 x 6
inputs around it, one product with 64 x 64 weights at each of the 36 places, and a transform back. 30 % less time than
the direct convolution in oneDNN (PyTorch), for rounding errors about six times as large, 1e-5 of the values. Source:
A. Lavin, S. Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.

Columns are kept apart by their place in the tile, so that every step runs along whole rows of tiles: cells have the
shape (rows, 4, tiles, channels), where column x of the slice is at [x % 4, x // 4].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..threads import Crew
from ..weights import DIFFERENCE_GAIN, NEGATIVE_SLOPE, Parameters

TILE = 4
"""Outputs of a tile along rows and columns."""

_POINTS = TILE + 2
_TILES_AT_ONCE = 128
"""Enough rows for the matrix products to be fast; what belongs to them stays in the cache."""

_FILTER = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
"""G of the paper, for the points 0, 1, -1, 2, -2 and infinity."""


def transformed_filters(weight: np.ndarray) -> np.ndarray:
    """(out, in, 3, 3) -> (36, in, out): the weights at each place of a tile, columns first."""
    places = np.einsum("jx,iy,ocyx->jico", _FILTER, _FILTER, weight.astype(np.float64))
    return np.ascontiguousarray(places.reshape(_POINTS**2, *places.shape[2:]), dtype=np.float32)


@dataclass(frozen=True)
class CellLayout:
    """How a slice's cells lie in memory: columns by their place in a tile, rows and tiles rounded up to whole tiles.

    Attributes:
        rows, columns: Of cells.
    """

    rows: int
    columns: int

    @property
    def tile_rows(self) -> int:
        return -(-self.rows // TILE)

    @property
    def tile_columns(self) -> int:
        return -(-self.columns // TILE)

    def shape(self, channels: int) -> tuple[int, int, int, int]:
        """Of an array of cells."""
        return TILE * self.tile_rows, TILE, self.tile_columns, channels


class PlaneConvolution:
    """Convolves bands of one slice after the other; holds the memory that this takes, for one thread.

    Args:
        layout: Of the slices.
        channels: Of the cells, before and after.
    """

    def __init__(self, layout: CellLayout, channels: int):
        self.layout, self.channels = layout, channels
        self.band_rows = min(layout.tile_rows, max(1, _TILES_AT_ONCE // layout.tile_columns))
        """Tiles that are done at a time, counted along a column."""
        tiles, wide = layout.tile_columns, layout.tile_columns + 2
        # One tile of zeros at either end of a row
        self._source = np.zeros((TILE * self.band_rows + 2, TILE, wide, channels), np.float32)
        self._rows_done = np.zeros((_POINTS, self.band_rows, TILE, wide, channels), np.float32)
        places = (_POINTS, _POINTS, self.band_rows, tiles, channels)
        self._places, self._products = np.empty(places, np.float32), np.empty(places, np.float32)
        self._unused: list[np.ndarray] = []
        self._spare = np.empty(_POINTS * self.band_rows * wide * channels, np.float32)

    def bands(self) -> range:
        """First tile row of each band."""
        return range(0, self.layout.tile_rows, self.band_rows)

    def scratch(self, shape: tuple[int, ...]) -> np.ndarray:
        """Memory for anything as large as a band's cells, until the next call."""
        return self._places.reshape(-1)[: int(np.prod(shape))].reshape(shape)

    def take_cells(self) -> np.ndarray:
        """Memory for a slice's cells, one that was given back where there is one."""
        return self._unused.pop() if self._unused else np.empty(self.layout.shape(self.channels), np.float32)

    def give_cells(self, cells: np.ndarray) -> None:
        """Memory that is not needed any more."""
        self._unused.append(cells)

    def _like(self, array: np.ndarray) -> np.ndarray:
        """Memory for an intermediate result of an array's shape."""
        return self._spare[: array.size].reshape(array.shape)

    def convolve(self, cells: np.ndarray, first: int, filters: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
        """One band of a slice; bands come in order, and a band's cells may be written to once it is done.

        Args:
            cells: The slice.
            first: First tile row of the band.
            filters: ``transformed_filters``.
            bias: (channels,)
            out: (4 * tile rows, 4, tiles, channels) takes the band's outputs.
        """
        count, tiles = len(out) // TILE, self.layout.tile_columns
        self._load(cells, first, count)
        source = [self._source[k : k + TILE * (count - 1) + 1 : TILE] for k in range(_POINTS)]
        rows_done, places, products = self._rows_done[:, :count], self._places, self._products
        if count < self.band_rows:
            places, products = (_first(whole, (_POINTS, _POINTS, count)) for whole in (places, products))
        _transform_inputs(source, rows_done, self._like(source[0]))
        inner, before, after = slice(1, tiles + 1), slice(0, tiles), slice(2, tiles + 2)
        columns = [(3, before), (0, inner), (1, inner), (2, inner), (3, inner), (0, after)]
        _transform_inputs([rows_done[:, :, n, part] for n, part in columns], places, self._like(places[0]))
        flat = (_POINTS**2, count * tiles, self.channels)
        np.matmul(places.reshape(flat), filters, out=products.reshape(flat))
        # The place (1, 1) enters each of a tile's outputs once
        products[1, 1] += bias
        half = _first(self._places, (_POINTS, count, TILE))
        _transform_outputs(products, half.swapaxes(0, 2).swapaxes(1, 2), self._like(products[0]))
        final = out.reshape(count, TILE, *out.shape[1:])
        _transform_outputs(half, final.swapaxes(0, 1), self._like(half[0]))

    def _load(self, cells: np.ndarray, first: int, count: int) -> None:
        """The band's rows and one more at either end, with zeros for what lies beyond the slice."""
        source, tiles = self._source, self.layout.tile_columns
        # The row before was written to since
        source[0] = source[TILE * self.band_rows] if first else 0
        start = TILE * first
        there = min(TILE * count + 1, self.layout.rows - start)
        source[1 : 1 + there, :, 1 : tiles + 1] = cells[start : start + there]
        source[1 + there :] = 0
        for place in range(self.layout.columns - TILE * (tiles - 1), TILE):
            source[1 : 1 + there, place, tiles] = 0


def _first(whole: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The beginning of an array's memory as an array of ``shape`` and the last two dimensions of ``whole``."""
    shape = (*shape, *whole.shape[-2:])
    return whole.reshape(-1)[: int(np.prod(shape))].reshape(shape)


def _transform_inputs(d: list[np.ndarray], r: np.ndarray, spare: np.ndarray) -> None:
    """B^T of the paper, six inputs to six places.

    r0 = 4 d0 - 5 d2 + d4, r5 = 4 d1 - 5 d3 + d5; r1, r2 = (d4 - 4 d2) +- (d3 - 4 d1), r3, r4 = d4 - d2 +- 2 (d3 - d1).
    """
    np.subtract(d[4], d[2], out=spare)
    np.subtract(d[0], d[2], out=r[0])
    np.multiply(r[0], 4, out=r[0])
    np.add(r[0], spare, out=r[0])
    np.subtract(d[3], d[1], out=r[4])
    np.multiply(r[4], 2, out=r[4])
    np.subtract(d[5], d[3], out=r[5])
    np.subtract(r[5], r[4], out=r[5])
    np.subtract(r[5], r[4], out=r[5])
    np.add(spare, r[4], out=r[3])
    np.subtract(spare, r[4], out=r[4])
    np.multiply(d[2], 4, out=spare)
    np.subtract(d[4], spare, out=spare)
    np.multiply(d[1], 4, out=r[2])
    np.subtract(d[3], r[2], out=r[2])
    np.add(spare, r[2], out=r[1])
    np.subtract(spare, r[2], out=r[2])


def _transform_outputs(m: np.ndarray, y: np.ndarray, spare: np.ndarray) -> None:
    """A^T of the paper, six places, which are overwritten, to four outputs.

    y0, y2 = (m1 + m2) + (1, 4) (m3 + m4), y0 also + m0; y1, y3 = (m1 - m2) + (2, 8) (m3 - m4), y3 also + m5.
    """
    np.add(m[1], m[2], out=spare)
    np.subtract(m[1], m[2], out=m[1])
    np.add(m[3], m[4], out=m[2])
    np.subtract(m[3], m[4], out=m[3])
    np.add(m[0], spare, out=y[0])
    np.add(y[0], m[2], out=y[0])
    np.multiply(m[2], 4, out=m[2])
    np.add(spare, m[2], out=y[2])
    np.multiply(m[3], 2, out=m[3])
    np.add(m[1], m[3], out=y[1])
    np.multiply(m[3], 4, out=m[3])
    np.add(m[1], m[3], out=m[1])
    np.add(m[1], m[5], out=y[3])


def activate(values: np.ndarray, spare: np.ndarray) -> None:
    """The network's leaky activation in place; ``spare`` has the same shape."""
    np.multiply(values, NEGATIVE_SLOPE, out=spare)
    np.maximum(values, spare, out=values)


@dataclass(frozen=True)
class FoldedBlock:
    """An encoder block with its modulation folded in.

    Attributes:
        filters: ``transformed_filters`` of the convolution in the plane, and ``filter_bias`` (C,).
        before, centre, after: (C in, C out) for the slice before, this one and the one after.
        bias: (C,) of these three.
    """

    filters: np.ndarray
    filter_bias: np.ndarray
    before: np.ndarray
    centre: np.ndarray
    after: np.ndarray
    bias: np.ndarray

    @classmethod
    def fold(cls, parameters: Parameters, number: int, scale: np.ndarray, shift: np.ndarray) -> FoldedBlock:
        """Block ``number`` with the scale and shift (C,) of this scan's slicing."""
        plane, through = f"encoder.blocks.{number}.inplane", f"encoder.blocks.{number}.through"
        weight = parameters.arrays[f"{plane}.weight"] * (1 + scale)[:, None, None, None]
        bias = parameters.bias(plane) * (1 + scale) + shift
        mixing = [np.ascontiguousarray(part.T) for part in np.split(parameters.matrix(through), 3, axis=1)]
        return cls(transformed_filters(weight), bias, *mixing, parameters.bias(through))

    def stream(self, slices: Iterator[np.ndarray], convolution: PlaneConvolution) -> Iterator[np.ndarray]:
        """Slices' cells in, the block's output for them out, one slice behind; takes the slices over.

        What a slice's output gets from the slice after it is added when that one comes, so that no block holds more
        than one unfinished output and the hidden values of one slice.
        """
        unfinished = before = None
        for cells in slices:
            hidden = convolution.take_cells()
            self._mix(cells, hidden, before, unfinished, convolution)
            if before is not None:
                convolution.give_cells(before)
            finished, unfinished, before = unfinished, cells, hidden
            if finished is not None:
                yield finished
        yield unfinished

    def _mix(
        self,
        cells: np.ndarray,
        hidden: np.ndarray,
        before: np.ndarray | None,
        unfinished: np.ndarray | None,
        convolution: PlaneConvolution,
    ) -> None:
        """Compute ``hidden``, finish the output before this slice, and begin this one's in the memory of ``cells``."""
        width = cells.shape[-1]
        bias = np.tile(self.bias, cells[0].size // width)
        for first in convolution.bands():
            band = slice(TILE * first, TILE * (first + convolution.band_rows))
            convolution.convolve(cells, first, self.filters, self.filter_bias, hidden[band])
            here, output = hidden[band].reshape(-1, width), cells[band].reshape(-1, width)
            spare = convolution.scratch(here.shape)
            activate(here, spare)
            output_rows = output.reshape(-1, len(bias))
            np.add(output_rows, bias, out=output_rows)
            np.add(output, np.matmul(here, self.centre, out=spare), out=output)
            if before is not None:
                np.add(output, np.matmul(before[band].reshape(-1, width), self.before, out=spare), out=output)
                previous = unfinished[band].reshape(-1, width)
                np.add(previous, np.matmul(here, self.after, out=spare), out=previous)


class Stem:
    """The first convolution: a slice and its amplified differences to the slices before and after, cell by cell."""

    def __init__(self, parameters: Parameters):
        weight = parameters.arrays["encoder.stem.weight"]
        self.cell, self.channels = parameters.config.cell, weight.shape[1]
        self.weight = np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, len(weight)))
        self.bias = parameters.bias("encoder.stem")

    def stream(self, slices: Iterator[np.ndarray], layout: CellLayout) -> Iterator[np.ndarray]:
        """Slices (rows, columns) of whole cells in, their first codes out; differences to a missing slice are zero."""
        current = next(slices)
        before = np.zeros_like(current)
        for following in slices:
            after = DIFFERENCE_GAIN * (following - current)
            yield self._codes((current, before, after), layout)
            current, before = following, -after
        yield self._codes((current, before, np.zeros_like(before)), layout)

    def _codes(self, planes: tuple[np.ndarray, ...], layout: CellLayout) -> np.ndarray:
        """Three planes (rows, columns) -> cells."""
        rows, columns, cell = layout.rows, layout.columns, self.cell
        rows_out, _, tiles, _ = layout.shape(1)
        wide = np.zeros((rows_out + 2, TILE * tiles + 2, self.channels), np.float32)
        inside = wide[1 : rows + 1, 1 : columns + 1].reshape(rows, columns, len(planes), cell, cell)
        for number, plane in enumerate(planes):
            inside[:, :, number] = plane.reshape(rows, cell, columns, cell).swapaxes(1, 2)
        codes = np.empty(layout.shape(self.weight.shape[1]), np.float32)
        at_once = max(1, _STEM_CELLS // (TILE * tiles))
        for start in range(0, rows_out, at_once):
            part = codes[start : start + at_once]
            around = self._around(wide[start : start + len(part) + 2], tiles)
            np.matmul(around.reshape(-1, len(self.weight)), self.weight, out=part.reshape(-1, part.shape[-1]))
            part += self.bias
        return codes

    def _around(self, wide: np.ndarray, tiles: int) -> np.ndarray:
        """The 3 x 3 cells around each cell, (rows, 4, tiles, 3, 3 * channels), copied out of their padded rows."""
        row, column, one = wide.strides
        shape = (len(wide) - 2, TILE, tiles, 3, 3 * self.channels)
        view = np.lib.stride_tricks.as_strided(wide, shape, (row, column, TILE * column, row, one), writeable=False)
        return np.ascontiguousarray(view)


_STEM_CELLS = 2048
"""Cells that the stem takes at a time."""


class EncoderStream:
    """An encoder made ready for one scan's slicing.

    Args:
        parameters: Trained parameters.
        features: (3,) of the slicing.
    """

    def __init__(self, parameters: Parameters, features: np.ndarray):
        config = parameters.config
        self.width, self.stem = config.width, Stem(parameters)
        modulations = parameters.modulator("encoder.modulator", features[:2]).reshape(config.blocks, 2, config.width)
        self.blocks = [FoldedBlock.fold(parameters, number, *each) for number, each in enumerate(modulations)]

    def codes(self, slices: Iterator[np.ndarray], layout: CellLayout, crew: Crew) -> Iterator[np.ndarray]:
        """Slices (rows, columns) of whole cells in, each slice's codes out in order, as cells."""
        stream = self.stem.stream(slices, layout)
        for number, block in enumerate(self.blocks):
            if number % crew.size.blocks_each == 0:
                convolution = PlaneConvolution(layout, self.width)
            stream = block.stream(stream, convolution)
            if (number + 1) % crew.size.blocks_each == 0 or number + 1 == len(self.blocks):
                stream = crew.relay(stream)
        return stream
