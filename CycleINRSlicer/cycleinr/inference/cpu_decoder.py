"""ALCGS and decoder on the CPU for all queries between two acquired slices, in blocks of positions that fit the cache.

Every query of an interval attends to the same four slices, so their projections and the products q . k are formed
once; what is left per query is a lerp of those products, the offset embedding's part, and the decoder's layers with
the query's modulation folded in. All queries of an interval are computed together.

Channels come first, positions last: then heads, neighbours and channels are whole rows of numbers side by side, and
every step but the matrix products runs along them at full speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..network.config import LINEAR_FLOOR, RESIDUAL_SCALE
from ..network.weights import Parameters, offset_features
from ..resampling import NEIGHBOURS, neighbour_indices
from .cpu_encoder import activate

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
    """

    def __init__(self, parameters: Parameters, features: np.ndarray):
        self.parameters, self.features = parameters, features
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
            projected[:, part] = self.project_weight @ codes[part].T
            projected[:, part] += self.project_bias
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
        """What a small network makes of offsets and the slicing."""
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
        gain = np.ones((2 * self.pixels, 1), np.float32)
        gain[: self.pixels] = RESIDUAL_SCALE
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
