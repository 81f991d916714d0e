"""What a batch keeps in its output folder; a kill at any moment loses no more than the running scans.

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
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path

from .. import Cancelled, OutputError, RequestError, __version__
from ..files.atomic import publish
from .results import (
    DONE,
    FAILED,
    MANIFEST,
    PENDING,
    STARTED,
    STATE,
    Record,
    digest,
    is_as_of_old,
    marks_of,
    path_inside,
    timestamp,
)

_LOG = logging.getLogger(__name__)

_NAMES = [field.name for field in fields(Record)]
COLUMNS = tuple(_NAMES[: _NAMES.index("identity")])
_FORMAT = 1
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_DERIVED = "All results are derived by CycleINR, not acquired. Not for primary diagnosis."


class BatchFolder:
    """The output folder of batches, for a process that works for one of them."""

    def __init__(self, root: Path, batch: str):
        self.root, self.batch = root, batch
        self._cases, self._work = self.root / STATE / "cases", self.root / STATE / "work"

    @classmethod
    @contextmanager
    def opened(cls, root: Path) -> Iterator[BatchFolder]:
        """Take the folder for a new batch, as long as the block lasts, and clear away what a killed one left.

        Raises:
            OutputError: Another batch has it, or it cannot be written to.
        """
        from filelock import FileLock, Timeout

        folder, lock = cls(root, uuid.uuid4().hex), FileLock(root / STATE / "lock", timeout=0)
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
        """Remember that a job has failed, and what still lies under its result's name that batches made.

        Returns:
            The record as it is kept.
        """
        # Else the name is the user's, and a record would make it ours
        if self.knows(record.output):
            record = record.after(self.read_record(record.output))
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
            result = path_inside(self.root, before.output)
            if not before.marks:
                return is_as_of_old(before, result)
            now = marks_of(result, before.marks)
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
        return self._cases / f"{digest(name)[:24]}.json"

    def _read(self, path: Path) -> Record | None:
        try:
            return Record.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            # Only a failing disk can do this
            _LOG.warning("The record %s cannot be read (%s); its job is done again.", path, type(error).__name__)
            return None


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can be asked to (not on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_manifest(folder: BatchFolder, records: Sequence[Record], notes: Sequence[str]) -> None:
    """Compose manifest.csv and manifest.json, each written whole; ``notes`` say what was left out."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(record, column)) for column in COLUMNS] for record in records)
    folder.write(folder.root / f"{MANIFEST}.csv", text.getvalue())
    counts = Counter(record.status for record in records)
    content = {
        "format": _FORMAT,
        "software": "CycleINR",
        "version": __version__,
        "written": timestamp(),
        "derived": _DERIVED,
        "counts": {status: counts[status] for status in (DONE, FAILED, STARTED, PENDING)},
        "notes": list(notes),
        "cases": [asdict(record) for record in records],
    }
    folder.write(folder.root / f"{MANIFEST}.json", json.dumps(content, indent=1) + "\n")


def _cell(value: object) -> object:
    """A value as spreadsheets leave it alone: text that begins like a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
