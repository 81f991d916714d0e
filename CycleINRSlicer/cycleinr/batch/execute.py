"""Running one job of a batch, in whatever process on whatever computer: compute, publish, record."""

from __future__ import annotations

import logging
import os
import time
import traceback
from dataclasses import replace
from pathlib import Path

from .. import Cancelled, CycleinrError, OutputError
from ..jobs import Job, run_job
from ..result import Monitor
from .folder import BatchFolder, sync_folder
from .results import DONE, PARTS, REPORT, STARTED, Record, is_ours, marks_of, part, path_inside, size_of, timestamp

_OF_PROVENANCE = ("version", "torch", "model", "weights_sha256", "device")
_LOG = logging.getLogger(__name__)


def run_recorded(folder: BatchFolder, job: Job, wanted: Record, monitor: Monitor | None = None) -> Record:
    """Run one job; whatever is wrong with it becomes part of the record.

    A job that is recorded as done already is not run again, so that a job may be handed out twice.

    Args:
        wanted: The job's record as it was made.

    Raises:
        Cancelled: The batch is over; nothing was written.
        OutputError: The record itself cannot be written.
    """
    before = folder.read_record(wanted.output)
    if before is not None and folder.is_done(wanted, before):
        return before
    again = before is not None and before.batch == folder.batch and before.status == STARTED
    record = replace(wanted, status=STARTED, attempts=1 + (before.attempts if again else 0)).after(before)
    started = time.monotonic()
    try:
        record = _compute(folder, job, record, monitor)
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


def _compute(folder: BatchFolder, job: Job, record: Record, monitor: Monitor | None) -> Record:
    """Make the result in a folder of its own and move it into place; returns its record."""
    target = path_inside(folder.root, record.output)
    if not folder.knows(record.output) and any(os.path.lexists(part(target, end)) for end in PARTS):
        raise OutputError(
            f"{target.name}, its .json or its report exists already in the output folder, and no batch made it. It was "
            "left as it was. Move it away, or choose another output folder."
        )
    # Before anything has the result's name it is known to be ours, and before its parts get theirs their hashes are
    folder.write_record(record)
    with folder.workplace() as place:
        staged = place / target.name
        report = None if job.report is None else part(staged, REPORT)
        result = run_job(replace(job, output=staged, report=report), monitor)
        made = {name: result.provenance.get(name, "") for name in _OF_PROVENANCE}
        record = replace(record, **made, bytes=size_of(staged), marks=marks_of(staged))
        folder.write_record(record)
        try:
            kept = _publish(staged, target, place, record.hashes)
        except OSError as error:
            raise OutputError(
                f"{target} could not be put into place ({error.strerror}). Check the permissions of the folder."
            ) from error
    notes = [*result.warnings, *(f"What was there before was kept as {name}: no batch made it." for name in kept)]
    return replace(record, status=DONE, finished=timestamp(), earlier=(), notes=" ".join(notes))


def _publish(staged: Path, target: Path, place: Path, hashes: tuple[str, ...]) -> list[str]:
    """Move result, description and report from their place to where they belong.

    What batches made before, known by the hashes, is replaced; anything else gets another name, which is returned.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    for end in PARTS:
        made, wanted = part(staged, end), part(target, end)
        if os.path.lexists(wanted) and not is_ours(target, end, hashes):
            kept.append(_keep(wanted))
        if wanted.is_dir():
            os.rename(wanted, place / f"replaced{end}")
        if made.exists():
            os.replace(made, wanted)
    # A record on the disk must never be older than its result.
    sync_folder(target.parent)
    return kept


def _keep(path: Path) -> str:
    """Give what is there another name, on the same disk; returns it."""
    number, kept = 1, f"{path.name}.kept"
    while os.path.lexists(path.with_name(kept)):
        number += 1
        kept = f"{path.name}.kept-{number}"
    os.rename(path, path.with_name(kept))
    return kept
