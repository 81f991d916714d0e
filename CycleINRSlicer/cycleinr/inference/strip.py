"""Super-resolution of a strip of image rows through all slices, in network units, before data consistency."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn import functional as F

from ..network.conditioning import Slicing
from ..network.interpolation import bspline_weights, cubic_weights, neighbour_indices
from ..network.model import CycleINR, pad_to_cells
from .decode import IntervalDecoder
from .encode import EncoderStream

_NEGLIGIBLE_WEIGHT = 1e-6


class StripNetwork:
    """The network made ready for one scan: weights folded, queries grouped by the interval that they lie in.

    Args:
        model: Trained network on the device to compute on.
        slicing: How the scan was sliced.
        positions: Output slices in units of acquired slices, rising; those outside the scan take its end slices.
        slices: Number of acquired slices.
    """

    def __init__(self, model: CycleINR, slicing: Slicing, positions: np.ndarray, slices: int):
        features = slicing.to_tensor(next(model.parameters()).device)
        self.cell, self.slices, self.tau = model.config.cell, slices, slicing.tau
        self.device = features.device
        self.encoder = EncoderStream(model.encoder, features)
        self.decoder = IntervalDecoder(model, features)
        self.positions = np.clip(positions, 0, slices - 1)
        rising = torch.from_numpy(self.positions)
        self.first = neighbour_indices(rising, slices)[0][:, 1].numpy()
        self.cubic = cubic_weights(rising, slices).numpy()
        self.spline = bspline_weights(rising, slices).numpy()
        # A thin slice that was acquired is known; there is nothing to predict at its position.
        self.known = (self.tau == 0) & (self.positions == np.round(self.positions))

    @property
    def ticks(self) -> int:
        """How often ``run`` calls its ``tick``: for each acquired slice that goes in and each interval done."""
        return 2 * self.slices - 1

    def run(self, slices_in: Callable[[int], torch.Tensor], out: torch.Tensor, tick: Callable[[], None]) -> None:
        """Compute one strip.

        Args:
            slices_in: Gives acquired slice ``n`` as (rows, columns) network values.
            out: (n_out, rows, columns) takes the result in network units.
            tick: Called ``ticks`` times, at about equal intervals.
        """
        shape = out.shape[1:]
        queries = [self._queries(n) for n in range(self.slices - 1)]
        codes = self.encoder.codes(self._padded(slices_in, tick))
        cells = [-(-size // self.cell) for size in shape]
        for interval, window in enumerate(self.decoder.windows(codes)):
            predicted, wanted = queries[interval]
            corrections = dict(zip(predicted, self.decoder.corrections(window, wanted), strict=True))
            self._compose(interval, corrections, slices_in, out, cells)
            tick()

    def _padded(self, slices_in: Callable[[int], torch.Tensor], tick: Callable[[], None]) -> Iterator[torch.Tensor]:
        for n in range(self.slices):
            tick()
            yield pad_to_cells(slices_in(n)[None], self.cell)[0]

    def _queries(self, interval: int):
        predicted = [int(m) for m in np.flatnonzero((self.first == interval) & ~self.known)]
        return predicted, [self.decoder.query(float(self.positions[m]), self.slices) for m in predicted]

    def _compose(self, interval: int, corrections: dict, slices_in, out: torch.Tensor, cells: list[int]) -> None:
        """Smooth start, residual and gated way to the B-spline, for every output slice of one interval."""
        for m in np.flatnonzero(self.first == interval):
            target = out[m]
            near = {interval - 1 + j: w for j, w in enumerate(self.cubic[m].tolist()) if w}
            _weighted_sum(target, near, slices_in)
            if int(m) not in corrections:
                continue
            planes = corrections[int(m)].view(1, -1, *cells)
            residual, gate = F.pixel_shuffle(planes, self.cell)[0, :, : target.shape[0], : target.shape[1]]
            spline = {j: w for j, w in enumerate(self.spline[m].tolist()) if abs(w) > _NEGLIGIBLE_WEIGHT}
            towards = _weighted_sum(torch.empty_like(target), spline, slices_in).sub_(target)
            target.add_(residual).addcmul_(gate, towards)


def _weighted_sum(target: torch.Tensor, weights: dict[int, float], slices_in) -> torch.Tensor:
    target.zero_()
    for j, weight in weights.items():
        target.add_(slices_in(j), alpha=weight)
    return target


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
