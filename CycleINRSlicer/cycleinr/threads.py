"""How many threads compute, and how PyTorch's own wait for each other. Imports no torch.

PyTorch's threads (libgomp) share each operation and by default wait for each other in a busy loop. When another program
has one of the cores, the loop takes the time that the late thread needs: a run can take three times as long. Asleep
they lose up to a third on idle cores, which is why the network's steps have threads of their own
(``inference.crew``); reading, data consistency and training use PyTorch's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

_SPIN_COUNT = "1000"
_MOST_THREADS = 8
"""Beyond as many, PyTorch's own threads share what one of ours does."""


@dataclass(frozen=True)
class CrewSize:
    """How many threads compute a strip.

    Attributes:
        blocks_each: Encoder blocks that one thread takes.
        encoding: Threads with encoder blocks.
        intervals: Threads that compute the slices of an interval.
        own: PyTorch's own threads for each of these.
    """

    blocks_each: int
    encoding: int
    intervals: int
    own: int

    @classmethod
    def of(cls, threads: int, blocks: int) -> CrewSize:
        """For this many threads in all, and encoder blocks. More work than cores, so that no core has to wait."""
        count = min(threads, _MOST_THREADS)
        each = -(-blocks // count)
        return cls(each, -(-blocks // each), -(-count // 2), max(1, threads // _MOST_THREADS))


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def computing_threads() -> int:
    """Threads that a run will use: what ``OMP_NUM_THREADS`` says, as PyTorch does, or one for each core."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) > 0 else usable_cores()


def wait_politely() -> None:
    """Make libgomp's threads sleep soon while they wait; to be called before torch is imported.

    Settings of the user's own (``GOMP_SPINCOUNT``, ``OMP_WAIT_POLICY``) win. Other OpenMP libraries ignore it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
