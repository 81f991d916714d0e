"""A batch from its inputs to its manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import RequestError
from ..jobs import make_folder
from ..memory import available_memory_bytes, limit_bytes
from .cases import Case, Wanted, make_cases, read_table, wanted_of_rows
from .cluster import Cluster, run_on_cluster
from .execute import Order
from .find import find_scans
from .folder import BatchFolder, write_manifest
from .local import run_local
from .record import FAILED, PENDING, STARTED, Event, Finished, Record, Started
from .settings import Settings

_MANIFEST_EVERY_S = 10.0
_MANIFEST_SHARE = 0.02
_MEMORY_SHARE = 0.5


@dataclass(frozen=True)
class BatchRequest:
    """What to run and where.

    Attributes:
        inputs: Image files, files of DICOM series, folders, globs, and CSV tables.
        out_dir: The output folder; made if it is missing.
        settings: For all scans, as far as a CSV says nothing else.
        needs_target: ``settings`` has no spacing of the user's, so that all scans must come from CSVs that have one.
        workers: Processes on this computer.
        cluster: Run there instead.
        readable_names: Results of DICOM series are called by date, number and description instead of a hash.
    """

    inputs: Sequence[str]
    out_dir: Path
    settings: Settings
    needs_target: bool = False
    workers: int = 1
    cluster: Cluster | None = None
    readable_names: bool = False


@dataclass(frozen=True)
class Summary:
    """How a batch ended.

    Attributes:
        ran: Records of the cases that were run now.
        kept: Number of cases that had been done before.
        notes: What was left out.
    """

    ran: tuple[Record, ...]
    kept: int
    notes: tuple[str, ...]

    @property
    def failed(self) -> tuple[Record, ...]:
        return tuple(record for record in self.ran if record.status == FAILED)


@dataclass(frozen=True)
class Outset:
    """What a batch begins with, told before the first case."""

    total: int
    kept: int
    notes: tuple[str, ...]


def run_batch(request: BatchRequest, tell: Callable[[Outset | Event], None]) -> Summary:
    """Make all scans finer; scans that fail do not stop the others, and what was finished before is kept.

    Args:
        tell: Hears what happens, from this thread.

    Raises:
        OutputError: Another batch has the output folder, or it cannot be written to.
        InputError: There is no scan in an input, or a CSV cannot be read.
        RequestError: The inputs, settings or a CSV make no sense together; nothing has run.
        ModelError: Weights are missing.
        WorkerError, ClusterError: Processes cannot be started.
    """
    if request.workers < 1:
        raise RequestError(f"The number of workers is {request.workers}. Give 1 or more.")
    make_folder(request.out_dir)
    out_dir = request.out_dir.resolve()
    with BatchFolder.opened(out_dir) as folder:
        records = folder.records()
        notes: list[str] = []
        owners = {name: record.identity for name, record in records.items() if record.identity}
        cases = make_cases(_wanted(request, out_dir, notes), out_dir, owners)
        ledger = _Ledger(folder, cases, records, notes, tell)
        orders = [Order(str(out_dir), folder.batch, case) for case in _with_memory(ledger.open_cases, request)]
        tell(Outset(len(cases), len(cases) - len(orders), tuple(notes)))
        try:
            ledger.write()
            if request.cluster and orders:
                run_on_cluster(folder, orders, request.cluster, ledger)
            elif orders:
                run_local(folder, orders, request.workers, ledger)
        finally:
            ledger.write()
    return Summary(tuple(ledger.ran), len(cases) - len(orders), tuple(notes))


class _Ledger:
    """The manifest's rows while a batch runs."""

    def __init__(
        self,
        folder: BatchFolder,
        cases: Sequence[Case],
        records: dict[str, Record],
        notes: Sequence[str],
        tell: Callable[[Event], None],
    ):
        self.folder, self.notes, self.tell = folder, notes, tell
        self.open_cases = [case for case in cases if not folder.is_done(case, records.get(case.output))]
        still_open = {case.output for case in self.open_cases}
        self.rows = {
            case.output: Record.of(case, PENDING) if case.output in still_open else records[case.output]
            for case in cases
        }
        # Results of earlier batches with other inputs stay listed.
        self.rows.update((name, record) for name, record in records.items() if name not in self.rows)
        self.ran: list[Record] = []
        self._due_s = time.monotonic() + _MANIFEST_EVERY_S

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.rows[event.output] = replace(self.rows[event.output], status=STARTED)
        if isinstance(event, Finished):
            self.rows[event.record.output] = event.record
            self.ran.append(event.record)
        if time.monotonic() >= self._due_s:
            self.write()
        self.tell(event)

    def write(self) -> None:
        """Bring the manifest up to date; the more cases there are, the more rarely."""
        started = time.monotonic()
        write_manifest(self.folder, list(self.rows.values()), self.notes)
        took = time.monotonic() - started
        self._due_s = time.monotonic() + max(_MANIFEST_EVERY_S, took / _MANIFEST_SHARE)


def _wanted(request: BatchRequest, out_dir: Path, notes: list[str]) -> list[Wanted]:
    wanted = []
    for source in request.inputs:
        if source.lower().endswith(".csv"):
            rows = read_table(Path(source), request.settings, request.needs_target)
            wanted += wanted_of_rows(rows, notes, request.readable_names)
        elif request.needs_target:
            raise RequestError(f"No spacing is given for {source}. Add --spacing, --ratio or --isotropic.")
        else:
            wanted += [Wanted(scan, request.settings) for scan in find_scans(source, notes, request.readable_names)]
    for one in wanted:
        if one.scan.place.resolve().is_relative_to(out_dir):
            raise RequestError(
                f"The input {one.scan.place} lies in the output folder, where results would be taken for scans. "
                "Choose an output folder beside the inputs, or below them."
            )
    return wanted


def _with_memory(cases: Sequence[Case], request: BatchRequest) -> list[Case]:
    """Share the memory that is free among the workers of this computer; the results are the same for any limit."""
    if request.cluster or request.workers == 1:
        return list(cases)
    share_gb = _MEMORY_SHARE * available_memory_bytes() / min(request.workers, max(1, len(cases))) / 1e9
    shared = []
    for case in cases:
        options = case.settings.options
        limit = min(share_gb, limit_bytes(None) / 1e9) if options.memory_limit_gb is None else options.memory_limit_gb
        settings = replace(case.settings, options=replace(options, memory_limit_gb=limit))
        shared.append(replace(case, settings=settings))
    return shared
