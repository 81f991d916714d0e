"""Who runs a batch's jobs: processes on this computer, or the workers of a Dask cluster that runs already.

Either way only a job and its record travel; whoever has them writes the result and the record, and tells how far it is.
On a cluster, inputs and the output folder must have the same paths on all computers.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from .. import ClusterError, CycleinrError, OutputError, WorkerError, __version__
from ..computer import DEFAULT_LIMIT_BYTES, available_memory_bytes, keep_freed_memory
from ..jobs import Job
from ..threads import usable_cores
from .folder import BatchFolder, Tell, run_recorded
from .results import PENDING, STARTED, Record

if TYPE_CHECKING:
    from distributed import Client, Future

Entry = tuple[Job, Record]
_ATTEMPTS = 2
_STARTS = 3  # processes in a row that may end before they have begun a job, as when memory runs out
_EXIT_S = 5.0
_MEMORY_SHARE = 0.5
_WAITING_PER_THREAD = 2
_CONNECT_S, _SILENCE_S = 30, 10
_LOG = logging.getLogger(__name__)


def run_local(folder: BatchFolder, tasks: Sequence[Entry], count: int, tell: Tell) -> None:
    """Run all jobs in processes on this computer, ``count`` at a time, which share its cores and memory.

    A job whose process dies is tried once more in a fresh one, after all others.

    Raises:
        WorkerError: Several processes in a row die before they have begun a job.
        OutputError: Not even records can be written to the folder.
    """
    # Whatever is left to do: the number of threads changes results by rounding, and a batch that was killed and started
    # again has to end with the results of one that was not.
    threads = max(1, usable_cores() // count)
    share = min(DEFAULT_LIMIT_BYTES, _MEMORY_SHARE * available_memory_bytes() / min(count, len(tasks)))
    memory_gb = None if count == 1 else share / 1e9
    waiting, workers, failed_starts = deque(tasks), dict[Connection, _Worker](), 0
    try:
        while waiting or workers:
            while waiting and len(workers) < count:
                worker = _Worker(folder, threads, memory_gb, waiting.popleft())
                workers[worker.connection] = worker
            for connection in wait(list(workers)):
                worker, news = workers[connection], _heard(connection)
                if news is None:
                    del workers[connection]
                    reason = worker.end(_EXIT_S)
                    failed_starts = 0 if worker.has_begun else failed_starts + 1
                    waiting.extend(_again(folder, worker, reason, failed_starts, tell))
                    continue
                if isinstance(news, CycleinrError):
                    raise news
                record, fraction = news
                worker.task, worker.has_begun, failed_starts = (worker.task[0], record), True, 0
                tell(record, fraction)
                if record.status != STARTED and waiting:
                    worker.give(waiting.popleft())
                elif record.status != STARTED:
                    del workers[connection]
                    worker.end()
    finally:
        for worker in workers.values():
            worker.end()


class _Worker:
    """A process, warm from job to job, with the job that it has; whether it has begun that, it says itself."""

    def __init__(self, folder: BatchFolder, threads: int, memory_gb: float | None, task: Entry):
        # Forked processes would inherit the batch's lock, and torch's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, folder, threads, memory_gb), daemon=True)
        self.process.start()
        theirs.close()
        self.give(task)

    def give(self, task: Entry) -> None:
        self.task, self.has_begun = task, False
        # One that died just now is found out at the next look at it
        with suppress(OSError):
            self.connection.send(task)

    def end(self, patience_s: float = 0.0) -> str:
        """End the process; returns how it ended."""
        self.process.join(patience_s)
        self.process.kill()
        self.process.join()
        self.connection.close()
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        return f"was ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")


def _heard(connection: Connection) -> tuple[Record, float] | CycleinrError | None:
    """What a process has said; None from one that has died, once all that it had said was heard."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _again(folder: BatchFolder, worker: _Worker, reason: str, failed_starts: int, tell: Tell) -> Iterator[Entry]:
    """What is to be done again of a worker that died, if not for the last time."""
    record = worker.task[1]
    if not worker.has_begun:
        if failed_starts == _STARTS:
            raise WorkerError(
                f"{_STARTS} worker processes in a row ended before they could start (the last one {reason}). "
                "Finished scans are kept. Try cycleinr upsample on one scan, and fewer workers."
            )
        _LOG.warning("A worker process %s before it was ready; another one is started.", reason)
        yield worker.task
    elif record.attempts < _ATTEMPTS:
        tell(replace(record, status=PENDING, error=f"its process {reason}"), 0.0)
        yield worker.task
    else:
        text = (
            f"The process of this scan {reason}, {_ATTEMPTS} times. If memory ran out, run fewer workers or set a "
            "lower memory limit; else the scan may be damaged."
        )
        tell(folder.write_failure(record.as_failed("WorkerLost", text)), 1.0)


def _serve(connection: Connection, folder: BatchFolder, threads: int, memory_gb: float | None) -> None:
    """A worker process: runs one job after the other until the batch is gone."""
    # Ctrl-C goes to all processes of a terminal; the batch itself ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_batch, daemon=True).start()
    logging.basicConfig(level=os.environ.get("CYCLEINR_LOG", "WARNING"), format="%(levelname)s %(name)s: %(message)s")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    keep_freed_memory()
    try:
        from ..inference import upsample  # noqa: F401
    except (ImportError, OSError) as error:
        connection.send(WorkerError(f"The engine cannot be loaded: {error}. Install cycleinr again."))
        return

    def tell(record: Record, fraction: float) -> None:
        connection.send((record, fraction))

    while True:
        try:
            job, record = connection.recv()
        except EOFError:
            return
        if job.options.memory_limit_gb is None:
            # The results are the same for any limit
            job = replace(job, options=replace(job.options, memory_limit_gb=memory_gb))
        try:
            tell(run_recorded(folder, job, record, tell), 1.0)
        except CycleinrError as error:
            connection.send(OutputError(str(error)))


def _leave_with_the_batch() -> None:
    """A batch that is killed must not leave processes that go on writing."""
    multiprocessing.parent_process().join()
    os._exit(1)


def run_on_cluster(folder: BatchFolder, tasks: Sequence[Entry], address: str, gpu_resource: str, tell: Tell) -> None:
    """Run all jobs on a Dask cluster.

    Dask hands the job of a lost worker to another one, up to its setting ``distributed.scheduler.allowed-failures``.

    Args:
        address: The Dask scheduler's, such as tcp://head:8786; or a scheduler file (.json).
        gpu_resource: Name of the resource that a job takes one of; "" for any worker.

    Raises:
        ClusterError: Distributed is not installed, the scheduler does not answer or was lost, no worker offers the
            resource, or a worker cannot run CycleINR.
        OutputError: Not even records can be written to the folder.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(f"A cluster needs {error.name}. Install it with: pip install distributed") from error
    scheduler = {"scheduler_file" if address.endswith(".json") else "address": address}
    try:
        client = Client(**scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"The Dask scheduler {address} does not answer ({type(error).__name__}). Check the address, and that the "
            "scheduler runs."
        ) from error
    with client:
        _check_resource(client, gpu_resource)
        _OnCluster(folder, client, gpu_resource, tell).run(iter(tasks))


def _check_resource(client: Client, wanted: str) -> None:
    """Refuse what would wait for ever; a cluster that has no workers yet may still get the right ones."""
    offered = client.run_on_scheduler(lambda dask_scheduler: sorted(dask_scheduler.resources))
    if wanted and wanted not in offered and client.nthreads():
        raise ClusterError(
            f"No worker of the cluster offers the resource {wanted}; there is {', '.join(offered) or 'none'}. Start "
            f'workers with --resources "{wanted}=1", or leave --gpu-resource away.'
        )


class _OnCluster:
    """What the workers have: by the results' names each job with Dask's promise of its record."""

    def __init__(self, folder: BatchFolder, client: Client, gpu_resource: str, tell: Tell):
        self.folder, self.client, self.gpu_resource, self.tell = folder, client, gpu_resource, tell
        self.arrived: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.running: dict[str, tuple[Job, Record, Future]] = {}
        self.blamed = set[str]()
        self.numbers = itertools.count()

    def run(self, tasks: Iterator[Entry]) -> None:
        self.client.subscribe_topic(self.folder.batch, lambda event: self.arrived.put(partial(self._hear, *event[1])))
        self._refill(tasks)
        while self.running:
            try:
                self.arrived.get(timeout=_SILENCE_S)()
            except queue.Empty:
                # Workers may have come since that do not offer what is asked for
                _check_resource(self.client, self.gpu_resource)
            self._refill(tasks)

    def _refill(self, tasks: Iterator[Entry]) -> None:
        """Keep the workers busy, and no more: when one dies, Dask blames every job that it had been given."""
        wanted = _WAITING_PER_THREAD * max(1, sum(self.client.nthreads().values()))
        while len(self.running) < wanted and (task := next(tasks, None)):
            self._submit(*task)

    def _submit(self, job: Job, record: Record) -> None:
        future = self.client.submit(
            _run_on_worker, self.folder, job, record, __version__,
            key=f"cycleinr-{record.batch}-{next(self.numbers)}-{record.output}",
            pure=False,
            resources={self.gpu_resource: 1} if self.gpu_resource else None,
        )  # fmt: skip
        self.running[record.output] = job, record, future
        future.add_done_callback(lambda done: self.arrived.put(partial(self._end, record.output, done)))

    def _hear(self, output: str, attempts: int, fraction: float) -> None:
        """A job has begun, or is so far; the news of an earlier attempt may come late."""
        if output not in self.running or attempts < self.running[output][1].attempts:
            return
        job, record, future = self.running[output]
        if 0 < record.attempts < attempts:
            self.tell(replace(record, status=PENDING, error="its process was lost with its worker"), 0.0)
        record = replace(record, status=STARTED, attempts=attempts)
        self.running[output] = job, record, future
        self.tell(record, fraction)

    def _end(self, output: str, future: Future) -> None:
        job, record, _ = self.running[output]
        if type(future.exception()).__name__ == "KilledWorker" and not record.attempts and output not in self.blamed:
            # It waited at workers that others killed
            self.blamed.add(output)
            self._submit(job, record)
        else:
            del self.running[output]
            self.tell(self._ended(record, future), 1.0)

    def _ended(self, record: Record, future: Future) -> Record:
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        try:
            return future.result()
        except (CancelledError, CommClosedError) as error:
            raise ClusterError(
                "The connection to the Dask scheduler was lost. Start the cluster and then the same command again; "
                "finished scans are kept."
            ) from error
        except KilledWorker:
            text = "The workers that had this scan died, one after the other. Memory may have run out, or the scan may "
            return self.folder.write_failure(record.as_failed("WorkerLost", text + "be damaged."))
        except CycleinrError:
            # Not the scan's fault but the folder's, as a full disk, or the version's; the other jobs would fail too
            raise
        except Exception as error:
            raise ClusterError(
                f"A worker of the cluster could not take a job ({type(error).__name__}: {error}). Install the same "
                "version of cycleinr and Dask on all of them."
            ) from error


def _run_on_worker(folder: BatchFolder, job: Job, record: Record, version: str) -> Record:
    """Runs on a worker: one job; tells the batch about it through Dask's event log."""
    from distributed import get_worker

    if version != __version__:
        raise ClusterError(f"A worker of the cluster has cycleinr {__version__}, this computer {version}. Install one.")
    worker = get_worker()

    def tell(record: Record, fraction: float) -> None:
        worker.log_event(folder.batch, (record.output, record.attempts, fraction))

    return run_recorded(folder, job, record, tell)
