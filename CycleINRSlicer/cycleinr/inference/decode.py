"""ALCGS and decoder for all queries between two acquired slices, in blocks of positions that fit the cache.

Every query of an interval attends to the same four slices, so their projections and the products q . k are formed
once; what is left per query is a lerp of those products, the offset embedding's part, and the decoder's layers with
the query's modulation folded in. All queries of an interval are computed together.

Channels come first, positions last: then heads, neighbours and channels are whole rows of numbers side by side, and
every step but the matrix products runs along them at full speed (5 times faster than with the channels last).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ..network.config import NEIGHBOURS
from ..network.decoder import RESIDUAL_SCALE
from ..network.interpolation import neighbour_indices
from ..network.layers import NEGATIVE_SLOPE
from ..network.model import CycleINR
from .execution import CPU, Execution


@dataclass(frozen=True)
class Projections:
    """One acquired slice's queries, keys and values, each (C, positions); the query carries the 1 / sqrt(d)."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor


Window = list[Projections | None]
"""The four slices around an interval; None beyond the stack's ends."""


@dataclass(frozen=True)
class Queries:
    """Folded weights of T output slices.

    Attributes:
        steps: (T, 1, 1) positions within their interval, 0 to 1.
        embedding: (T, 4 * heads, C): row j * heads + h holds head h's part of slice j's offset embedding.
        bias: (T, 4 * heads, 1), the linear prior included.
        layers: Weight (T, out, in) and bias (T, out, 1) of each decoder layer, the last one with the residual's scale.
    """

    steps: torch.Tensor
    embedding: torch.Tensor
    bias: torch.Tensor
    layers: list[tuple[torch.Tensor, torch.Tensor]]

    def part(self, which: slice) -> Queries:
        """Some of the output slices."""
        layers = [(weight[which], bias[which]) for weight, bias in self.layers]
        return Queries(self.steps[which], self.embedding[which], self.bias[which], layers)


class IntervalDecoder:
    """Sampling and decoding with one scan's slicing."""

    def __init__(self, model: CycleINR, slicing: torch.Tensor, execution: Execution = CPU):
        self.model, self.slicing, self.execution = model, slicing, execution
        self.heads, self.width = model.config.heads, model.config.width
        self.depth = self.width // self.heads
        project = model.sampling.project
        scale = torch.ones(3 * self.width, 1, device=slicing.device)
        scale[: self.width] = model.sampling.scale
        self.project_weight = (project.weight[:, :, 0, 0] * scale).to(execution.dtype)
        self.project_bias = (project.bias[:, None] * scale).to(execution.dtype)
        self.of_head = torch.eye(self.heads, device=slicing.device).repeat_interleave(self.depth, 1)

    def project(self, codes: torch.Tensor) -> Projections:
        """(positions, C) codes -> their projections."""
        return Projections(*torch.addmm(self.project_bias, self.project_weight, codes.t()).split(self.width))

    def windows(self, codes: Iterable[torch.Tensor]) -> Iterator[Window]:
        """The slices around each interval in turn."""
        window: Window = [None] * NEIGHBOURS
        for count, slice_codes in enumerate(codes, start=1):
            window = [*window[1:], self.project(slice_codes)]
            if count >= 3:
                yield window
        yield [*window[1:], None]

    def queries(self, positions: torch.Tensor, slices: int) -> Queries:
        """Fold everything that depends on the output slices' positions (T,), in units of acquired slices."""
        dtype = self.execution.dtype
        _, offsets = neighbour_indices(positions[None], slices)
        embedding, bias = self.model.sampling.embeddings(offsets, self.slicing)
        by_head = embedding[0].unsqueeze(2) * self.of_head
        decoder = self.model.decoder
        layers = []
        modulations = decoder.modulations(offsets[..., 1], self.slicing)
        for layer, (scale, shift) in zip(decoder.hidden, modulations, strict=True):
            gain = 1 + scale[0, :, :, None]
            layers.append((layer.weight[:, :, 0, 0] * gain, layer.bias[:, None] * gain + shift[0, :, :, None]))
        out, pixels = decoder.out, self.model.config.cell**2
        gain = torch.ones_like(out.bias)[:, None]
        gain[:pixels] = RESIDUAL_SCALE
        last = (out.weight[:, :, 0, 0] * gain, out.bias[:, None] * gain)
        layers.append(tuple(part.expand(len(positions), -1, -1) for part in last))
        layers = [(weight.to(dtype), bias.to(dtype)) for weight, bias in layers]
        steps, bias = offsets[0, :, 1, None, None], bias[0].flatten(1).unsqueeze(2)
        return Queries(steps, by_head.flatten(1, 2).to(dtype), bias, layers)

    def corrections(self, window: Window, queries: Queries) -> torch.Tensor:
        """Residuals and gates of each query's slice, (T, 2 * cell ** 2, positions), fp32; T >= 1."""
        positions, count = window[1].query.shape[1], len(queries.steps)
        output = torch.empty(count, 2 * self.model.config.cell**2, positions, device=self.slicing.device)
        at_once = min(count, self.execution.queries_at_once)
        block = self.execution.block // at_once
        for first in range(0, count, at_once):
            asked = slice(first, first + at_once)
            for start in range(0, positions, block):
                part = slice(start, min(start + block, positions))
                output[asked, :, part] = self._block(window, queries.part(asked), part)
        return output

    def _block(self, window: Window, queries: Queries, part: slice) -> torch.Tensor:
        there = [j for j, projections in enumerate(window) if projections is not None]
        left, right = window[1].query[:, part], window[2].query[:, part]
        keys = [window[j].key[:, part] for j in there]
        values = [self._heads(window[j].value[:, part]) for j in there]
        left_scores = torch.cat([self._products(left, key) for key in keys])
        right_scores = torch.cat([self._products(right, key) for key in keys])
        rows = slice(there[0] * self.heads, (there[-1] + 1) * self.heads)
        asked = torch.lerp(left, right, queries.steps.to(left.dtype))
        scores = torch.lerp(left_scores, right_scores, queries.steps).add_(queries.bias[:, rows])
        scores += torch.bmm(queries.embedding[:, rows], asked)
        weights = torch.softmax(scores.unflatten(1, (len(there), self.heads)), 1).unsqueeze(3).to(left.dtype)
        sampled = values[0] * weights[:, 0]
        for j in range(1, len(there)):
            sampled.addcmul_(values[j], weights[:, j])
        return self._decode(sampled.flatten(1, 2), queries.layers)

    def _products(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Each head's q . k, (heads, positions), fp32."""
        return self._heads(query * key).sum(1, dtype=torch.float32)

    def _heads(self, channels: torch.Tensor) -> torch.Tensor:
        """(C, positions) -> (heads, depth, positions)."""
        return channels.unflatten(0, (self.heads, self.depth))

    @staticmethod
    def _decode(channels: torch.Tensor, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        for weight, bias in layers[:-1]:
            channels = F.leaky_relu_(torch.baddbmm(bias, weight, channels), NEGATIVE_SLOPE)
        weight, bias = layers[-1]
        return torch.baddbmm(bias, weight, channels)
