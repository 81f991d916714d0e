"""Super-resolution of a strip of image rows through all slices on the CPU, in network units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..network.config import NetworkConfig, Slicing, low_pass
from ..network.weights import Parameters
from ..resampling import bspline_weights, cubic_weights, neighbour_indices
from ..threads import computing_threads, crew
from .consistency import Arrays
from .cpu_decoder import IntervalDecoder, Queries, Window
from .cpu_encoder import TILE, CellLayout, EncoderStream

_NEGLIGIBLE_WEIGHT = 1e-6


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
    cubic: np.ndarray
    far: slice
    towards: np.ndarray
    queries: Queries


@dataclass(frozen=True)
class Area:
    """The in-plane cells that are decoded: those of the wanted rows, and what the filter over the pixels reaches.

    Attributes:
        layout: Cells of a whole acquired slice.
        cell_rows: Rows of cells that are decoded.
        image: (rows, columns) of decoded pixels that lie in the image.
        rows: Of these, the wanted ones.
        config: Sizes of cell and filter.
    """

    layout: CellLayout
    cell_rows: slice
    image: tuple[int, int]
    rows: slice
    config: NetworkConfig

    @classmethod
    def of_rows(cls, kept: slice, image: tuple[int, int], config: NetworkConfig) -> Area:
        """The rows ``kept`` of an image (rows, columns)."""
        cell, reach = config.cell, config.smoothing_taps // 2
        rows, columns = image
        layout = CellLayout(-(-rows // cell), -(-columns // cell))
        low = max(kept.start - reach, 0) // cell
        high = min(-(-(kept.stop + reach) // cell), layout.rows)
        return cls(
            layout=layout,
            cell_rows=slice(low, high),
            image=(min(high * cell, rows) - low * cell, columns),
            rows=slice(kept.start - low * cell, kept.stop - low * cell),
            config=config,
        )

    def codes(self, cells: np.ndarray) -> np.ndarray:
        """Of a slice's cells those that are decoded, (positions, C)."""
        return cells[self.cell_rows].reshape(-1, cells.shape[-1])

    def pixels(self, corrections: np.ndarray) -> np.ndarray:
        """(T, 2 * cell ** 2, positions) -> (T, 2, rows, columns), filtered."""
        cell, (rows, columns) = self.config.cell, self.image
        count, cell_rows, tiles = len(corrections), self.cell_rows.stop - self.cell_rows.start, self.layout.tile_columns
        # (T, 2, row in cell, column in cell, row of cells, place in tile, tile)
        corrections = corrections.reshape(count, 2, cell, cell, cell_rows, TILE, tiles)
        whole = corrections.transpose(0, 1, 4, 2, 6, 5, 3).reshape(count, 2, cell_rows * cell, tiles * TILE * cell)
        return smooth_pixels(whole[:, :, :rows, :columns], self.config.smoothing_taps)[:, :, self.rows]


class StripNetwork:
    """The network made ready for one scan: weights folded, queries grouped by the interval that they lie in.

    Args:
        parameters: Trained parameters.
        slicing: How the scan was sliced.
        positions: Output slices in units of acquired slices, rising; those outside the scan take its end slices.
        slices: Number of acquired slices.
    """

    def __init__(self, parameters: Parameters, slicing: Slicing, positions: np.ndarray, slices: int):
        features = slicing.features()
        self.config, self.slices, self.n_out = parameters.config, slices, len(positions)
        self.arrays = Arrays.numpy()
        self.encoder = EncoderStream(parameters, features)
        self.decoder = IntervalDecoder(parameters, features)
        self.intervals = self._intervals(np.clip(positions, 0, slices - 1), thin=slicing.tau == 0)

    @property
    def ticks(self) -> int:
        """How often ``run`` calls its ``tick``: for each acquired slice that goes in and each interval done."""
        return 2 * self.slices - 1

    @staticmethod
    def load(values: np.ndarray) -> np.ndarray:
        """Nothing has to move on a CPU."""
        return values

    @staticmethod
    def host(values: np.ndarray) -> np.ndarray:
        """Nor back."""
        return values

    def run(self, stack: np.ndarray, kept: slice, tick: Callable[[], None]) -> np.ndarray:
        """Compute one strip.

        Args:
            stack: (slices, rows, columns) acquired slices as float32 network values, with all rows that the wanted
                ones depend on.
            kept: The wanted rows.
            tick: Called ``ticks`` times, at about equal intervals, by this thread.

        Returns:
            (n_out, kept rows, columns) in network units, float32.
        """
        out = np.empty((self.n_out, kept.stop - kept.start, stack.shape[2]), np.float32)
        area = Area.of_rows(kept, stack.shape[1:], self.config)
        wanted = stack[:, kept].reshape(len(stack), -1)

        def finish(found: tuple[Interval, Window]) -> None:
            interval, window = found
            if _length(interval.outputs):
                _smooth(interval, wanted, out)
            if _length(interval.predicted):
                corrections = self.decoder.corrections(window, interval.queries)
                _correct(interval, area.pixels(corrections), wanted, out)
            threads.tick()

        with crew(computing_threads(), self.config.blocks, tick) as threads:
            slices = self._slices(stack, threads.tick)
            codes = self.encoder.codes(slices, area.layout, threads)
            threads.each(finish, self._found(area.codes(cells) for cells in codes))
        return out

    def _found(self, codes: Iterator[np.ndarray]) -> Iterator[tuple[Interval, Window]]:
        """Each interval with the slices around it."""
        yield from zip(self.intervals, self.decoder.windows(codes), strict=True)

    def _slices(self, stack: np.ndarray, tick: Callable[[], None]) -> Iterator[np.ndarray]:
        """Each slice, with its last row and column repeated to whole cells."""
        margins = [(0, -size % self.config.cell) for size in stack.shape[1:]]
        for image in stack:
            tick()
            yield np.pad(image, margins, mode="edge")

    def _intervals(self, positions: np.ndarray, thin: bool) -> list[Interval]:
        slices = self.slices
        indices = neighbour_indices(positions, slices)[0]
        cubic = np.zeros((len(positions), slices + 2))
        np.put_along_axis(cubic, indices + 1, cubic_weights(positions, slices), axis=1)
        cubic, spline = cubic[:, 1:-1], bspline_weights(positions, slices)
        towards = (spline - cubic).astype(np.float32)
        # A thin slice that was acquired is known; there is nothing to predict at its position.
        unknown = ~(thin & (positions == np.round(positions)))
        queries = self.decoder.queries(positions, slices)
        found = []
        for n in range(slices - 1):
            inside = indices[:, 1] == n
            outputs, predicted = _range(inside), _range(inside & unknown)
            near, far = slice(max(n - 1, 0), n + 3), _range((np.abs(spline[predicted]) > _NEGLIGIBLE_WEIGHT).any(0))
            weights = cubic[outputs, near].astype(np.float32), towards[predicted, far]
            found.append(Interval(outputs, predicted, near, weights[0], far, weights[1], queries.part(predicted)))
        return found


def _smooth(interval: Interval, wanted: np.ndarray, out: np.ndarray) -> None:
    """Cubic convolution, the start for every output slice of one interval."""
    target = out[interval.outputs]
    np.matmul(interval.cubic, wanted[interval.near], out=target.reshape(len(target), -1))


def _correct(interval: Interval, pixels: np.ndarray, wanted: np.ndarray, out: np.ndarray) -> None:
    """Residual and gated way to the B-spline, for the predicted slices of one interval."""
    target = out[interval.predicted]
    towards = np.matmul(interval.towards, wanted[interval.far]).reshape(target.shape)
    towards *= pixels[:, 1]
    target += pixels[:, 0]
    target += towards


def smooth_pixels(planes: np.ndarray, taps: int) -> np.ndarray:
    """Filter (N, C, H, W) along rows and columns; the outermost pixels are repeated outwards."""
    if taps == 1:
        return planes
    smoothed = np.empty_like(planes)
    for index in np.ndindex(planes.shape[:2]):
        _filter(_filter(planes[index], 1, taps), 0, taps, out=smoothed[index])
    return smoothed


def _filter(plane: np.ndarray, axis: int, taps: int, out: np.ndarray | None = None) -> np.ndarray:
    """Sum of shifted planes, pairs of equal weight together."""
    weights, reach, size = low_pass(taps), taps // 2, plane.shape[axis]
    margins = [(reach, reach) if n == axis else (0, 0) for n in range(2)]
    wide = np.pad(plane, margins, mode="edge")

    def shifted(steps: int) -> np.ndarray:
        return wide[steps : steps + size] if axis == 0 else wide[:, steps : steps + size]

    total = np.multiply(shifted(reach), np.float32(weights[reach]), out=out)
    pair = np.empty_like(total)
    for n in range(reach):
        np.add(shifted(n), shifted(2 * reach - n), out=pair)
        np.multiply(pair, np.float32(weights[n]), out=pair)
        np.add(total, pair, out=total)
    return total


def _length(part: slice) -> int:
    return part.stop - part.start


def _range(marks: np.ndarray) -> slice:
    """The slice of the positions that are marked, which lie side by side."""
    places = np.flatnonzero(marks)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
