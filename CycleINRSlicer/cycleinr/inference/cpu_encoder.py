"""The encoder as a stream of slices on the CPU: each block holds two of them, however deep the scan is.

The result equals ``network.encoder.Encoder`` on the whole stack. Nothing is computed twice, which tiles in depth with a
receptive field of eight slices to each side would do several times over. The modulations by tau and anisotropy are
folded into the convolutions once. A block goes over a slice in bands that stay in a core's cache from the convolution
to the mixing with the neighbouring slices: memory, not arithmetic, is what several cores wait for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..network.config import DIFFERENCE_GAIN, NEGATIVE_SLOPE
from ..network.weights import Parameters
from .crew import Crew
from .winograd import TILE, CellLayout, PlaneConvolution, transformed_filters


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
            if number % crew.blocks_each == 0:
                convolution = PlaneConvolution(layout, self.width)
            stream = block.stream(stream, convolution)
            if (number + 1) % crew.blocks_each == 0 or number + 1 == len(self.blocks):
                stream = crew.relay(stream)
        return stream
