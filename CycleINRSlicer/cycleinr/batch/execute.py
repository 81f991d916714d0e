"""Running one case, in whatever process on whatever computer: compute, publish, record."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import Cancelled, CycleinrError, OutputError
from ..files import image_suffix
from ..jobs import Job, JobResult, run_job
from ..monitor import Monitor
from .cases import Case
from .folder import BatchFolder, sync_folder
from .names import PARTS, REPORT
from .ownership import is_ours, keep, marks_of, part, size_of
from .record import DONE, STARTED, Record, timestamp

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """A case and who wants it; travels as JSON.

    Attributes:
        out_dir: The batch's output folder, as absolute path that is the same on every computer of a cluster.
        batch: Id of the batch.
    """

    out_dir: str
    batch: str
    case: Case

    def to_json(self) -> dict:
        return {**asdict(self), "case": self.case.to_json()}

    @classmethod
    def from_json(cls, content: Mapping) -> Order:
        return cls(**{**content, "case": Case.from_json(content["case"])})


def run_case(order: Order, monitor: Monitor | None = None) -> Record:
    """Run one case; whatever is wrong with it becomes part of the record.

    A case that is recorded as done already is not run again, so that a case may be handed out twice.

    Raises:
        Cancelled: The batch is over; nothing was written.
        OutputError: The record itself cannot be written.
    """
    folder, case = BatchFolder(Path(order.out_dir), order.batch), order.case
    before = folder.read_record(case.output)
    if folder.is_done(case, before):
        return before
    began = before is not None and before.batch == order.batch and before.status == STARTED
    record = Record.of(case, STARTED, order.batch, attempts=1 + (before.attempts if began else 0)).after(before)
    started = time.monotonic()
    try:
        _claim(folder, record)
        record = _compute(folder, case, record, monitor)
    except Cancelled:
        raise
    except CycleinrError as error:
        record = record.as_failed_by(error, time.monotonic() - started)
    except MemoryError:
        text = "The computer ran out of memory. Run fewer workers, or set a lower memory limit."
        record = record.as_failed("OutOfMemoryError", text, time.monotonic() - started)
    except Exception as error:
        # An unforeseen error's own text may quote a header, so only its kind and place are kept.
        where = "".join(traceback.format_tb(error.__traceback__))
        _LOG.debug("Unforeseen %s in the case of %s:\n%s", type(error).__name__, case.output, where)
        record = record.as_failed(type(error).__name__, _unforeseen(error), time.monotonic() - started)
    folder.check_current()
    if record.status != DONE:
        return folder.write_failure(record)
    folder.write_record(record)
    return record


def _claim(folder: BatchFolder, record: Record) -> None:
    """Remember that this result's name is ours before anything has it.

    Raises:
        OutputError: Something that no batch made has the name.
    """
    path = folder.result(record.output)
    if not folder.knows(record.output) and any(os.path.lexists(part(path, end)) for end in PARTS):
        raise OutputError(
            f"{path.name}, its .json or its report exists already in the output folder, and no batch made it. It was "
            "left as it was. Move it away, or choose another output folder."
        )
    folder.check_current()
    folder.write_record(record)


def _compute(folder: BatchFolder, case: Case, record: Record, monitor: Monitor | None) -> Record:
    """Make the result in a folder of its own and move it into place; returns its record."""
    target = folder.result(case.output)
    with folder.workplace() as place:
        staged = place / target.name
        wanted = case.settings.format
        format = "image" if image_suffix(target) else wanted if wanted.startswith("dicom") else "dicom"
        check = part(staged, REPORT) if case.settings.report else None
        job = Job(
            case.input,
            staged,
            case.settings.options,
            format,
            dicom=case.settings.dicom,
            report=check,
            series=case.number,
            frame=case.frame,
        )
        result = run_job(job, monitor)
        record = replace(_made(record, result), marks=marks_of(staged))
        folder.check_current()
        # Before anything has its name, so that after a kill in between it is known to be ours.
        folder.write_record(record)
        try:
            kept = _publish(staged, target, place, record.hashes)
        except OSError as error:
            raise OutputError(
                f"{target} could not be put into place ({error.strerror}). Check the permissions of the folder."
            ) from error
    notes = [*result.notes, *(f"What was there before was kept as {one.name}: no batch made it." for one in kept)]
    return replace(record, status=DONE, finished=timestamp(), earlier=(), notes=" ".join(notes))


def _publish(staged: Path, target: Path, place: Path, hashes: Collection[str]) -> list[Path]:
    """Move result, description and report from their place to where they belong.

    What batches made before is replaced; anything else gets another name.

    Args:
        hashes: Of all that batches made under this name.

    Returns:
        The other names.
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


def _made(record: Record, result: JobResult) -> Record:
    made = result.provenance
    return replace(
        record,
        seconds=round(result.seconds, 3),
        version=made["version"],
        torch=made.get("torch", ""),
        model=made["model"],
        weights_sha256=made["weights_sha256"],
        device=made["device"],
        bytes=size_of(result.output),
    )


def _unforeseen(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"Unforeseen {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}. "
        "Run cycleinr upsample on this scan alone to see all of it."
    )
