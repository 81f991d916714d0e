"""How many threads compute, who computes a strip, and how NumPy's BLAS and PyTorch's threads are kept from waiting for
each other. Imports neither torch nor, until something is computed, NumPy.

Threads that share every single operation wait for each other at its end, tens of thousands of times a run: on two cores
a third of the time goes into that. Here a thread computes its encoder blocks, or its interval between two slices, from
beginning to end on one core, while the others are at other slices.

Meanwhile NumPy's BLAS is held to one thread a caller, without threadpoolctl, which Slicer has not: OpenBLAS (NumPy's
own, on Windows and Linux), MKL, and Accelerate from macOS 15 on; before, it computes products of this size in the
calling thread anyway. A BLAS that is not known keeps its threads: the usual one, the reference BLAS, has none.
"""

from __future__ import annotations

import ctypes
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

_MOST_THREADS = 8
"""More of ours would only wait for each other."""


@dataclass(frozen=True)
class CrewSize:
    """How many threads compute a strip.

    Attributes:
        blocks_each: Encoder blocks that one thread takes.
        encoding: Threads with encoder blocks.
        intervals: Threads that compute the slices of an interval.
        shared: Whether several threads are at work, each with slices of its own; else the caller's does everything.
    """

    blocks_each: int
    encoding: int
    intervals: int
    shared: bool

    @classmethod
    def of(cls, threads: int, blocks: int) -> CrewSize:
        """For this many threads in all, and encoder blocks. More work than cores, so that no core has to wait."""
        count = min(threads, _MOST_THREADS)
        each = -(-blocks // count)
        return cls(each, -(-blocks // each), -(-count // 2), threads > 1)


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def computing_threads() -> int:
    """Threads that a run will use: what ``OMP_NUM_THREADS`` says, as PyTorch does, or one for each core."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) > 0 else usable_cores()


Item = TypeVar("Item")

_PATIENCE_S = 0.05
"""How often the thread that waits for the others tells progress and asks whether to go on."""

_END = object()


class Crew:
    """Threads for the steps of one strip: one for each part of the encoder, and several for the intervals; a context.

    Args:
        size: How many of each.
        tick: Called by the thread that calls ``each``, and only by it. What it raises ends the work.
    """

    def __init__(self, size: CrewSize, tick: Callable[[], None]):
        self.size, self._told_by_caller = size, tick
        self._ticks: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._pools: list[ThreadPoolExecutor] = []
        self._streams: list[Generator] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *raised) -> None:
        """No thread is left, and no stream holds memory."""
        self._stopped.set()
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in self._pools:
            pool.shutdown()
        for stream in reversed(self._streams):
            stream.close()

    def tick(self) -> None:
        """Tell, from any thread, that something is done."""
        if not self.size.shared:
            self._told_by_caller()
        elif self._stopped.is_set():
            raise _Stopped
        else:
            self._ticks.put(None)

    def relay(self, stream: Generator[Item, None, None]) -> Iterator[Item]:
        """The items of a stream, which another thread computes while the caller is at the item before."""
        return self._relay(stream, Future.result) if self.size.shared else stream

    def each(self, work: Callable[[Item], None], items: Generator[Item, None, None]) -> None:
        """``work(item)`` for every item, several of them at once; returns when all are done."""
        if not self.size.shared:
            for item in items:
                work(item)
            return
        pool = self._pool(self.size.intervals, "interval")
        under_way: deque[Future] = deque()
        for item in self._relay(items, self._result):
            under_way.append(_submit(pool, work, item))
            if len(under_way) > self.size.intervals:
                self._result(under_way.popleft())
        while under_way:
            self._result(under_way.popleft())

    def _pool(self, threads: int, name: str) -> ThreadPoolExecutor:
        self._pools.append(ThreadPoolExecutor(threads, f"cycleinr-{name}", hold_this_thread))
        return self._pools[-1]

    def _relay(self, stream: Generator, result: Callable[[Future], Item]) -> Iterator[Item]:
        """A stream's items, the next one on its way while the caller has the one before."""
        self._streams.append(stream)
        return _ahead(stream, self._pool(1, "encoder"), result)

    def _result(self, future: Future) -> Item:
        """Of a future, passing on ticks while it is not there."""
        try:
            while not wait([future], _PATIENCE_S).done:
                self._pass_on()
            self._pass_on()
            return future.result()
        finally:
            # An error's traceback has this frame, the frame the future, and the future the error: the scan would stay
            del future

    def _pass_on(self) -> None:
        while not self._ticks.empty():
            self._ticks.get()
            self._told_by_caller()


class _Stopped(Exception):
    """Ends the threads of a strip that nobody wants any more."""


def _submit(pool: ThreadPoolExecutor, function: Callable, *arguments) -> Future:
    try:
        return pool.submit(function, *arguments)
    except RuntimeError as error:
        # There is no room for another thread's stack
        raise MemoryError(str(error)) from error


def _ahead(stream: Generator, pool: ThreadPoolExecutor, result: Callable[[Future], Item]) -> Iterator[Item]:
    # Taken out before it is asked, for the reason given in Crew._result
    coming = deque([_submit(pool, next, stream, _END)])
    while (item := result(coming.pop())) is not _END:
        coming.append(_submit(pool, next, stream, _END))
        yield item


@contextmanager
def crew(threads: int, blocks: int, tick: Callable[[], None]) -> Iterator[Crew]:
    """As many threads as are given, for an encoder of ``blocks``; NumPy's BLAS has one for each of them."""
    size = CrewSize.of(threads, blocks)
    with one_blas_thread(), Crew(size, tick) as several:
        yield several


_CONTROLS = [
    *(
        (f"{prefix}openblas_get_num_threads{suffix}", f"{prefix}openblas_set_num_threads{suffix}")
        for prefix in ("", "scipy_")
        for suffix in ("", "64_", "_64", "64", "_64_")
    ),
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
    ("BLASGetThreading", "BLASSetThreading"),
]
"""What asks and tells OpenBLAS, MKL and Accelerate; the latter's is a mode: 0 for threads of its own, 1 for none."""


@dataclass(frozen=True)
class Library:
    """A BLAS: what asks for its number of threads, and what sets it."""

    get: Callable[[], int]
    set: Callable[[int], None]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """One thread a product; as many as before are back when the last of several users is done, however it ends."""
    global _users, _usual
    blas = numpys_blas()
    with _lock:
        if _users == 0 and blas is not None:
            _usual = blas.get()
            blas.set(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and blas is not None:
                blas.set(_usual)


_lock, _users, _usual = threading.Lock(), 0, 1


def hold_this_thread() -> None:
    """For a thread that begins while others are held: a BLAS built with OpenMP counts for each of its callers.

    Values beyond all bounds are found in the result; NumPy need not warn of them.
    """
    import numpy as np

    np.seterr(over="ignore", invalid="ignore")
    if (blas := numpys_blas()) is not None:
        blas.set(1)


@lru_cache(maxsize=1)
def numpys_blas() -> Library | None:
    """The BLAS that NumPy computes with, where its threads can be told."""
    import numpy as np

    # Asked for a name, a library answers for those that it was linked with too; on Windows for itself alone
    files = [np.linalg._umath_linalg.__file__]
    if sys.platform == "win32":
        package = Path(np.__file__).parent
        wheels = (*package.parent.glob("numpy.libs/*openblas*.dll"), *package.glob(".libs/*openblas*.dll"))
        files = [*map(str, wheels), "mkl_rt.2.dll", "openblas.dll"]
    for file in files:
        with suppress(OSError):
            library = ctypes.CDLL(file)
            for get, tell in _CONTROLS:
                if hasattr(library, get):
                    return Library(getattr(library, get), getattr(library, tell))
    return None
