"""Super-resolution of a strip of image rows through all slices, in network units, before data consistency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ..network.conditioning import Slicing
from ..network.config import NetworkConfig
from ..network.interpolation import bspline_weights, cubic_weights, neighbour_indices
from ..network.model import CycleINR, pad_to_cells
from ..network.smoothing import smooth_pixels
from .crew import crew
from .decode import IntervalDecoder, Queries, Window
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


@dataclass(frozen=True)
class Area:
    """The in-plane cells that are decoded: those of the wanted rows, and what the filter over the pixels reaches.

    Attributes:
        cells_in: Cells of a whole acquired slice.
        codes: Those that are decoded, of a slice's codes.
        shape: (rows, columns) of cells that are decoded.
        image: (rows, columns) of decoded pixels that lie in the image.
        rows: Of these, the wanted ones.
        config: Sizes of cell and filter.
    """

    cells_in: int
    codes: slice
    shape: tuple[int, int]
    image: tuple[int, int]
    rows: slice
    config: NetworkConfig

    @classmethod
    def of_rows(cls, first: int, out_shape: tuple[int, ...], rows_in: int, config: NetworkConfig) -> Area:
        """``out_shape`` (..., rows, columns) of the result, which begins at acquired row ``first`` of ``rows_in``."""
        cell, reach = config.cell, config.smoothing_taps // 2
        rows, columns = out_shape[-2:]
        cell_rows, cell_columns = -(-rows_in // cell), -(-columns // cell)
        low = max(first - reach, 0) // cell
        high = min(-(-(first + rows + reach) // cell), cell_rows)
        return cls(
            cells_in=cell_rows * cell_columns,
            codes=slice(low * cell_columns, high * cell_columns),
            shape=(high - low, cell_columns),
            image=(min(high * cell, rows_in) - low * cell, columns),
            rows=slice(first - low * cell, first - low * cell + rows),
            config=config,
        )

    def pixels(self, corrections: torch.Tensor) -> torch.Tensor:
        """(T, 2 * cell ** 2, positions) -> (T, 2, rows, columns), filtered."""
        pixels = F.pixel_shuffle(corrections.unflatten(2, self.shape), self.config.cell)
        pixels = pixels[:, :, : self.image[0], : self.image[1]]
        return smooth_pixels(pixels, self.config.smoothing_taps)[:, :, self.rows]


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
        self.encoder = EncoderStream(model.encoder, features, execution)
        self.decoder = IntervalDecoder(model, features, execution)
        self.intervals = self._intervals(np.clip(positions, 0, slices - 1), thin=slicing.tau == 0)

    @property
    def ticks(self) -> int:
        """How often ``run`` calls its ``tick``: for each acquired slice that goes in and each interval done."""
        return 2 * self.slices - 1

    def run(self, slices_in: SlicesIn, out: torch.Tensor, tick: Callable[[], None], first_row: int = 0) -> None:
        """Compute one strip.

        Args:
            slices_in: Gives acquired slices as network values, with all rows that the wanted ones depend on.
            out: (n_out, rows, columns) takes the result in network units.
            tick: Called ``ticks`` times, at about equal intervals.
            first_row: Which of the acquired slices' rows the result's first one is.
        """
        area = Area.of_rows(first_row, out.shape, len(slices_in(0)), self.config)
        wanted = slice(first_row, first_row + out.shape[1])

        def rows_of_slices(which: slice) -> torch.Tensor:
            return slices_in(which)[:, wanted].flatten(1)

        def finish(found: tuple[Interval, Window]) -> None:
            interval, window = found
            if _length(interval.outputs):
                self._smooth(interval, rows_of_slices, out)
            if _length(interval.predicted):
                corrections = self.decoder.corrections(window, interval.queries)
                self._correct(interval, area.pixels(corrections), rows_of_slices, out)
            threads.tick()

        with crew(self.device, self.config.blocks, tick) as threads:
            codes = self.encoder.codes(self._chunks(slices_in, area.cells_in, threads.tick), threads)
            threads.each(finish, self._found(each[area.codes] for each in codes))

    def _found(self, codes: Iterator[torch.Tensor]) -> Iterator[tuple[Interval, Window]]:
        """Each interval with the slices around it."""
        yield from zip(self.intervals, self.decoder.windows(codes), strict=True)

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
        torch.mm(interval.cubic, slices_in(interval.near), out=target.view(len(target), -1))

    def _correct(self, interval: Interval, pixels: torch.Tensor, slices_in: SlicesIn, out: torch.Tensor) -> None:
        """Residual and gated way to the B-spline, for the predicted slices of one interval."""
        target = out[interval.predicted]
        residual, gate = pixels.unbind(1)
        towards = torch.mm(interval.towards, slices_in(interval.far)).view(target.shape)
        target.add_(residual).addcmul_(gate, towards)


def _length(part: slice) -> int:
    return part.stop - part.start


def _range(marks) -> slice:
    """The slice of the positions that are marked, which lie side by side."""
    places = np.flatnonzero(marks)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
