"""How a long computation says how far it is, and how it is ended: one object that every step of it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import Cancelled

_TOO_EARLY = 0.02


@dataclass(frozen=True)
class Progress:
    """How far a run is: the phase in words, the fraction of the whole run, and the seconds left (None: unknown)."""

    phase: str
    fraction: float
    remaining_s: float | None = None


ProgressCallback = Callable[[Progress], None]


class Monitor:
    """Takes progress, and says when to stop; the functions are called often, from the thread that computes."""

    def __init__(self, progress: ProgressCallback | None = None, cancelled: Callable[[], bool] | None = None):
        self._progress, self._cancelled = progress, cancelled

    def tell(self, phase: str, fraction: float, remaining_s: float | None = None) -> None:
        """Say how far the work is."""
        if self._progress is not None:
            self._progress(Progress(phase, fraction, remaining_s))

    def check(self) -> None:
        """Raise ``Cancelled`` if the work was."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("Cancelled; nothing was written.")

    def stages(self, shares: Sequence[float], phase: str = "") -> list[Monitor]:
        """A monitor for each of several computations one after the other, which are told as one.

        Args:
            shares: How long each takes compared with the others.
            phase: What is told instead of each stage's own words, if anything.
        """
        highest, words, started_s = 0.0, phase, time.monotonic()

        def stage(before: float, share: float) -> Monitor:
            def report(progress: Progress) -> None:
                nonlocal highest, words
                # The end of a stage is not the end of all
                words = phase or (progress.phase if progress.fraction < 1 else words)
                # A stage that begins anew, on another device for instance, must not turn the bar back
                highest = max(highest, (before + share * progress.fraction) / sum(shares))
                elapsed_s = time.monotonic() - started_s
                left_s = None if highest < _TOO_EARLY else elapsed_s * (1 - highest) / highest
                self.tell(words, highest, left_s)

            return Monitor(report, self._cancelled)

        return [stage(sum(shares[:n]), share) for n, share in enumerate(shares)]


def throttled(progress: ProgressCallback, interval_s: float) -> ProgressCallback:
    """Passes on each new phase at once, and of one phase no more than one progress in ``interval_s`` seconds."""
    phase, due_s = "", 0.0

    def report(told: Progress) -> None:
        nonlocal phase, due_s
        now = time.monotonic()
        if told.phase != phase or now >= due_s:
            phase, due_s = told.phase, now + interval_s
            progress(told)

    return report
