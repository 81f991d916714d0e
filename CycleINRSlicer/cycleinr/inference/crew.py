"""Who computes a strip: the caller alone, or several threads, each with steps of its own.

Threads that share every single operation wait for each other at its end, tens of thousands of times a run: on two cores
a third of the time goes into that, and far more when another program has one of them. Here the steps of a run are
shared out instead. A thread computes its encoder blocks, or its interval between two slices, from beginning to end on
one core, while the others are at other slices.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Protocol, TypeVar

from ..threads import CrewSize
from .blas import hold, one_blas_thread, touch_buffers

Item = TypeVar("Item")

_PATIENCE_S = 0.05
"""How often the thread that waits for the others tells progress and asks whether to go on."""

_END = object()


class Crew(Protocol):
    """Threads for the steps of one strip."""

    blocks_each: int
    """Encoder blocks that one thread takes."""

    def relay(self, stream: Iterator[Item]) -> Iterator[Item]:
        """The items of a stream, which another thread may compute while the caller is at the item before."""

    def each(self, work: Callable[[Item], None], items: Iterator[Item]) -> None:
        """``work(item)`` for every item, several of them at once perhaps; returns when all are done."""

    def tick(self) -> None:
        """Tell, from any thread, that something is done."""


class Alone:
    """The caller's thread does everything: for one core."""

    def __init__(self, blocks: int, tick: Callable[[], None]):
        self.blocks_each, self.tick = blocks, tick

    def relay(self, stream: Iterator[Item]) -> Iterator[Item]:
        return stream

    def each(self, work: Callable[[Item], None], items: Iterator[Item]) -> None:
        for item in items:
            work(item)


class Threads:
    """A thread for each part of the encoder, and several for the intervals; used as a context.

    Args:
        size: How many of each.
        tick: Called by the thread that calls ``each``, and only by it. What it raises ends the work.
    """

    def __init__(self, size: CrewSize, tick: Callable[[], None]):
        self.blocks_each, self._intervals, self._told_by_caller = size.blocks_each, size.intervals, tick
        self._ticks: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._pools: list[ThreadPoolExecutor] = []
        self._streams: list[Generator] = []

    def __enter__(self) -> Threads:
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
        if self._stopped.is_set():
            raise _Stopped
        self._ticks.put(None)

    def relay(self, stream: Generator[Item, None, None]) -> Iterator[Item]:
        return self._relay(stream, Future.result)

    def each(self, work: Callable[[Item], None], items: Generator[Item, None, None]) -> None:
        pool = self._pool(self._intervals, "interval")
        under_way: deque[Future] = deque()
        for item in self._relay(items, self._result):
            under_way.append(_submit(pool, work, item))
            if len(under_way) > self._intervals:
                self._result(under_way.popleft())
        while under_way:
            self._result(under_way.popleft())

    def _pool(self, threads: int, name: str) -> ThreadPoolExecutor:
        self._pools.append(ThreadPoolExecutor(threads, f"cycleinr-{name}", hold))
        return self._pools[-1]

    def _relay(self, stream: Generator, result: Callable[[Future], Item]) -> Iterator[Item]:
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
    """A stream's items, the next one on its way while the caller has the one before."""
    # Taken out before it is asked, for the reason given in Threads._result
    coming = deque([_submit(pool, next, stream, _END)])
    while (item := result(coming.pop())) is not _END:
        coming.append(_submit(pool, next, stream, _END))
        yield item


@contextmanager
def crew(threads: int, blocks: int, tick: Callable[[], None]) -> Iterator[Crew]:
    """As many threads as are given, for an encoder of ``blocks``; NumPy's BLAS has one for each of them."""
    with one_blas_thread():
        if threads == 1:
            touch_buffers(1)
            yield Alone(blocks, tick)
            return
        size = CrewSize.of(threads, blocks)
        touch_buffers(size.encoding + size.intervals)
        with Threads(size, tick) as several:
            yield several
