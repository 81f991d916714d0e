"""What a batch keeps in its output folder, and how a job's result and record get there; a kill at any moment loses no
more than the running scans.

::

    RESULT, RESULT.json            appear whole; published before they are recorded
    manifest.csv, manifest.json    composed from the records; can always be made again
    .cycleinr-batch/lock           held while a batch runs; the system releases it when its process ends, however
    .cycleinr-batch/cases/*.json   one record a result, each written whole; its hashes tell our files from the user's
    .cycleinr-batch/work/BATCH/    all that is unfinished, and whatever is written comes from there; gone when the batch
                                   is over, so that a computer that still works for it can write nothing more
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import shutil
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path

from .. import Cancelled, CycleinrError, OutputError, RequestError, __version__
from ..files.atomic import publish, rename, said_of
from ..jobs import Job, run_job
from ..result import Monitor, throttled
from . import results
from .results import DONE, FAILED, PARTS, PENDING, STARTED, Record, part

_LOG = logging.getLogger(__name__)

_NAMES = [field.name for field in fields(Record)]
COLUMNS = tuple(_NAMES[: _NAMES.index("identity")])
_OF_PROVENANCE = ("version", "torch", "model", "weights_sha256", "device")
_FORMAT = 1
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_INTERVAL_S = 1.0
_DERIVED = "All results are derived by CycleINR, not acquired. Not for primary diagnosis."

Tell = Callable[[Record, float], None]
"""Hears how a job stands, and which fraction of it is done; of one that waits again, ``error`` says what befell it."""


class BatchFolder:
    """The output folder of batches, for a process that works for one of them."""

    def __init__(self, root: Path, batch: str):
        self.root, self.batch = root, batch
        self._cases, self._work = self.root / results.STATE / "cases", self.root / results.STATE / "work"

    @classmethod
    @contextmanager
    def opened(cls, root: Path) -> Iterator[BatchFolder]:
        """Take the folder for a new batch, as long as the block lasts, and clear away what a killed one left.

        An OutputError says that another batch has it, or that it cannot be written to.
        """
        from filelock import FileLock, Timeout

        folder, lock = cls(root, uuid.uuid4().hex), FileLock(root / results.STATE / "lock", timeout=0)
        try:
            folder._cases.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            shutil.rmtree(folder._work, ignore_errors=True)
            (folder._work / folder.batch).mkdir(parents=True)
        except Timeout:
            raise OutputError(
                f"Another batch is writing to {root}. Wait until it ends, or choose another output folder."
            ) from None
        except OSError as error:
            raise OutputError(
                f"The output folder {root} cannot be used ({error.strerror}). Check its permissions and the free space."
            ) from error
        with lock:
            try:
                yield folder
            finally:
                shutil.rmtree(folder._work, ignore_errors=True)

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """A fresh folder on the output folder's disk, gone when the block ends.

        Raises:
            Cancelled: The batch is over, or another one has the output folder: nothing may be written for it.
            OutputError: It cannot be made.
        """
        try:
            place = Path(tempfile.mkdtemp(dir=self._work / self.batch))
        except FileNotFoundError as error:
            raise Cancelled("The batch that this scan belonged to has ended; nothing was written.") from error
        except OSError as error:
            raise OutputError(
                f"Nothing can be written to {self.root} ({error.strerror}). Check its permissions and the free space."
            ) from error
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def write(self, path: Path, text: str) -> None:
        """Write a text file of the batch's own, whole; errors as those of ``workplace``."""
        with self.workplace() as place:
            staged = place / path.name
            try:
                # Paths that are not UTF-8 keep their bytes.
                staged.write_bytes(text.encode("utf-8", "surrogateescape"))
                publish(staged, path, overwrite=True)
            except OSError as error:
                raise OutputError(f"{path} could not be written ({error.strerror}). Check the free space.") from error

    def write_record(self, record: Record) -> None:
        """Remember how a job stands; errors as those of ``workplace``."""
        self.write(self._record_path(record.output), json.dumps(asdict(record), indent=1) + "\n")

    def write_failure(self, record: Record) -> Record:
        """Remember that a job has failed, and what batches made that still lies there; returns what is remembered."""
        # Else the name is the user's, and a record would make it ours
        if self.knows(record.output):
            before = self.read_record(record.output)
            record = replace(record, earlier=before.hashes if before else record.earlier)
            self.write_record(record)
        return record

    def read_record(self, name: str) -> Record | None:
        """What is known about a result; None if no batch ever had one of this name."""
        return self._read(self._record_path(name))

    def knows(self, name: str) -> bool:
        """Whether a batch ever made, or began to make, a result of this name."""
        return self._record_path(name).is_file()

    def records(self) -> dict[str, Record]:
        """All that is known, by the results' names."""
        found = (self._read(path) for path in sorted(self._cases.glob("*.json")))
        return {record.output: record for record in found if record is not None}

    def is_done(self, wanted: Record, before: Record | None) -> bool:
        """Whether what is wanted is there already, whole and as it was recorded; what was added does not count."""
        if before is None or before.status != DONE or not wanted.fingerprint:
            return False
        if (before.key, before.fingerprint) != (wanted.key, wanted.fingerprint):
            return False
        try:
            result = results.path_inside(self.root, before.output)
            if not before.marks:
                return results.is_as_of_old(before, result)
            now = results.marks_of(result, before.marks)
        except (RequestError, OSError):
            # A link that leads elsewhere, or a file that may not be read: not what was recorded.
            return False
        if any(end not in now or now[end].sha256 != mark.sha256 for end, mark in before.marks.items()):
            return False
        marks = {end: now[end] for end in before.marks}
        if marks != before.marks:
            # Only times of change differ. Noted, so that not every run has to hash it all again.
            self.write_record(replace(before, marks=marks))
        return True

    def _record_path(self, name: str) -> Path:
        return self._cases / f"{results.digest(name)[:24]}.json"

    def _read(self, path: Path) -> Record | None:
        try:
            return Record.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            # Only a failing disk can do this
            _LOG.warning("The record %s cannot be read (%s); its job is done again.", path, type(error).__name__)
            return None


def write_manifest(folder: BatchFolder, records: Sequence[Record], notes: Sequence[str]) -> None:
    """Compose manifest.csv and manifest.json, each written whole; ``notes`` say what was left out."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(record, column)) for column in COLUMNS] for record in records)
    folder.write(folder.root / f"{results.MANIFEST}.csv", text.getvalue())
    counts = Counter(record.status for record in records)
    content = {
        "format": _FORMAT,
        "software": "CycleINR",
        "version": __version__,
        "written": results.timestamp(),
        "derived": _DERIVED,
        "counts": {status: counts[status] for status in (DONE, FAILED, STARTED, PENDING)},
        "notes": list(notes),
        "cases": [asdict(record) for record in records],
    }
    folder.write(folder.root / f"{results.MANIFEST}.json", json.dumps(content, indent=1) + "\n")


def _cell(value: object) -> object:
    """A value as spreadsheets leave it alone: text that begins like a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def run_recorded(folder: BatchFolder, job: Job, wanted: Record, tell: Tell = lambda *news: None) -> Record:
    """Run one job, whose record is as it was made; whatever is wrong with it becomes part of the record.

    A job that is recorded as done already is not run again, so that a job may be handed out twice.

    Raises:
        Cancelled: The batch is over; nothing was written.
        OutputError: The record itself cannot be written.
    """
    before = folder.read_record(wanted.output)
    record = replace(wanted, status=STARTED, attempts=1)
    if before is not None:
        if folder.is_done(wanted, before):
            return before
        again = before.batch == folder.batch and before.status == STARTED
        record = replace(record, attempts=1 + again * before.attempts, earlier=before.hashes)
    started = time.monotonic()
    try:
        record = _compute(folder, job, record, tell)
    except Cancelled:
        raise
    except Exception as error:
        record = record.as_failed(*_told(error, wanted.output))
    record = replace(record, seconds=round(time.monotonic() - started, 3))
    if record.status != DONE:
        return folder.write_failure(record)
    folder.write_record(record)
    return record


def _told(error: Exception, output: str) -> tuple[str, str]:
    """Kind and text of an error for the record; an unforeseen one's own text may quote a header, so it is left out."""
    kind = type(error).__name__
    if isinstance(error, CycleinrError):
        return kind, str(error)
    if isinstance(error, MemoryError):
        return "OutOfMemoryError", "The computer ran out of memory. Run fewer workers, or set a lower memory limit."
    place, where = traceback.extract_tb(error.__traceback__)[-1], traceback.format_tb(error.__traceback__)
    _LOG.debug("Unforeseen %s in the job of %s:\n%s", kind, output, "".join(where))
    text = f"Unforeseen {kind} in {Path(place.filename).name}, line {place.lineno}. "
    return kind, text + "Run cycleinr upsample on this scan alone to see all of it."


def _compute(folder: BatchFolder, job: Job, record: Record, tell: Tell) -> Record:
    """Make the result in a folder of its own and move it into place; returns its record."""
    target = results.path_inside(folder.root, record.output)
    if not folder.knows(record.output) and any(os.path.lexists(part(target, end)) for end in PARTS):
        raise OutputError(
            f"{target.name}, its .json or its report exists already in the output folder, and no batch made it. It was "
            "left as it was. Move it away, or choose another output folder."
        )
    # Before anything has the result's name it is known to be ours, and before its parts get theirs their hashes are
    folder.write_record(record)
    tell(record, 0.0)
    monitor = Monitor(throttled(lambda progress: tell(record, float(progress.fraction)), _INTERVAL_S))
    with folder.workplace() as place, said_of(place, target.parent):
        staged = place / target.name
        report = None if job.report is None else part(staged, results.REPORT)
        result = run_job(replace(job, output=staged, report=report), monitor)
        made = {name: result.provenance.get(name, "") for name in _OF_PROVENANCE}
        done = replace(record, **made, bytes=results.size_of(staged), marks=results.marks_of(staged))
        folder.write_record(done)
        try:
            kept = _publish(staged, target, place, done.hashes)
        except OSError as error:
            raise OutputError(
                f"{target} could not be put into place ({error.strerror}). Check the permissions of the folder."
            ) from error
    notes = [*result.warnings, *(f"What was there before was kept as {name}: no batch made it." for name in kept)]
    return replace(done, status=DONE, finished=results.timestamp(), earlier=(), notes=" ".join(notes))


def _publish(staged: Path, target: Path, place: Path, hashes: tuple[str, ...]) -> list[str]:
    """Move result, description and report from their place to where they belong.

    What batches made before, known by the hashes, is replaced; anything else gets another name, which is returned.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    for end in PARTS:
        made, wanted = part(staged, end), part(target, end)
        if os.path.lexists(wanted) and not results.is_ours(target, end, hashes):
            kept.append(_keep(wanted))
        if wanted.is_dir():
            rename(wanted, place / f"replaced{end}")
        if made.exists():
            rename(made, wanted)
    return kept


def _keep(path: Path) -> str:
    """Give what is there another name, on the same disk; returns it."""
    number, kept = 1, f"{path.name}.kept"
    while os.path.lexists(path.with_name(kept)):
        number += 1
        kept = f"{path.name}.kept-{number}"
    rename(path, path.with_name(kept))
    return kept
