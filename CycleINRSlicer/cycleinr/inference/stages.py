"""Several computations one after the other, told as one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .options import Progress, ProgressCallback

_TOO_EARLY = 0.02


class Stages:
    """Splits one progress into consecutive stages.

    :param progress: hears fractions that rise from 0 to 1 over all stages, and the seconds that are left at that pace.
    :param shares: how long each stage takes compared with the others.
    :param phase: what is told instead of each stage's own words; empty leaves them.
    """

    def __init__(self, progress: ProgressCallback, shares: Sequence[float], phase: str = ""):
        self._progress, self._shares, self._phase = progress, list(shares), phase
        self._next, self._highest, self._started_s = 0, 0.0, time.monotonic()

    def next(self) -> ProgressCallback:
        """Progress of the next stage."""
        before, share = sum(self._shares[: self._next]), self._shares[self._next]
        total = sum(self._shares)
        self._next += 1

        def report(progress: Progress) -> None:
            # A stage that begins anew, on another device for instance, must not turn the bar back
            self._highest = max(self._highest, (before + share * progress.fraction) / total)
            self._progress(Progress(self._phase or progress.phase, self._highest, self._remaining_s()))

        return report

    def _remaining_s(self) -> float | None:
        if self._highest < _TOO_EARLY:
            return None
        elapsed_s = time.monotonic() - self._started_s
        return elapsed_s * (1 - self._highest) / self._highest
