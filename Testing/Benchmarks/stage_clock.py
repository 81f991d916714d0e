"""Where a run's time goes: the engine's own functions, timed in place, each minute counted once."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps

STAGES = ("read", "encode", "sample", "decode", "compose", "consistency", "convert", "write", "other")


class StageClock:
    """Adds up the time of each stage; time in a nested stage counts for the inner one only. For one thread.

    Args:
        wait: Called before each look at the clock; waits for a GPU's work.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None):
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._wait, self._inner = wait, []

    def timed(self, stage: str, function: Callable) -> Callable:
        """``function`` with its time added to a stage."""

        @wraps(function)
        def run(*arguments, **named):
            self._wait()
            started = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*arguments, **named)
            finally:
                self._wait()
                took = time.perf_counter() - started
                self.seconds[stage] += took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        return run

    def watch_engine(self) -> None:
        """Time the engine's stages for the rest of this process."""
        from cycleinr.inference import _Run
        from cycleinr.inference.consistency import BoundedConsistency, Consistency
        from cycleinr.inference.cpu_encoder import FoldedBlock, Stem
        from cycleinr.inference.cpu_network import IntervalDecoder, StripNetwork
        from cycleinr.intensity import IntensityScale

        IntervalDecoder._decode = staticmethod(self.timed("decode", IntervalDecoder._decode))
        for stage, owner, names in (
            ("encode", FoldedBlock, ("_mix",)),
            ("encode", Stem, ("_codes",)),
            ("sample", IntervalDecoder, ("project", "corrections", "queries")),
            ("compose", StripNetwork, ("_add",)),
            ("consistency", Consistency, ("apply",)),
            ("consistency", BoundedConsistency, ("apply",)),
            ("convert", IntensityScale, ("to_network",)),
            ("convert", _Run, ("_finish",)),
        ):
            for name in names:
                setattr(owner, name, self.timed(stage, getattr(owner, name)))


def stage_flops(config, cells: int, n_in: int, n_out: int) -> dict[str, float]:
    """Multiply-adds times two of the network's stages, with convolutions counted as direct ones.

    Args:
        config: The network's sizes.
        cells: In-plane cells of one slice.
        n_in: Acquired slices.
        n_out: Slices that are predicted.
    """
    width, hidden, heads = config.width, config.decoder_width, config.heads
    pixels = config.cell**2
    encode = 9 * 3 * pixels * width + config.blocks * 12 * width**2
    # Per slice the projections, per interval the eight products q . k, per query the embedding's part and the mix.
    sample_in, sample_out = 3 * width**2 + 8 * width * heads, 4 * width * heads + 4 * width
    decode = width * hidden + (config.decoder_layers - 1) * hidden**2 + hidden * 2 * pixels
    return {
        "encode": 2.0 * cells * n_in * encode,
        "sample": 2.0 * cells * (n_in * sample_in + n_out * sample_out),
        "decode": 2.0 * cells * n_out * decode,
    }
