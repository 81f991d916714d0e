"""Super-resolution of a strip of image rows through all slices, in network units, before data consistency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ..network.conditioning import Slicing
from ..network.interpolation import bspline_weights, cubic_weights, neighbour_indices
from ..network.model import CycleINR, pad_to_cells
from ..network.smoothing import smooth_pixels
from .decode import IntervalDecoder, Queries
from .encode import EncoderStream
from .execution import CPU, Execution

_NEGLIGIBLE_WEIGHT = 1e-6

SlicesIn = Callable[["int | slice"], torch.Tensor]
"""Gives acquired slice ``n`` (rows, columns), or several (n, rows, columns), as indexing a stack does."""


@dataclass(frozen=True)
class Interval:
    """The output slices between two acquired ones, and the acquired slices that they are interpolated from.

    Attributes:
        outputs: All of the output slices.
        predicted: Those that the network corrects; the others are known.
        near: Slices that cubic convolution takes; ``cubic`` (outputs, near) holds the weights.
        far: Slices that the B-spline takes; ``towards`` (predicted, far) are its weights minus cubic convolution's.
        queries: Of the predicted slices.
    """

    outputs: slice
    predicted: slice
    near: slice
    cubic: torch.Tensor
    far: slice
    towards: torch.Tensor
    queries: Queries


class StripNetwork:
    """The network made ready for one scan: weights folded, queries grouped by the interval that they lie in.

    Args:
        model: Trained network on the device to compute on.
        slicing: How the scan was sliced.
        positions: Output slices in units of acquired slices, rising; those outside the scan take its end slices.
        slices: Number of acquired slices.
        execution: In which precision, and how much at a time.
    """

    def __init__(
        self, model: CycleINR, slicing: Slicing, positions: np.ndarray, slices: int, execution: Execution = CPU
    ):
        features = slicing.to_tensor(next(model.parameters()).device)
        self.config, self.slices, self.execution, self.device = model.config, slices, execution, features.device
        self.encoder = EncoderStream(model.encoder, features, execution.dtype)
        self.decoder = IntervalDecoder(model, features, execution)
        self.intervals = self._intervals(np.clip(positions, 0, slices - 1), thin=slicing.tau == 0)

    @property
    def ticks(self) -> int:
        """How often ``run`` calls its ``tick``: for each acquired slice that goes in and each interval done."""
        return 2 * self.slices - 1

    def run(self, slices_in: SlicesIn, out: torch.Tensor, tick: Callable[[], None]) -> None:
        """Compute one strip.

        Args:
            slices_in: Gives acquired slices as network values.
            out: (n_out, rows, columns) takes the result in network units.
            tick: Called ``ticks`` times, at about equal intervals.
        """
        cells = [-(-size // self.config.cell) for size in out.shape[1:]]
        codes = self.encoder.codes(self._chunks(slices_in, cells[0] * cells[1], tick))
        for interval, window in zip(self.intervals, self.decoder.windows(codes), strict=True):
            if _length(interval.outputs):
                self._smooth(interval, slices_in, out)
            if _length(interval.predicted):
                corrections = self.decoder.corrections(window, interval.queries)
                self._correct(interval, corrections.unflatten(2, cells), slices_in, out)
            tick()

    def _chunks(self, slices_in: SlicesIn, cells: int, tick: Callable[[], None]) -> Iterator[torch.Tensor]:
        at_once = self.execution.slices_at_once(cells, self.config.width)
        for start in range(0, self.slices, at_once):
            chunk = slices_in(slice(start, min(start + at_once, self.slices)))
            for _ in chunk:
                tick()
            yield pad_to_cells(chunk[None], self.config.cell)[0]

    def _intervals(self, positions: np.ndarray, thin: bool) -> list[Interval]:
        rising = torch.from_numpy(positions)
        indices = neighbour_indices(rising, self.slices)[0]
        cubic = torch.zeros(len(positions), self.slices + 2, dtype=torch.float64)
        cubic = cubic.scatter_(1, indices + 1, cubic_weights(rising, self.slices))[:, 1:-1]
        spline = bspline_weights(rising, self.slices)
        # A thin slice that was acquired is known; there is nothing to predict at its position.
        unknown = ~(thin & (positions == np.round(positions)))
        queries = self.decoder.queries(rising.float().to(self.device), self.slices)
        on_device = cubic.float().to(self.device), (spline - cubic).float().to(self.device)
        found = []
        for n in range(self.slices - 1):
            inside = indices[:, 1].numpy() == n
            outputs, predicted = _range(inside), _range(inside & unknown)
            near, far = slice(max(n - 1, 0), n + 3), _range((spline[predicted].abs() > _NEGLIGIBLE_WEIGHT).any(0))
            weights = on_device[0][outputs, near], on_device[1][predicted, far]
            found.append(Interval(outputs, predicted, near, weights[0], far, weights[1], queries.part(predicted)))
        return found

    def _smooth(self, interval: Interval, slices_in: SlicesIn, out: torch.Tensor) -> None:
        """Cubic convolution, the start for every output slice of one interval."""
        target = out[interval.outputs]
        torch.mm(interval.cubic, slices_in(interval.near).flatten(1), out=target.view(len(target), -1))

    def _correct(self, interval: Interval, corrections: torch.Tensor, slices_in: SlicesIn, out: torch.Tensor) -> None:
        """Residual and gated way to the B-spline, for the predicted slices of one interval."""
        target = out[interval.predicted]
        rows, columns = out.shape[1:]
        pixels = F.pixel_shuffle(corrections, self.config.cell)[:, :, :rows, :columns]
        residual, gate = smooth_pixels(pixels, self.config.smoothing_taps).unbind(1)
        towards = torch.mm(interval.towards, slices_in(interval.far).flatten(1)).view(target.shape)
        target.add_(residual).addcmul_(gate, towards)


def _length(part: slice) -> int:
    return part.stop - part.start


def _range(marks) -> slice:
    """The slice of the positions that are marked, which lie side by side."""
    places = np.flatnonzero(marks)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def strips(rows: int, at_a_time: int, overlap: int, cell: int) -> Iterator[tuple[slice, slice]]:
    """Split image rows into strips.

    Yields:
        The rows to compute, with ``overlap`` on either side and beginning on a cell, and among them the rows to keep,
        relative to the first one computed.
    """
    margin = overlap + -overlap % cell
    for start in range(0, rows, at_a_time):
        stop = min(start + at_a_time, rows)
        low, high = max(start - margin, 0), min(stop + margin, rows)
        yield slice(low, high), slice(start - low, stop - low)
