"""Super-resolution of a strip of image rows through all slices on the CPU, in network units.

ALCGS and decoder work on all output slices between two acquired ones together, in blocks of positions that fit the
cache. Every query of an interval attends to the same four slices, whose projections and products q . k are formed once.
Channels come first, positions last: then every step but the matrix products runs along whole rows of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from ..resampling import NEIGHBOURS, bspline_weights, cubic_weights, filtered, high_pass, low_pass, neighbour_indices
from ..threads import computing_threads, crew
from ..weights import (
    LINEAR_FLOOR,
    RESIDUAL_SCALE,
    NetworkConfig,
    Parameters,
    Slicing,
    offset_features,
)
from .consistency import Arrays
from .cpu_encoder import TILE, CellLayout, EncoderStream, activate

_NEGLIGIBLE_WEIGHT = 1e-6

_BLOCK = 4096
"""Positions times output slices at a time: 64 channels of these are 1 MB."""

_SHORTEST_BLOCK = 512
"""Output slices are taken together only as long as blocks do not become shorter."""


@dataclass(frozen=True)
class Projections:
    """One acquired slice's queries, keys and values, each (C, positions); the query carries the 1 / sqrt(d)."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray


Window = list[Projections | None]
"""The four slices around an interval; None beyond the stack's ends."""


@dataclass(frozen=True)
class Queries:
    """Folded weights of T output slices.

    Attributes:
        steps: (T, 1, 1) positions within their interval, 0 to 1.
        embedding: (T, 4 * heads, 2 * C): row j * heads + h holds head h's part of slice j's offset embedding, once
            for the query projection before and once for that after, weighted by the step.
        bias: (T, 4 * heads, 1), the linear prior included.
        layers: Weight (T, out, in) and bias (T, out, 1) of each decoder layer, the last one with the residual's scale.
    """

    steps: np.ndarray
    embedding: np.ndarray
    bias: np.ndarray
    layers: list[tuple[np.ndarray, np.ndarray]]

    def part(self, which: slice) -> Queries:
        """Some of the output slices."""
        layers = [(weight[which], bias[which]) for weight, bias in self.layers]
        return Queries(self.steps[which], self.embedding[which], self.bias[which], layers)


class IntervalDecoder:
    """Sampling and decoding with one scan's slicing.

    Args:
        parameters: Trained parameters.
        features: (3,) of the slicing.
        share: Of the corrections that are these parameters', where they are a member's.
    """

    def __init__(self, parameters: Parameters, features: np.ndarray, share: float = 1.0):
        self.parameters, self.features, self.share = parameters, features, share
        config = parameters.config
        self.heads, self.width, self.pixels = config.heads, config.width, config.cell**2
        self.depth = self.width // self.heads
        scale = np.ones((3 * self.width, 1), np.float32)
        scale[: self.width] = self.depth**-0.5
        self.project_weight = parameters.matrix("sampling.project") * scale
        self.project_bias = parameters.bias("sampling.project")[:, None] * scale

    def project(self, codes: np.ndarray) -> Projections:
        """(positions, C) codes -> their projections."""
        projected = np.empty((3 * self.width, len(codes)), np.float32)
        for start in range(0, len(codes), _SHORTEST_BLOCK):
            part = slice(start, start + _SHORTEST_BLOCK)
            projected[:, part] = self.project_weight @ codes[part].T + self.project_bias
        return Projections(*projected.reshape(3, self.width, -1))

    def windows(self, codes: Iterable[np.ndarray]) -> Iterator[Window]:
        """The slices around each interval in turn."""
        window: Window = [None] * NEIGHBOURS
        for count, slice_codes in enumerate(codes, start=1):
            window = [*window[1:], self.project(slice_codes)]
            if count >= 3:
                yield window
        yield [*window[1:], None]

    def queries(self, positions: np.ndarray, slices: int) -> Queries:
        """Fold everything that depends on the output slices' positions (T,), in units of acquired slices."""
        _, offsets = neighbour_indices(positions, slices)
        steps = offsets[:, 1].astype(np.float32)[:, None, None]
        embedding, bias = np.split(self._told("sampling.offset", offsets), [self.width], axis=-1)
        bias = bias + np.log(np.clip(1 - np.abs(offsets), 0, None) + LINEAR_FLOOR)[..., None]
        of_head = np.repeat(np.eye(self.heads, dtype=np.float32), self.depth, axis=1)
        by_head = (embedding[:, :, None] * of_head).reshape(len(positions), -1, self.width)
        layers = self._layers(offsets[:, 1])
        return Queries(
            steps,
            np.concatenate([(1 - steps) * by_head, steps * by_head], axis=2),
            bias.astype(np.float32).reshape(len(positions), -1, 1),
            layers,
        )

    def _told(self, modulator: str, offsets: np.ndarray) -> np.ndarray:
        slicing = np.broadcast_to(self.features, (*offsets.shape, len(self.features)))
        return self.parameters.modulator(modulator, np.concatenate([offset_features(offsets), slicing], axis=-1))

    def _layers(self, steps: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each decoder layer with the modulation of the queries at ``steps`` (T,) folded in."""
        parameters, config = self.parameters, self.parameters.config
        modulations = self._told("decoder.modulator", steps).reshape(len(steps), config.decoder_layers, 2, -1, 1)
        layers = []
        for number in range(config.decoder_layers):
            layer = f"decoder.hidden.{number}"
            gain, shift = 1 + modulations[:, number, 0], modulations[:, number, 1]
            layers.append((parameters.matrix(layer) * gain, parameters.bias(layer)[:, None] * gain + shift))
        gain = np.full((2 * self.pixels, 1), self.share, np.float32)
        gain[: self.pixels] *= RESIDUAL_SCALE
        last = parameters.matrix("decoder.out") * gain, parameters.bias("decoder.out")[:, None] * gain
        layers.append(tuple(np.broadcast_to(part, (len(steps), *part.shape)) for part in last))
        return layers

    def corrections(self, window: Window, queries: Queries) -> np.ndarray:
        """Residuals and gates of each query's slice, (T, 2 * cell ** 2, positions); T >= 1."""
        positions, count = window[1].query.shape[1], len(queries.steps)
        output = np.empty((count, 2 * self.pixels, positions), np.float32)
        at_once = min(count, _BLOCK // _SHORTEST_BLOCK)
        block = _BLOCK // at_once
        for first in range(0, count, at_once):
            asked = slice(first, first + at_once)
            part_queries = queries.part(asked)
            for start in range(0, positions, block):
                part = slice(start, min(start + block, positions))
                output[asked, :, part] = self._block(window, part_queries, part)
        return output

    def _block(self, window: Window, queries: Queries, part: slice) -> np.ndarray:
        there = [j for j, projections in enumerate(window) if projections is not None]
        left, right = window[1].query[:, part], window[2].query[:, part]
        keys = [window[j].key[:, part] for j in there]
        rows = slice(there[0] * self.heads, (there[-1] + 1) * self.heads)
        scores = np.matmul(queries.embedding[:, rows], np.concatenate([left, right]))
        scores += queries.bias[:, rows]
        left_scores, right_scores = self._products(left, keys), self._products(right, keys)
        scores += left_scores
        scores += queries.steps * (right_scores - left_scores)
        weights = _softmax(scores.reshape(len(scores), len(there), self.heads, -1))
        values = [self._heads(window[j].value[:, part]) for j in there]
        return self._decode(self._weighted(values, weights), queries.layers)

    def _products(self, query: np.ndarray, keys: list[np.ndarray]) -> np.ndarray:
        """Each slice's and head's q . k, (slices * heads, positions)."""
        return np.concatenate([self._heads(query * key).sum(axis=1) for key in keys])

    def _heads(self, channels: np.ndarray) -> np.ndarray:
        """(C, positions) -> (heads, depth, positions)."""
        return channels.reshape(self.heads, self.depth, -1)

    @staticmethod
    def _weighted(values: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
        """values (heads, depth, positions) each, weights (T, slices, heads, positions) -> (T, C, positions)."""
        sampled = values[0] * weights[:, 0, :, None]
        spare = np.empty_like(sampled)
        for j in range(1, len(values)):
            np.multiply(values[j], weights[:, j, :, None], out=spare)
            np.add(sampled, spare, out=sampled)
        return sampled.reshape(len(sampled), -1, sampled.shape[-1])

    @staticmethod
    def _decode(channels: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        for weight, bias in layers[:-1]:
            hidden = np.matmul(weight, channels)
            hidden += bias
            activate(hidden, np.empty_like(hidden))
            channels = hidden
        weight, bias = layers[-1]
        return np.matmul(weight, channels) + bias


def _softmax(scores: np.ndarray) -> np.ndarray:
    """Over the second dimension, in place."""
    np.subtract(scores, scores.max(axis=1, keepdims=True), out=scores)
    np.exp(scores, out=scores)
    np.divide(scores, scores.sum(axis=1, keepdims=True), out=scores)
    return scores


@dataclass(frozen=True)
class Interval:
    """The output slices between two acquired ones, and the acquired slices that they are interpolated from.

    Attributes:
        outputs: All of the output slices.
        predicted: Those that the network corrects; the others are known.
        near: Slices that cubic convolution takes; ``cubic`` (outputs, near) holds the weights.
        far: Slices that the B-spline takes; ``towards`` (predicted, far) are its weights minus cubic convolution's.
        queries: Of the predicted slices, each member's.
    """

    outputs: slice
    predicted: slice
    near: slice
    cubic: np.ndarray
    far: slice
    towards: np.ndarray
    queries: list[Queries]


class Area:
    """The in-plane cells that are decoded: those of the wanted rows, and what the filter over the pixels reaches.

    Args:
        kept: The wanted rows.
        image: (rows, columns) of a whole acquired slice.
        config: Sizes of cell and filter.
    """

    def __init__(self, kept: slice, image: tuple[int, int], config: NetworkConfig):
        cell, reach = config.cell, config.filter_reach
        rows, columns = image
        self.layout = CellLayout(-(-rows // cell), -(-columns // cell))
        low = max(kept.start - reach, 0) // cell
        high = min(-(-(kept.stop + reach) // cell), self.layout.rows)
        # Decoded pixels that lie in the image, and the wanted rows of these
        self.image = min(high * cell, rows) - low * cell, columns
        self.rows = slice(kept.start - low * cell, kept.stop - low * cell)
        self.cell_rows, self.config = slice(low, high), config

    def pixels(self, corrections: np.ndarray) -> np.ndarray:
        """(T, 2 * cell ** 2, positions) -> (T, 2, rows, columns), filtered."""
        cell, (rows, columns) = self.config.cell, self.image
        count, cell_rows, tiles = len(corrections), self.cell_rows.stop - self.cell_rows.start, self.layout.tile_columns
        # (T, 2, row in cell, column in cell, row of cells, place in tile, tile)
        corrections = corrections.reshape(count, 2, cell, cell, cell_rows, TILE, tiles)
        whole = corrections.transpose(0, 1, 4, 2, 6, 5, 3).reshape(count, 2, cell_rows * cell, tiles * TILE * cell)
        return smooth_pixels(whole[:, :, :rows, :columns], self.config)[:, :, self.rows]


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
        members = parameters.members
        self.encoders = [EncoderStream(own, features) for own in members]
        self.decoders = [IntervalDecoder(own, features, 1 / len(members)) for own in members]
        self.intervals = self._intervals(np.clip(positions, 0, slices - 1), thin=slicing.tau == 0)

    @property
    def ticks(self) -> int:
        """How often ``run`` calls its ``tick``: for each acquired slice that a member takes in and interval it does."""
        return len(self.encoders) * (2 * self.slices - 1)

    @staticmethod
    def load(values: np.ndarray) -> np.ndarray:
        """Nothing has to move on a CPU, nor back."""
        return values

    host = load
    guard = staticmethod(nullcontext)

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
        area = Area(kept, stack.shape[1:], self.config)
        wanted = stack[:, kept].reshape(len(stack), -1)

        for member, (encoder, decoder) in enumerate(zip(self.encoders, self.decoders, strict=True)):

            def finish(found: tuple[Interval, Window], member: int = member) -> None:
                self._add(*found, member, area, wanted, out)
                threads.tick()

            with crew(computing_threads(), self.config.blocks, tick) as threads:
                slices = self._slices(stack, threads.tick)
                codes = encoder.codes(slices, area.layout, threads)
                windows = decoder.windows(cells[area.cell_rows].reshape(-1, cells.shape[-1]) for cells in codes)
                threads.each(finish, (found for found in zip(self.intervals, windows, strict=True)))
        return out

    def _add(
        self, interval: Interval, window: Window, member: int, area: Area, wanted: np.ndarray, out: np.ndarray
    ) -> None:
        """Cubic convolution of an interval's output slices, once, and a member's residual and way to the B-spline."""
        target = out[interval.outputs]
        if member == 0 and len(target):
            np.matmul(interval.cubic, wanted[interval.near], out=target.reshape(len(target), -1))
        target = out[interval.predicted]
        if len(target):
            pixels = area.pixels(self.decoders[member].corrections(window, interval.queries[member]))
            towards = np.matmul(interval.towards, wanted[interval.far]).reshape(target.shape)
            towards *= pixels[:, 1]
            target += pixels[:, 0]
            target += towards

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
        queries = [decoder.queries(positions, slices) for decoder in self.decoders]
        found = []
        for n in range(slices - 1):
            inside = indices[:, 1] == n
            outputs, predicted = _range(inside), _range(inside & unknown)
            near, far = slice(max(n - 1, 0), n + 3), _range((np.abs(spline[predicted]) > _NEGLIGIBLE_WEIGHT).any(0))
            weights = cubic[outputs, near].astype(np.float32), towards[predicted, far]
            asked = [each.part(predicted) for each in queries]
            found.append(Interval(outputs, predicted, near, weights[0], far, weights[1], asked))
        return found


def smooth_pixels(planes: np.ndarray, config: NetworkConfig) -> np.ndarray:
    """The network's filters on (N, C, H, W), along rows and columns; the outermost pixels are repeated outwards."""
    if config.smoothing_taps > 1:
        planes = filtered(planes, low_pass(config.smoothing_taps))
    if config.diagonal_taps > 1:
        planes = planes - filtered(planes, high_pass(config.diagonal_taps))
    return planes


def _range(marks: np.ndarray) -> slice:
    """The slice of the positions that are marked, which lie side by side."""
    places = np.flatnonzero(marks)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
