"""Worker processes on this computer: warm from case to case, replaced when one dies, gone when the batch is."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait

from ..errors import CycleinrError, OutputError, WorkerError
from ..monitor import Monitor, Progress, throttled
from ..threads import usable_cores
from .execute import Order, run_case
from .folder import BatchFolder
from .record import Advanced, Event, Finished, Lost, Record, Started

_ATTEMPTS = 2
_STARTS = 3
"""Processes in a row that may end before they are ready, as when memory runs out, before the batch gives up."""

_PROGRESS_INTERVAL_S = 0.2
_LOG = logging.getLogger(__name__)


def run_local(folder: BatchFolder, orders: Sequence[Order], workers: int, tell: Callable[[Event], None]) -> None:
    """Run all orders; returns when each has a record.

    A case whose process dies is tried once more in a fresh one, after all others.

    Args:
        workers: Most processes at a time; each gets its share of the processor's cores.

    Raises:
        WorkerError: Several processes in a row die before they are ready for work, or there is no PyTorch.
        OutputError: Not even records can be written to the folder.
    """
    count = max(1, min(workers, len(orders)))
    # Whatever is left to do: the number of threads changes results by rounding, and a batch that was killed and started
    # again has to end with the results of one that was not.
    threads = max(1, usable_cores() // workers)
    pool = _Pool(folder, deque((order, 1) for order in orders), tell)
    try:
        pool.run(count, threads)
    finally:
        pool.end()


class _Worker:
    """One process and the order that it has."""

    def __init__(self, threads: int):
        # Forked processes would inherit the batch's lock, and torch's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, threads), daemon=True)
        self.process.start()
        theirs.close()
        self.ready, self.attempt = False, 0
        self.order: Order | None = None

    def give(self, order: Order, attempt: int) -> None:
        self.order, self.attempt = order, attempt
        self.connection.send_bytes(json.dumps(order.to_json()).encode())

    def messages(self) -> list[dict]:
        """All that has arrived, also from a process that has died since."""
        found = []
        try:
            while self.connection.poll():
                found.append(json.loads(self.connection.recv_bytes()))
        except (EOFError, OSError, ValueError):
            pass
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Pool:
    def __init__(self, folder: BatchFolder, orders: deque[tuple[Order, int]], tell: Callable[[Event], None]):
        self.folder, self.orders, self.tell = folder, orders, tell
        self.workers: list[_Worker] = []
        self.failed_starts = 0

    def run(self, count: int, threads: int) -> None:
        while self.orders or any(worker.order for worker in self.workers):
            while len(self.workers) < count and self._waiting_orders() > 0:
                self.workers.append(_Worker(threads))
            objects = [o for worker in self.workers for o in (worker.connection, worker.process.sentinel)]
            wait(objects)
            for worker in list(self.workers):
                self._look_at(worker)
            # Only now: a case whose process has died may go to a worker that had nothing left to do.
            for worker in self.workers:
                if worker.ready and worker.order is None and self.orders:
                    self._hand_out(worker)

    def end(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.workers.clear()

    def _waiting_orders(self) -> int:
        return len(self.orders) - sum(worker.order is None for worker in self.workers)

    def _look_at(self, worker: _Worker) -> None:
        # Asked before the messages are fetched: the last words of a process that dies in between are not lost.
        alive = worker.process.is_alive()
        for message in worker.messages():
            self._hear(worker, message)
        if not alive:
            self._bury(worker)

    def _hand_out(self, worker: _Worker) -> None:
        try:
            worker.give(*self.orders.popleft())
        except OSError:
            # It died just now; the next look at it finds that out and gives the case to another.
            return
        self.tell(Started(worker.order.case.output, worker.process.pid))

    def _hear(self, worker: _Worker, message: dict) -> None:
        if "ready" in message:
            worker.ready, self.failed_starts = True, 0
        elif "broken" in message:
            raise WorkerError(message["broken"])
        elif "stop" in message:
            raise OutputError(message["stop"])
        elif "phase" in message:
            self.tell(Advanced(worker.order.case.output, message["phase"], message["fraction"]))
        else:
            worker.order = None
            self.tell(Finished(Record.from_json(message["record"])))

    def _bury(self, worker: _Worker) -> None:
        worker.kill()
        self.workers.remove(worker)
        reason = _reason(worker.process.exitcode)
        if not worker.ready:
            self.failed_starts += 1
            if self.failed_starts == _STARTS:
                raise WorkerError(
                    f"{_STARTS} worker processes in a row ended before they could start (the last one {reason}). "
                    "Finished scans are kept. Try cycleinr upsample on one scan, and fewer workers."
                )
            _LOG.warning("A worker process %s before it was ready; another one is started.", reason)
        if worker.order is None:
            return
        order = worker.order
        if worker.attempt < _ATTEMPTS:
            self.orders.append((order, worker.attempt + 1))
            self.tell(Lost(order.case.output, reason))
            return
        record = Record.of(order.case, "", order.batch, attempts=worker.attempt)
        record = record.as_failed(
            "WorkerLost",
            f"The process of this case {reason}, {_ATTEMPTS} times. If memory ran out, run fewer workers or set a "
            "lower memory limit; else the scan may be damaged.",
        )
        self.tell(Finished(self.folder.write_failure(record)))


def _reason(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"was ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")
    return f"ended with exit code {exitcode}"


def serve(connection: Connection, threads: int) -> None:
    """A worker process: runs one order after the other until the batch is gone."""
    # Ctrl-C goes to all processes of a terminal; the batch itself ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_batch, daemon=True).start()
    logging.basicConfig(level=os.environ.get("CYCLEINR_LOG", "WARNING"), format="%(levelname)s %(name)s: %(message)s")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from ..memory import keep_freed_memory

    keep_freed_memory()

    def send(message: dict) -> None:
        connection.send_bytes(json.dumps(message).encode())

    def report(progress: Progress) -> None:
        send({"phase": progress.phase, "fraction": round(progress.fraction, 4)})

    try:
        from ..inference import upsample  # noqa: F401
    except (ImportError, OSError) as error:
        send({"broken": f"The engine cannot be loaded: {error}. Install cycleinr again."})
        return
    send({"ready": True})
    while True:
        try:
            order = Order.from_json(json.loads(connection.recv_bytes()))
        except EOFError:
            return
        try:
            send({"record": run_case(order, Monitor(throttled(report, _PROGRESS_INTERVAL_S))).to_json()})
        except CycleinrError as error:
            send({"stop": str(error)})


def _leave_with_the_batch() -> None:
    """A batch that is killed must not leave processes that go on writing."""
    multiprocessing.parent_process().join()
    os._exit(1)
