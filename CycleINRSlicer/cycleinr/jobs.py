"""One scan in, one result out: read, make finer, write. What the command line runs, once or for many scans.

Importing this imports neither torch nor SimpleITK; `run_job` does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import OutputError, RequestError
from .inference.options import Progress, ProgressCallback, UpsampleOptions, never_cancelled, no_progress
from .volume import Volume

FORMATS = ("auto", "image")


@dataclass(frozen=True)
class Job:
    """One scan to make finer, and where the result goes.

    :param input: what `read_volume` reads.
    :param output: the result: an image file.
    :param options: what is wanted.
    :param format: "auto" or "image": an image file, of the format that its name ends with.
    :param overwrite: replace an existing result.
    """

    input: Path
    output: Path
    options: UpsampleOptions
    format: str = "auto"
    overwrite: bool = False


@dataclass(frozen=True)
class JobResult:
    """A result that is written.

    :param output: where it is.
    :param volume: the finer volume.
    :param provenance: how it was made; see `cycleinr.inference.upsample.provenance`.
    :param seconds: wall time of reading, computing and writing.
    """

    output: Path
    volume: Volume
    provenance: dict[str, str]
    seconds: float


def check_job(job: Job) -> None:
    """Find out before the computation, not after it, that the result cannot be written.

    :raises RequestError: there is no such format.
    :raises OutputError: the name's ending is unknown, the folder is missing or closed, or the result exists.
    """
    if job.format not in FORMATS:
        raise RequestError(f"There is no format {job.format!r}. Choose one of {', '.join(FORMATS)}.")
    check_output(job.output, job.overwrite)


def run_job(
    job: Job, report: ProgressCallback = no_progress, cancelled: Callable[[], bool] = never_cancelled
) -> JobResult:
    """Read one scan, make it finer and write the result, whole or not at all.

    An image file gets a .json file beside it that says how it was made.

    :param report: called often, from this thread.
    :param cancelled: asked often; True ends the work at once.
    :raises CycleinrError: of the kind that `check_job`, `read_volume`, `upsample` and `write_volume` raise.
    """
    from .files import read_volume, write_sidecar, write_volume

    started = time.monotonic()
    check_job(job)
    report(Progress("Reading", 0.0))
    volume = read_volume(job.input)
    from .inference.upsample import upsample

    result = upsample(volume, job.options, report, cancelled)
    report(Progress("Writing", 0.99))
    write_volume(result.volume, job.output, result.provenance, job.overwrite)
    write_sidecar(job.output, result.provenance, job.overwrite)
    return JobResult(job.output, result.volume, result.provenance, time.monotonic() - started)


def check_output(output: Path, overwrite: bool) -> None:
    """Check that an image file can be written.

    :raises OutputError: the name's ending is unknown, the folder is missing or closed, or the file exists.
    """
    from .files import IMAGE_SUFFIXES, image_suffix

    if not image_suffix(output):
        raise OutputError(
            f"The result's name {output.name} has no known ending. Use one of {', '.join(IMAGE_SUFFIXES)}."
        )
    if not output.parent.is_dir():
        raise OutputError(f"The folder {output.parent} for the result does not exist. Create it first.")
    if not os.access(output.parent, os.W_OK):
        raise OutputError(f"The folder {output.parent} for the result may not be written to. Choose another one.")
    if output.exists() and not overwrite:
        raise OutputError(f"The result {output} exists already. Add --overwrite to replace it, or choose another name.")
