"""Running one case, in whatever process on whatever computer: compute, publish, record."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import Cancelled, CycleinrError, OutputError
from ..files import image_suffix
from ..inference.options import Progress, no_progress
from ..jobs import Job, JobResult, run_job
from .cases import Case
from .folder import BatchFolder, size_of, sync_folder
from .record import DONE, STARTED, Record, timestamp

REPORT = ".check"
"""Appended to a result's name: the folder of its report."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """A case and who wants it; travels as JSON.

    :param out_dir: the batch's output folder, as absolute path that is the same on every computer of a cluster.
    :param batch: id of the batch.
    """

    out_dir: str
    batch: str
    case: Case

    def to_json(self) -> dict:
        return {**asdict(self), "case": self.case.to_json()}

    @classmethod
    def from_json(cls, content: Mapping) -> Order:
        return cls(**{**content, "case": Case.from_json(content["case"])})


def run_case(order: Order, report: Callable[[Progress], None] = no_progress) -> Record:
    """Run one case; whatever is wrong with it becomes part of the record.

    A case that is recorded as done already is not run again, so that a case may be handed out twice.

    :raises Cancelled: the batch is over; nothing was written.
    :raises OutputError: the record itself cannot be written.
    """
    folder, case = BatchFolder(Path(order.out_dir), order.batch), order.case
    before = folder.read_record(case.output)
    if before is not None and before.is_about(case) and before.status == DONE and folder.is_there(before):
        return before
    began = before is not None and before.batch == order.batch and before.status == STARTED
    record = Record.of(case, STARTED, order.batch, attempts=1 + (before.attempts if began else 0))
    started = time.monotonic()
    try:
        _claim(folder, record)
        record = _done(record, _compute(folder, case, report), folder)
    except Cancelled:
        raise
    except CycleinrError as error:
        record = record.as_failed_by(error, time.monotonic() - started)
    except MemoryError:
        text = "The computer ran out of memory. Run fewer workers, or set a lower memory limit."
        record = record.as_failed("OutOfMemoryError", text, time.monotonic() - started)
    except Exception as error:
        # An unforeseen error's own text may quote a header, so only its kind and place are kept.
        _LOG.debug("Unforeseen error in the case of %s", case.output, exc_info=True)
        record = record.as_failed(type(error).__name__, _unforeseen(error), time.monotonic() - started)
    folder.check_current()
    if record.status == DONE or folder.knows(case.output):
        folder.write_record(record)
    return record


def _claim(folder: BatchFolder, record: Record) -> None:
    """Remember that this result's name is ours before anything has it.

    :raises OutputError: something that no batch made has the name.
    """
    path = folder.result(record.output)
    if not folder.knows(record.output) and any(Path(f"{path}{end}").exists() for end in ("", ".json", REPORT)):
        raise OutputError(
            f"{path.name}, its .json or its report exists already in the output folder, and no batch made it. It was "
            "left as it was. Move it away, or choose another output folder."
        )
    folder.check_current()
    folder.write_record(record)


def _compute(folder: BatchFolder, case: Case, report: Callable[[Progress], None]) -> JobResult:
    """Make the result in a folder of its own and move it into place."""
    target = folder.result(case.output)
    with folder.workplace() as place:
        staged = place / target.name
        format = "image" if image_suffix(target) else "dicom"
        check = Path(f"{staged}{REPORT}") if case.settings.report else None
        job = Job(case.input, staged, case.settings.options, format, dicom=case.settings.dicom, report=check)
        result = run_job(job, report)
        folder.check_current()
        try:
            _publish(staged, target, place)
        except OSError as error:
            raise OutputError(
                f"{target} could not be put into place ({error.strerror}). Check the permissions of the folder."
            ) from error
    return result


def _publish(staged: Path, target: Path, place: Path) -> None:
    """Move result, description and report from their place to where they belong; former folders end in the place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for end in ("", ".json", REPORT):
        made, wanted = Path(f"{staged}{end}"), Path(f"{target}{end}")
        if wanted.is_dir():
            os.rename(wanted, place / f"replaced{end}")
        if made.exists():
            os.replace(made, wanted)
    # A record on the disk must never be older than its result.
    sync_folder(target.parent)


def _done(record: Record, result: JobResult, folder: BatchFolder) -> Record:
    made = result.provenance
    return replace(
        record,
        status=DONE,
        seconds=round(result.seconds, 3),
        finished=timestamp(),
        version=made["version"],
        torch=made["torch"],
        model=made["model"],
        weights_sha256=made["weights_sha256"],
        device=made["device"],
        bytes=size_of(folder.result(record.output)),
        notes=" ".join(result.notes),
    )


def _unforeseen(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"Unforeseen {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}. "
        "Run cycleinr upsample on this scan alone to see all of it."
    )
