"""A batch from its inputs to its manifest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .. import RequestError, __version__
from ..jobs import Job, make_folder
from .find import Found, find_scans
from .folder import BatchFolder, Tell, write_manifest
from .results import DONE, FAILED, PENDING, REPORT, Record, candidates, digest, occupied, part, path_inside
from .table import Line, Settings, read_table
from .workers import Entry, run_local, run_on_cluster

_MANIFEST_EVERY_S = 10.0
_MANIFEST_SHARE = 0.02


class Batch:
    """Scans, and the output folder that is theirs as long as they are made finer.

    Attributes:
        notes: A sentence about each DICOM series that was left out.
        total, kept: The number of scans, and of those that had been done before.
        left: The others.
        ran: Records of those that were run now.
    """

    def __init__(self, folder: BatchFolder, wanted: Iterable[tuple[Found, Line]], notes: list[str]):
        self.folder, self.notes = folder, notes
        self.ran: list[Record] = []
        before = folder.records()
        owners = {name: record.identity for name, record in before.items() if record.identity}
        tasks = make_jobs(wanted, folder, owners)
        self.left = [(job, record) for job, record in tasks if not folder.is_done(record, before.get(record.output))]
        self.total, self.kept = len(tasks), len(tasks) - len(self.left)
        # Results of earlier batches with other inputs stay listed
        self._rows = {record.output: record for _, record in tasks} | before
        self._rows.update((record.output, record) for _, record in self.left)
        self._due_s = 0.0

    @classmethod
    @contextmanager
    def opened(
        cls,
        inputs: Sequence[str],
        out_dir: Path,
        settings: Settings,
        needs_target: bool = False,
        readable: bool = False,
    ) -> Iterator[Batch]:
        """Find the scans, and take the output folder as long as the block lasts.

        Args:
            inputs: Image files, files of DICOM series, folders, globs, and CSV tables.
            out_dir: The output folder; made if it is missing.
            settings: For all scans, as far as a CSV says nothing else.
            needs_target: ``settings`` has no spacing of the user's, so all scans must come from CSVs that have one.
            readable: Results of DICOM series are called by date, number and description instead of a hash.

        Raises:
            OutputError: Another batch has the output folder, or it cannot be written to.
            InputError: There is no scan in an input, or a CSV cannot be read.
            RequestError: The inputs, settings or a CSV make no sense together; nothing has run.
            ModelError: Weights are missing.
        """
        root, lines, notes = out_dir.resolve(), list[Line](), list[str]()
        for source in inputs:
            if source.lower().endswith(".csv"):
                lines += read_table(Path(source), settings, needs_target)
            elif needs_target:
                raise RequestError(f"No spacing is given for {source}. Add --spacing, --ratio or --isotropic.")
            else:
                # Before it becomes an output folder, which no later batch would search
                _check_outside(Path(source), root)
                lines.append(Line(source, settings))
        make_folder(root)
        with BatchFolder.opened(root) as folder:
            wanted = [(scan, line) for line in lines for scan in scans_of(line, notes, readable)]
            for scan, _ in wanted:
                _check_outside(scan.place, root)
            yield cls(folder, wanted, notes)

    @property
    def failed(self) -> list[Record]:
        """Those of ``ran`` that failed."""
        return [record for record in self.ran if record.status == FAILED]

    def run(self, tell: Tell, workers: int = 1, cluster: str = "", gpu_resource: str = "") -> None:
        """Make all scans finer; scans that fail do not stop the others, and what was finished before is kept.

        Args:
            tell: Hears what happens, from this thread.
            workers: Processes on this computer.
            cluster, gpu_resource: Run there instead; see ``run_on_cluster``.

        Raises:
            WorkerError, ClusterError: Processes cannot be started.
        """

        def hear(record: Record, fraction: float) -> None:
            self._rows[record.output] = record
            if record.status in (DONE, FAILED):
                self.ran.append(record)
            if time.monotonic() >= self._due_s:
                self._write_manifest()
            tell(record, fraction)

        try:
            self._write_manifest()
            if cluster and self.left:
                run_on_cluster(self.folder, self.left, cluster, gpu_resource, hear)
            elif self.left:
                run_local(self.folder, self.left, workers, hear)
        finally:
            self._write_manifest()

    def _write_manifest(self) -> None:
        """Bring the manifest up to date; the more scans there are, the more rarely."""
        started = time.monotonic()
        write_manifest(self.folder, list(self._rows.values()), self.notes)
        now = time.monotonic()
        self._due_s = now + max(_MANIFEST_EVERY_S, (now - started) / _MANIFEST_SHARE)


def _check_outside(place: Path, out_dir: Path) -> None:
    if place.resolve().is_relative_to(out_dir):
        raise RequestError(
            f"The input {place} lies in the output folder, where results would be taken for scans. "
            "Choose an output folder beside the inputs, or below them."
        )


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


def make_jobs(wanted: Iterable[tuple[Found, Line]], folder: BatchFolder, owners: Mapping[str, str]) -> list[Entry]:
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
    tasks = []
    for scan, line in sorted(once.values(), key=lambda one: one[0].identity):
        own, names = scan.identity, candidates(scan.stem, line.settings.ending(scan.input), scan.identity)
        free = (name for name in names if all(n not in taken and owned.get(n, own) == own for n in occupied(name)))
        name = line.output or next(free)
        taken |= occupied(name)
        tasks.append(_entry(scan, line.settings, name, folder))
    return tasks


def _entry(scan: Found, settings: Settings, name: str, folder: BatchFolder) -> Entry:
    output = folder.root / name
    job = Job(
        scan.input, output, settings.options,
        settings.format if settings.format.startswith("dicom") else "image",
        dicom=settings.dicom,
        report=part(output, REPORT) if settings.report else None,
        series=scan.number if scan.input == scan.place else "",
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
