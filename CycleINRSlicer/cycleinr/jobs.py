"""One scan in, one result out: read, make finer, write. What the command line runs, once or for many scans.

Importing this imports neither torch, SimpleITK nor pydicom; ``run_job`` imports what it needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import OutputError, RequestError
from .files import (
    IMAGE_SUFFIXES,
    image_suffix,
    is_dicom,
    opened_scan,
    read_frames,
    read_volume,
    write_frames,
    write_volume,
)
from .files.atomic import check_result_name, check_target, in_one_piece, new_folder, sidecar
from .request import UpsampleOptions
from .result import Monitor, warnings_told_elsewhere
from .volume import Volume

if TYPE_CHECKING:
    from .dicom_out import DicomSettings
    from .result import Provenance, Result

FORMATS = ("auto", "image", "dicom", "dicom-enhanced")

_WRITE_SHARE = 0.01
_CHECK_SHARE = 1.3
"""Time that checking a result takes, compared with computing it; about half of the requests need a second pass."""


@dataclass(frozen=True)
class Job:
    """One scan to make finer, and where the result goes.

    Attributes:
        input: What ``read_volume`` reads.
        output: The result: an image file, or a new folder for a DICOM series.
        options: What is wanted.
        format: "image" for an image file of the format that its name ends with; "dicom" for a DICOM series in the
            source's study; "dicom-enhanced" for one multi-frame object there; "auto" for a DICOM series if the input is
            one and the output's name has no ending at all, else an image file.
        overwrite: Replace an existing result.
        dicom: How a DICOM series is written.
        report: A new folder for a report on the result (see ``cycleinr.checks``), None for no report.
        window: The report's display window; see ``cycleinr.windows.window_for``.
        series, frame: Which scan is meant where the input holds several; see ``read_volume``.
        all_frames: Make all volumes of a time series finer, into one NIfTI file.
    """

    input: Path
    output: Path
    options: UpsampleOptions
    format: str = "auto"
    overwrite: bool = False
    dicom: DicomSettings | None = None
    report: Path | None = None
    window: str = "auto"
    series: str = ""
    frame: int | None = None
    all_frames: bool = False

    @property
    def writes_dicom(self) -> bool:
        """Whether the result is a DICOM series."""
        if self.format == "auto":
            return not self.output.suffix and is_dicom(self.input)
        return self.format.startswith("dicom")


def check_job(job: Job) -> None:
    """Find out before the computation, not after it, that the result cannot be written; ``input`` is no archive.

    Raises:
        RequestError: There is no such format, or it does not go with the input or the output's name.
        OutputError: The name's ending is unknown, the folder is missing or closed, or the result exists.
    """
    if job.format not in FORMATS:
        raise RequestError(f"There is no format {job.format!r}. Choose one of {', '.join(FORMATS)}.")
    for path in (job.output, Path(f"{job.output}.json"), *([job.report] if job.report else [])):
        check_result_name(path)
    if job.all_frames:
        _check_frames(job)
    if job.writes_dicom:
        _check_dicom(job)
    elif image_suffix(job.output):
        check_target(job.output, job.overwrite)
    else:
        raise OutputError(
            f"The result's name {job.output.name} has no known ending. Use one of {', '.join(IMAGE_SUFFIXES)}, "
            "or ask for a DICOM series with --format dicom."
        )
    check_target(Path(f"{job.output}.json"), job.overwrite)
    if job.report is not None:
        _check_report(job)


def run_job(job: Job, monitor: Monitor | None = None) -> Result:
    """Read one scan, make it finer and write the result, whole or not at all.

    A .json file beside the result (RESULT.nii.gz.json, FOLDER.json) says how it was made. With a report, nothing is
    written before the result has been checked too.

    Args:
        monitor: Hears how far the work is, and can end it; nothing before all that can be refused at once was.

    Returns:
        What was written; of all frames the first one.

    Raises:
        CycleinrError: Of the kind that `check_job`, `read_volume`, `upsample`, `check_result`, `write_volume` and
            ``write_dicom_series`` raise.
    """
    from .inference import upsample

    monitor = monitor or Monitor()
    with opened_scan(job.input) as found:
        own = replace(job, input=found)
        check_job(own)
        # A DICOM series is replaced with its folder, and may be given as one of its files; an archive is no other file
        given = (job.input, job.input.parent)
        if os.path.exists(job.output) and any(os.path.samefile(job.output, one) for one in given):
            raise OutputError(f"The result {job.output} would replace the scan itself. Choose another name.")
        monitor.tell("Reading", 0.0)
        volumes, frame_s = _read(own)
        check_share = 0.0 if job.report is None else _CHECK_SHARE
        *computing, checking, writing = monitor.stages((*[1.0] * len(volumes), check_share, _WRITE_SHARE))
        with warnings_told_elsewhere():
            results = [upsample(volume, job.options, each) for volume, each in zip(volumes, computing, strict=True)]
        first, said = results[0], results[0].provenance
        if job.all_frames:
            said = replace(said, more={**said.more, "frames": str(len(results))})
        notes = tuple(dict.fromkeys(note for result in results for note in result.warnings))
        name = job.input.name
        with in_one_piece(), _report(own, name, volumes[0], first, checking), sidecar(job.output, said, job.overwrite):
            writing.tell("Writing", 0.0)
            notes += _write(own, [result.volume for result in results], said, frame_s)
    monitor.tell("Done", 1.0, 0.0)
    return replace(first, provenance=said, warnings=notes)


def _read(job: Job) -> tuple[list[Volume], float]:
    """The scan, or all its frames, of one modality, and the seconds between these."""
    from .inference.plan import plan

    if not job.all_frames:
        return [read_volume(job.input, job.series, job.frame)], 0.0
    volumes, frame_s = read_frames(job.input, job.series)
    modality = plan(volumes[0], job.options).modality
    return [replace(volume, modality=modality) for volume in volumes], frame_s


def _write(job: Job, volumes: list[Volume], said: Provenance, frame_s: float) -> tuple[str, ...]:
    """Write what was computed; returns what to know about it."""
    if job.writes_dicom:
        from .dicom_out import DicomSettings, write_dicom_series
        from .files.dicom_series import chosen_series

        source = chosen_series(job.input, job.series, job.frame)
        settings = replace(job.dicom or DicomSettings(), multi_frame=job.format == "dicom-enhanced")
        written = write_dicom_series(volumes[0], source, job.output, said, settings, job.overwrite)
        if written.max_error:
            return (
                "DICOM's 16 bits cannot hold these values exactly: the largest rounding error is "
                f"{written.max_error:.3g}. Image files (.nii.gz, .nrrd, .mha) hold them all.",
            )
    elif job.all_frames:
        write_frames(volumes, job.output, said, job.overwrite, frame_s)
    else:
        write_volume(volumes[0], job.output, said, job.overwrite)
    return ()


def make_folder(folder: Path) -> None:
    """Make an output folder, with those above it, if it is not there; OutputError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The output folder {folder} cannot be made ({error.strerror}). Choose another.") from error


def _check_frames(job: Job) -> None:
    if job.frame is not None or job.report is not None:
        raise RequestError("All frames are asked for together with one frame or a report. Leave either of them away.")
    if job.writes_dicom or not job.output.name.lower().endswith((".nii", ".nii.gz")):
        raise RequestError(
            f"All frames go into one NIfTI file, and the result's name is {job.output.name}. Give a name that ends in "
            ".nii.gz, or take the frames one by one with --frame."
        )


def _check_dicom(job: Job) -> None:
    from .dicom_out import check_series_folder

    if image_suffix(job.output):
        raise RequestError(
            f"The format is dicom, but {job.output.name} is the name of an image file. Give the name of a new folder, "
            "or leave --format away."
        )
    if not is_dicom(job.input):
        raise RequestError(
            f"The format is dicom, but {job.input.name} is no DICOM series, so there is no patient and no study that "
            "the result could belong to. Give the DICOM series, or write .nii.gz, .nrrd or .mha."
        )
    check_series_folder(job.output, job.overwrite, job.input if job.input.is_dir() else job.input.parent)


def _check_report(job: Job) -> None:
    from .checks.report import check_report_folder
    from .checks.run import check_whole
    from .windows import check_window

    check_whole(job.options)
    check_window(job.window)
    folder, output = job.report.resolve(), job.output.resolve()
    if folder == output or output in folder.parents:
        raise OutputError(f"The report {job.report} would be where the result goes. Choose another folder for it.")
    check_report_folder(job.report, job.overwrite)


@contextmanager
def _report(job: Job, name: str, volume: Volume, result: Result, monitor: Monitor) -> Iterator[None]:
    """Check the result; the report appears when the block has ended, which writes the result."""
    if job.report is None:
        yield
        return
    from .checks.report import write_report
    from .checks.run import check_result

    check = check_result(volume, result.volume, job.options, monitor, job.window)
    written = False
    try:
        with new_folder(job.report, lambda: _check_report(job)) as folder:
            write_report(check, result.provenance, (name, job.output.name), folder)
            yield
            written = True
    except OutputError as error:
        if written:
            raise OutputError(f"{job.output} is written and complete, but its report is not: {error}") from error
        raise
