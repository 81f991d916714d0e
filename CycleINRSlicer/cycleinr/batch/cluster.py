"""The same cases on the workers of a Dask cluster that runs already.

Inputs and the output folder must have the same paths on all computers. The workers write results and records
themselves; only a case's description and its record travel.
"""

from __future__ import annotations

import os
import queue
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ClusterError, CycleinrError
from ..monitor import Monitor, Progress, throttled
from .execute import Order, run_case
from .folder import BatchFolder
from .record import Advanced, Event, Finished, Lost, Record, Started

if TYPE_CHECKING:
    from distributed import Client, Future

_TOPIC = "cycleinr-batch"
_CONNECT_S = 30
_WAITING_PER_THREAD = 2
_SILENCE_S = 10
_PROGRESS_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Cluster:
    """Where to run.

    Attributes:
        address: The Dask scheduler's, such as tcp://head:8786; or a scheduler file (.json).
        gpu_resource: Name of the resource that a case takes one of, as workers were started with ``--resources
            "GPU=1"``; "" for any worker.
    """

    address: str
    gpu_resource: str = ""


def run_on_cluster(
    folder: BatchFolder, orders: Sequence[Order], cluster: Cluster, tell: Callable[[Event], None]
) -> None:
    """Run all orders; returns when each has a record.

    Dask hands the case of a lost worker to another one, up to its setting ``distributed.scheduler.allowed-failures``.

    Args:
        tell: Called from this thread only.

    Raises:
        ClusterError: Distributed is not installed, the scheduler does not answer or was lost, no worker offers the
            resource, or a worker cannot run CycleINR.
        OutputError: Not even records can be written to the folder.
    """
    with _connected(cluster) as client:
        _check_resource(client, cluster.gpu_resource)
        _Run(folder, client, cluster, tell).run(iter(orders))


def _connected(cluster: Cluster) -> Client:
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(f"A cluster needs {error.name}. Install it with: pip install 'cycleinr[batch]'") from error
    try:
        if cluster.address.endswith(".json"):
            return Client(scheduler_file=cluster.address, timeout=_CONNECT_S, set_as_default=False)
        return Client(cluster.address, timeout=_CONNECT_S, set_as_default=False)
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
    def __init__(self, folder: BatchFolder, client: Client, cluster: Cluster, tell: Callable[[Event], None]):
        self.folder, self.client, self.cluster, self.tell = folder, client, cluster, tell
        self.arrived: queue.SimpleQueue = queue.SimpleQueue()
        self.running: dict[str, tuple[Order, Future]] = {}
        self.begun: set[str] = set()

    def run(self, orders: Iterator[Order]) -> None:
        self.client.subscribe_topic(_TOPIC, lambda event: self.arrived.put(event[1]))
        try:
            self._refill(orders)
            while self.running:
                try:
                    self._hear(self.arrived.get(timeout=_SILENCE_S))
                except queue.Empty:
                    # Workers may have come since that do not offer what is asked for.
                    _check_resource(self.client, self.cluster.gpu_resource)
                self._refill(orders)
        finally:
            self.client.unsubscribe_topic(_TOPIC)

    def _refill(self, orders: Iterator[Order]) -> None:
        """Keep the workers busy, and no more: when one dies, Dask blames every case that it had been given."""
        wanted = _WAITING_PER_THREAD * max(1, sum(self.client.nthreads().values()))
        while len(self.running) < wanted and (order := next(orders, None)):
            future = self.client.submit(
                run_order,
                order.to_json(),
                key=f"cycleinr-{order.batch}-{order.case.key[:16]}-{len(self.begun)}-{order.case.output}",
                pure=False,
                resources={self.cluster.gpu_resource: 1} if self.cluster.gpu_resource else None,
            )
            self.running[order.case.output] = order, future
            future.add_done_callback(lambda _, output=order.case.output: self.arrived.put({"ended": output}))

    def _hear(self, message: dict) -> None:
        output = message.get("ended") or message["output"]
        # Messages of another batch on the same cluster, or late ones, are about nothing that we wait for.
        if output not in self.running or message.get("batch", self.folder.batch) != self.folder.batch:
            return
        if "ended" in message:
            order, future = self.running.pop(output)
            self.tell(Finished(self._record(order, future)))
        elif "pid" in message:
            if output in self.begun:
                self.tell(Lost(output, "was lost with its worker"))
            self.begun.add(output)
            self.tell(Started(output, message["pid"], message["host"]))
        else:
            self.tell(Advanced(output, message["phase"], message["fraction"]))

    def _record(self, order: Order, future: Future) -> Record:
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        try:
            return Record.from_json(future.result())
        except (CancelledError, CommClosedError) as error:
            raise ClusterError(
                f"The connection to the Dask scheduler {self.cluster.address} was lost. Start the cluster and then the "
                "same command again; finished cases are kept."
            ) from error
        except ImportError as error:
            text = f"A worker of the cluster lacks {error.name}. Install cycleinr on all of them."
            raise ClusterError(text) from error
        except KilledWorker:
            text = "The workers that had this case died, one after the other. Memory may have run out, or the scan may "
            record = Record.of(order.case, "", order.batch).as_failed("WorkerLost", text + "be damaged.")
            return self.folder.write_failure(record)
        except CycleinrError:
            # Not the scan's fault but the folder's, as a full disk; the other cases would fail too.
            raise
        except Exception as error:
            raise ClusterError(
                f"A worker of the cluster could not take a case ({type(error).__name__}: {error}). Install the same "
                "version of cycleinr and Dask on all of them."
            ) from error


def run_order(content: dict) -> dict:
    """Runs on a worker: one case; tells the batch about it through Dask's event log."""
    from distributed import get_worker

    order, worker = Order.from_json(content), get_worker()
    about = {"batch": order.batch, "output": order.case.output}

    def report(progress: Progress) -> None:
        worker.log_event(_TOPIC, {**about, "phase": progress.phase, "fraction": round(progress.fraction, 4)})

    worker.log_event(_TOPIC, {**about, "pid": os.getpid(), "host": socket.gethostname()})
    return run_case(order, Monitor(throttled(report, _PROGRESS_INTERVAL_S))).to_json()
