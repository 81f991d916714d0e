"""The same jobs on the workers of a Dask cluster that runs already.

Inputs and the output folder must have the same paths on all computers. The workers write results and records
themselves; only a job and its record travel.
"""

from __future__ import annotations

import itertools
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import ClusterError, CycleinrError
from ..jobs import Job
from ..result import Monitor, Progress, throttled
from .execute import run_recorded
from .folder import BatchFolder
from .record import Advanced, Event, Finished, Lost, Record, Started

if TYPE_CHECKING:
    from distributed import Client, Future

_TOPIC, _WAITING_PER_THREAD = "cycleinr-batch", 2
_CONNECT_S, _SILENCE_S, _PROGRESS_INTERVAL_S = 30, 10, 1.0


@dataclass(frozen=True)
class Cluster:
    """Where to run.

    Attributes:
        address: The Dask scheduler's, such as tcp://head:8786; or a scheduler file (.json).
        gpu_resource: Name of the resource that a job takes one of, as workers were started with ``--resources
            "GPU=1"``; "" for any worker.
    """

    address: str
    gpu_resource: str = ""


def run_on_cluster(
    folder: BatchFolder, jobs: Sequence[tuple[Job, Record]], cluster: Cluster, tell: Callable[[Event], None]
) -> None:
    """Run all jobs; returns when each has a record.

    Dask hands the job of a lost worker to another one, up to its setting ``distributed.scheduler.allowed-failures``.

    Args:
        tell: Called from this thread only.

    Raises:
        ClusterError: Distributed is not installed, the scheduler does not answer or was lost, no worker offers the
            resource, or a worker cannot run CycleINR.
        OutputError: Not even records can be written to the folder.
    """
    with _connected(cluster) as client:
        _check_resource(client, cluster.gpu_resource)
        run = _Run(folder, client, cluster, tell)
        client.subscribe_topic(_TOPIC, lambda event: run.arrived.put(event[1]))
        try:
            run.until_done(iter(jobs))
        finally:
            client.unsubscribe_topic(_TOPIC)


def _connected(cluster: Cluster) -> Client:
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(f"A cluster needs {error.name}. Install it with: pip install 'cycleinr[batch]'") from error
    scheduler = {"scheduler_file" if cluster.address.endswith(".json") else "address": cluster.address}
    try:
        return Client(**scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"The Dask scheduler {cluster.address} does not answer ({type(error).__name__}). Check the address, and "
            "that the scheduler runs."
        ) from error


def _check_resource(client: Client, wanted: str) -> None:
    """Refuse what would wait for ever; a cluster that has no workers yet may still get the right ones."""
    offered = client.run_on_scheduler(lambda dask_scheduler: sorted(dask_scheduler.resources))
    if wanted and wanted not in offered and client.nthreads():
        raise ClusterError(
            f"No worker of the cluster offers the resource {wanted}; there is {', '.join(offered) or 'none'}. Start "
            f'workers with --resources "{wanted}=1", or leave --gpu-resource away.'
        )


class _Run:
    """What the workers have: by the results' names each job with Dask's promise of its record."""

    def __init__(self, folder: BatchFolder, client: Client, cluster: Cluster, tell: Callable[[Event], None]):
        self.folder, self.client, self.cluster, self.tell = folder, client, cluster, tell
        self.arrived: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self.running: dict[str, tuple[Job, Record, Future]] = {}
        self.begun, self.blamed = set[str](), set[str]()
        self.numbers = itertools.count()

    def until_done(self, jobs: Iterator[tuple[Job, Record]]) -> None:
        self._refill(jobs)
        while self.running:
            try:
                self._take(self.arrived.get(timeout=_SILENCE_S))
            except queue.Empty:
                # Workers may have come since that do not offer what is asked for
                _check_resource(self.client, self.cluster.gpu_resource)
            self._refill(jobs)

    def _refill(self, jobs: Iterator[tuple[Job, Record]]) -> None:
        """Keep the workers busy, and no more: when one dies, Dask blames every job that it had been given."""
        wanted = _WAITING_PER_THREAD * max(1, sum(self.client.nthreads().values()))
        while len(self.running) < wanted and (task := next(jobs, None)):
            self._submit(*task)

    def _submit(self, job: Job, record: Record) -> None:
        future = self.client.submit(
            _run_on_worker, self.folder, job, record, __version__,
            key=f"cycleinr-{record.batch}-{next(self.numbers)}-{record.output}",
            pure=False,
            resources={self.cluster.gpu_resource: 1} if self.cluster.gpu_resource else None,
        )  # fmt: skip
        self.running[record.output] = job, record, future
        future.add_done_callback(lambda _: self.arrived.put({"ended": record.output}))

    def _take(self, message: dict) -> None:
        output = message.get("ended") or message["output"]
        # Messages of another batch on the same cluster, or late ones, are about nothing that we wait for
        if output not in self.running or message.get("batch", self.folder.batch) != self.folder.batch:
            return
        if "ended" in message:
            job, record, future = self.running.pop(output)
            if type(future.exception()).__name__ == "KilledWorker" and output not in self.begun | self.blamed:
                # It waited at workers that others killed
                self.blamed.add(output)
                self._submit(job, record)
            else:
                self.tell(Finished(self._ended(record, future)))
        elif "pid" in message:
            if output in self.begun:
                self.tell(Lost(output, "was lost with its worker"))
            self.begun.add(output)
            self.tell(Started(output, message["pid"]))
        else:
            self.tell(Advanced(output, message["phase"], message["fraction"]))

    def _ended(self, record: Record, future: Future) -> Record:
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        try:
            return future.result()
        except (CancelledError, CommClosedError) as error:
            raise ClusterError(
                f"The connection to the Dask scheduler {self.cluster.address} was lost. Start the cluster and then the "
                "same command again; finished scans are kept."
            ) from error
        except ImportError as error:
            text = f"A worker of the cluster lacks {error.name}. Install cycleinr on all of them."
            raise ClusterError(text) from error
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
    worker, about = get_worker(), {"batch": folder.batch, "output": record.output}

    def report(progress: Progress) -> None:
        worker.log_event(_TOPIC, {**about, "phase": progress.phase, "fraction": progress.fraction})

    worker.log_event(_TOPIC, {**about, "pid": os.getpid()})
    return run_recorded(folder, job, record, Monitor(throttled(report, _PROGRESS_INTERVAL_S)))
