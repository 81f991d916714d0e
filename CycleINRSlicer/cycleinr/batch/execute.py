"""Running one job of a batch, in whatever process on whatever computer: compute, publish, record."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from ..errors import Cancelled, CycleinrError, OutputError
from ..jobs import Job, run_job
from ..result import Monitor
from .folder import BatchFolder, sync_folder
from .names import PARTS, REPORT, part, path_inside
from .ownership import is_ours, keep, marks_of, size_of
from .record import DONE, STARTED, Record, timestamp

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
    began = before is not None and before.batch == folder.batch and before.status == STARTED
    attempts = 1 + (before.attempts if before is not None and began else 0)
    record = replace(wanted, status=STARTED, attempts=attempts).after(before)
    started = time.monotonic()
    try:
        record = _compute(folder, job, record, monitor)
        record = replace(record, seconds=round(time.monotonic() - started, 3))
    except Cancelled:
        raise
    except CycleinrError as error:
        record = record.as_failed(type(error).__name__, str(error), time.monotonic() - started)
    except MemoryError:
        text = "The computer ran out of memory. Run fewer workers, or set a lower memory limit."
        record = record.as_failed("OutOfMemoryError", text, time.monotonic() - started)
    except Exception as error:
        # An unforeseen error's own text may quote a header, so only its kind and place are kept.
        kind, place = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
        where = "".join(traceback.format_tb(error.__traceback__))
        _LOG.debug("Unforeseen %s in the job of %s:\n%s", kind, wanted.output, where)
        text = (
            f"Unforeseen {kind} in {Path(place.filename).name}, line {place.lineno}. "
            "Run cycleinr upsample on this scan alone to see all of it."
        )
        record = record.as_failed(kind, text, time.monotonic() - started)
    folder.check_current()
    if record.status != DONE:
        return folder.write_failure(record)
    folder.write_record(record)
    return record


def _compute(folder: BatchFolder, job: Job, record: Record, monitor: Monitor | None) -> Record:
    """Make the result in a folder of its own and move it into place; returns its record."""
    target = path_inside(folder.root, record.output)
    if not folder.knows(record.output) and any(os.path.lexists(part(target, end)) for end in PARTS):
        raise OutputError(
            f"{target.name}, its .json or its report exists already in the output folder, and no batch made it. It was "
            "left as it was. Move it away, or choose another output folder."
        )
    folder.check_current()
    # Before anything has the result's name it is known to be ours, and before its parts get theirs their hashes are
    folder.write_record(record)
    with folder.workplace() as place:
        staged = place / target.name
        report = None if job.report is None else part(staged, REPORT)
        result = run_job(replace(job, output=staged, report=report), monitor)
        made = result.provenance
        record = replace(
            record,
            version=made["version"],
            torch=made.get("torch", ""),
            model=made["model"],
            weights_sha256=made["weights_sha256"],
            device=made["device"],
            bytes=size_of(staged),
            marks=marks_of(staged),
        )
        folder.check_current()
        folder.write_record(record)
        try:
            kept = _publish(staged, target, place, record.hashes)
        except OSError as error:
            raise OutputError(
                f"{target} could not be put into place ({error.strerror}). Check the permissions of the folder."
            ) from error
    notes = [*result.warnings, *(f"What was there before was kept as {one.name}: no batch made it." for one in kept)]
    return replace(record, status=DONE, finished=timestamp(), earlier=(), notes=" ".join(notes))


def _publish(staged: Path, target: Path, place: Path, hashes: Collection[str]) -> list[Path]:
    """Move result, description and report from their place to where they belong.

    What batches made before, known by the hashes, is replaced; anything else gets another name, which is returned.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    for end in PARTS:
        made, wanted = part(staged, end), part(target, end)
        if os.path.lexists(wanted) and not is_ours(target, end, hashes):
            kept.append(keep(wanted))
        if wanted.is_dir():
            os.rename(wanted, place / f"replaced{end}")
        if made.exists():
            os.replace(made, wanted)
    # A record on the disk must never be older than its result.
    sync_folder(target.parent)
    return kept
