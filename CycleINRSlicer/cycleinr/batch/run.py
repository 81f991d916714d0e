"""A batch from its inputs to its manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import __version__
from ..computer import available_memory_bytes, limit_bytes
from ..errors import RequestError
from ..files import image_suffix
from ..jobs import Job, make_folder
from .cluster import Cluster, run_on_cluster
from .find import Found, find_scans
from .folder import BatchFolder, write_manifest
from .local import run_local
from .names import REPORT, candidates, occupied, part, path_inside
from .record import FAILED, PENDING, STARTED, Event, Finished, Record, Started
from .settings import Settings, digest
from .table import Line, read_table

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
class Outset:
    """Told before the first job: the number of scans, of those that had been done before, and what was left out."""

    total: int
    kept: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """How a batch ended: records of the jobs that were run now, and the number of those that had been done before."""

    ran: tuple[Record, ...]
    kept: int

    @property
    def failed(self) -> tuple[Record, ...]:
        return tuple(record for record in self.ran if record.status == FAILED)


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
    with BatchFolder.opened(request.out_dir.resolve()) as folder:
        before, notes = folder.records(), list[str]()
        owners = {name: record.identity for name, record in before.items() if record.identity}
        jobs = make_jobs(_wanted(request, folder.root, notes), folder, owners)
        left = [(job, record) for job, record in jobs if not folder.is_done(record, before.get(record.output))]
        rows = {record.output: record for _, record in jobs}
        # Results of earlier batches with other inputs stay listed
        rows.update((name, before[name]) for name in before.keys() - {record.output for _, record in left})
        manifest = _Manifest(folder, rows, notes, tell)
        tell(Outset(len(jobs), len(jobs) - len(left), tuple(notes)))
        try:
            manifest.write()
            if request.cluster and left:
                run_on_cluster(folder, left, request.cluster, manifest)
            elif left:
                run_local(folder, _sharing_memory(left, request.workers), request.workers, manifest)
        finally:
            manifest.write()
    return Summary(tuple(manifest.ran), len(jobs) - len(left))


class _Manifest:
    """The manifest while a batch runs."""

    def __init__(self, folder: BatchFolder, rows: dict[str, Record], notes: list[str], tell: Callable[[Event], None]):
        self.folder, self.rows, self.notes, self.tell = folder, rows, notes, tell
        self.ran: list[Record] = []
        self._due_s = 0.0

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
        """Bring the manifest up to date; the more scans there are, the more rarely."""
        started = time.monotonic()
        write_manifest(self.folder, list(self.rows.values()), self.notes)
        now = time.monotonic()
        self._due_s = now + max(_MANIFEST_EVERY_S, (now - started) / _MANIFEST_SHARE)


def _wanted(request: BatchRequest, out_dir: Path, notes: list[str]) -> list[tuple[Found, Line]]:
    lines = list[Line]()
    for source in request.inputs:
        if source.lower().endswith(".csv"):
            lines += read_table(Path(source), request.settings, request.needs_target)
        elif request.needs_target:
            raise RequestError(f"No spacing is given for {source}. Add --spacing, --ratio or --isotropic.")
        else:
            lines.append(Line(source, request.settings))
    wanted = [(scan, line) for line in lines for scan in scans_of(line, notes, request.readable_names)]
    for scan, _ in wanted:
        if scan.place.resolve().is_relative_to(out_dir):
            raise RequestError(
                f"The input {scan.place} lies in the output folder, where results would be taken for scans. "
                "Choose an output folder beside the inputs, or below them."
            )
    return wanted


def scans_of(line: Line, notes: list[str], readable: bool = False) -> list[Found]:
    """The scans that a line means, as ``find_scans`` finds them; RequestError where its words fit none or several."""
    scans = find_scans(line.source, notes, readable)
    if line.series:
        numbers = [scan.number for scan in scans if scan.number]
        scans = [scan for scan in scans if f"{scan.number}.".startswith(f"{line.series}.")]
        if not scans:
            there = ", ".join(numbers) or "none"
            raise RequestError(f"{line.where}: there is no series {line.series} that can be made finer, but {there}.")
    if line.output and len(scans) > 1:
        raise RequestError(
            f"{line.where}: the output {line.output} is for one scan, and the input holds {len(scans)}. "
            "Give one file of the series that is meant, or leave the output empty."
        )
    return scans if line.frame is None else [scan.of_frame(line.frame) for scan in scans]


def make_jobs(
    wanted: Iterable[tuple[Found, Line]], folder: BatchFolder, owners: Mapping[str, str]
) -> list[tuple[Job, Record]]:
    """Give each scan its output: what makes it, and a record that it is not done yet.

    The same scan with the same settings is taken once. A plain name that is taken, or that an earlier run gave to
    another scan, is completed by a hash of the scan's path, so that names do not depend on what else is in a batch.

    Args:
        owners: Identity of the scan that each earlier output was made of, by the output's name.

    Raises:
        RequestError: A CSV gives one name twice, or one that leads out of the folder.
        ModelError: Weights are missing.
    """
    once = {(scan.identity, line.settings.sha256, line.output): (scan, line) for scan, line in wanted}
    taken: set[str] = set()
    for _, line in once.values():
        if line.output:
            if taken & occupied(line.output):
                raise RequestError(f"The output {line.output} is given to two scans. Give each a name of its own.")
            taken |= occupied(line.output)
            # A name that is made for a scan fails with its job alone
            path_inside(folder.root, line.output)
    owned = {name.casefold(): identity for name, identity in owners.items()}
    jobs = []
    for scan, line in sorted(once.values(), key=lambda one: one[0].identity):
        name = line.output or next(
            name
            for name in candidates(scan.stem, line.settings.ending(scan.input), scan.identity)
            if not taken & occupied(name)
            and all(owned.get(each, scan.identity) == scan.identity for each in occupied(name))
        )
        taken |= occupied(name)
        jobs.append(_job(scan, line.settings, name, folder))
    return jobs


def _job(scan: Found, settings: Settings, name: str, folder: BatchFolder) -> tuple[Job, Record]:
    output = folder.root / name
    job = Job(
        scan.input, output, settings.options,
        "image" if image_suffix(name) else settings.format if settings.format.startswith("dicom") else "dicom",
        dicom=settings.dicom,
        report=part(output, REPORT) if settings.report else None,
        series=scan.number if scan.is_packed else "",
        frame=scan.frame,
    )  # fmt: skip
    record = Record(
        name, PENDING, str(scan.place), scan.series,
        version=__version__,
        settings_sha256=settings.sha256,
        identity=scan.identity,
        key=digest([scan.identity, settings.content, settings.weights_sha256()]),
        fingerprint=scan.fingerprint(),
        batch=folder.batch,
        settings=settings.content,
    )  # fmt: skip
    return job, record


def _sharing_memory(jobs: Sequence[tuple[Job, Record]], workers: int) -> list[tuple[Job, Record]]:
    """Share the memory that is free among the workers of this computer; the results are the same for any limit."""
    if workers == 1:
        return list(jobs)
    share_gb = min(_MEMORY_SHARE * available_memory_bytes() / min(workers, len(jobs)), limit_bytes(None)) / 1e9
    shared = []
    for job, record in jobs:
        if job.options.memory_limit_gb is None:
            job = replace(job, options=replace(job.options, memory_limit_gb=share_gb))
        shared.append((job, record))
    return shared
