"""Worker processes on this computer: warm from job to job, replaced when one dies, gone when the batch is."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait

from ..errors import CycleinrError, OutputError, WorkerError
from ..jobs import Job
from ..result import Monitor, Progress, throttled
from ..threads import usable_cores
from .execute import run_recorded
from .folder import BatchFolder
from .record import Advanced, Event, Finished, Lost, Record, Started

_ATTEMPTS = 2
_STARTS = 3  # processes in a row that may end before they are ready, as when memory runs out
_READY = "ready"
_PROGRESS_INTERVAL_S = 0.2
_LOG = logging.getLogger(__name__)


def run_local(
    folder: BatchFolder, jobs: Sequence[tuple[Job, Record]], workers: int, tell: Callable[[Event], None]
) -> None:
    """Run all jobs; returns when each has a record.

    A job whose process dies is tried once more in a fresh one, after all others.

    Args:
        workers: Most processes at a time; each gets its share of the processor's cores.

    Raises:
        WorkerError: Several processes in a row die before they are ready for work.
        OutputError: Not even records can be written to the folder.
    """
    # Whatever is left to do: the number of threads changes results by rounding, and a batch that was killed and started
    # again has to end with the results of one that was not.
    threads = max(1, usable_cores() // workers)
    pool = _Pool(folder, jobs, tell)
    try:
        pool.run(min(workers, len(jobs)), threads)
    finally:
        for worker in pool.workers:
            worker.kill()


class _Worker:
    """One process and the job that it has."""

    def __init__(self, threads: int):
        # Forked processes would inherit the batch's lock, and torch's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.task: tuple[Job, Record] | None = None

    def messages(self) -> list:
        """All that has arrived, also from a process that has died since."""
        found = []
        try:
            while self.connection.poll():
                found.append(self.connection.recv())
        except (EOFError, OSError):
            pass
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Pool:
    """The workers, and what is left to do; a record's attempts count the processes that had its job."""

    def __init__(self, folder: BatchFolder, jobs: Sequence[tuple[Job, Record]], tell: Callable[[Event], None]):
        self.folder, self.waiting, self.tell = folder, deque(jobs), tell
        self.workers: list[_Worker] = []
        self.failed_starts = 0

    def run(self, count: int, threads: int) -> None:
        while self.waiting or any(worker.task for worker in self.workers):
            idle = sum(worker.task is None for worker in self.workers)
            for _ in range(min(count - len(self.workers), len(self.waiting) - idle)):
                self.workers.append(_Worker(threads))
            wait([o for worker in self.workers for o in (worker.connection, worker.process.sentinel)])
            for worker in list(self.workers):
                # Asked before the messages are fetched: the last words of a process that dies in between are not lost
                alive = worker.process.is_alive()
                for message in worker.messages():
                    self._take(worker, message)
                if not alive:
                    self._replace(worker)
            # Only now: a job whose process has died may go to a worker that had nothing left to do
            for worker in self.workers:
                if worker.ready and worker.task is None and self.waiting:
                    self._hand_out(worker)

    def _hand_out(self, worker: _Worker) -> None:
        job, record = self.waiting.popleft()
        worker.task = job, replace(record, attempts=record.attempts + 1)
        try:
            worker.connection.send((self.folder, job, record))
        except OSError:
            # It died just now, which the next look at it finds out
            return
        self.tell(Started(record.output, worker.process.pid or 0))

    def _take(self, worker: _Worker, message: Event | CycleinrError | str) -> None:
        if isinstance(message, CycleinrError):
            raise message
        if isinstance(message, str):
            worker.ready, self.failed_starts = True, 0
            return
        if isinstance(message, Finished):
            worker.task = None
        self.tell(message)

    def _replace(self, worker: _Worker) -> None:
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
        if worker.task is None:
            return
        record = worker.task[1]
        if record.attempts < _ATTEMPTS:
            self.waiting.append(worker.task)
            self.tell(Lost(record.output, reason))
            return
        text = (
            f"The process of this scan {reason}, {_ATTEMPTS} times. If memory ran out, run fewer workers or set a "
            "lower memory limit; else the scan may be damaged."
        )
        self.tell(Finished(self.folder.write_failure(record.as_failed("WorkerLost", text))))


def _reason(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"was ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")
    return f"ended with exit code {exitcode}"


def _serve(connection: Connection, threads: int) -> None:
    """A worker process: runs one job after the other until the batch is gone."""
    # Ctrl-C goes to all processes of a terminal; the batch itself ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_batch, daemon=True).start()
    logging.basicConfig(level=os.environ.get("CYCLEINR_LOG", "WARNING"), format="%(levelname)s %(name)s: %(message)s")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from ..computer import keep_freed_memory

    keep_freed_memory()
    try:
        from ..inference import upsample  # noqa: F401
    except (ImportError, OSError) as error:
        connection.send(WorkerError(f"The engine cannot be loaded: {error}. Install cycleinr again."))
        return
    connection.send(_READY)
    while True:
        try:
            folder, job, record = connection.recv()
        except EOFError:
            return

        def report(progress: Progress, output: str = record.output) -> None:
            connection.send(Advanced(output, progress.phase, progress.fraction))

        try:
            monitor = Monitor(throttled(report, _PROGRESS_INTERVAL_S))
            connection.send(Finished(run_recorded(folder, job, record, monitor)))
        except CycleinrError as error:
            connection.send(OutputError(str(error)))


def _leave_with_the_batch() -> None:
    """A batch that is killed must not leave processes that go on writing."""
    multiprocessing.parent_process().join()
    os._exit(1)
