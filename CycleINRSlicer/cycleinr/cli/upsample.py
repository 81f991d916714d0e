"""``cycleinr upsample``: one scan in, one finer volume out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..dicom_out.settings import DicomSettings
from ..errors import CycleinrError, InputError, RequestError, kind_of
from ..files import list_series, opened_scan
from ..jobs import Job, check_job, make_folder, run_job
from ..monitor import Monitor, Progress
from . import arguments
from .surroundings import INCOMPLETE


@arguments.with_request()
def upsample_command(
    input: arguments.Input,
    output: Annotated[Path, typer.Argument(help="Result: .nii.gz, .nii, .nrrd, .mha, .mhd, or a new folder.")],
    request: arguments.Request,
    format: arguments.Format = "auto",
    deterministic_uids: arguments.DeterministicUids = False,
    compress: arguments.Compress = False,
    report: arguments.Report = None,
    window: arguments.Window = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing result or report.")] = False,
    series: arguments.Series = "",
    frame: arguments.Frame = None,
    all_frames: Annotated[
        bool, typer.Option("--all-frames", help="All volumes of a time series or the like, into one NIfTI file.")
    ] = False,
    all_series: Annotated[
        bool,
        typer.Option(
            "--all-series",
            help="All series of a DICOM folder that can be made finer, each into a file series-NUMBER.nii.gz of the "
            "folder OUTPUT, or with --format dicom into a folder series-NUMBER.",
        ),
    ] = False,
    json_progress: Annotated[
        bool,
        typer.Option(
            "--json-progress",
            help="Print one JSON object per line: progress, and the events warning, done (path, provenance) and error.",
        ),
    ] = False,
) -> None:
    """Make the slices of a scan finer. Give one of --spacing, --ratio, --isotropic.

    The result is written whole or not at all, with a .json file beside it that says how it was made.
    """
    dicom = DicomSettings(deterministic_uids, compress)
    job = Job(input, output, request.options, format, overwrite, dicom, report, window, series, frame, all_frames)
    with _errors_as_events(json_progress):
        if all_series:
            _run_all(job, json_progress)
            return
        # Before the progress bar, so that a refusal stands alone.
        check_job(job)
        if dicom != DicomSettings() and not job.writes_dicom:
            raise RequestError(
                f"--deterministic-uids and --compress are for DICOM series, and the result {output.name} is an image "
                "file. Leave them away, or ask for --format dicom."
            )
        _run_one(job, json_progress)


def _run_one(job: Job, json_progress: bool) -> None:
    with progress_report(json_progress) as progress:
        result = run_job(job, progress)
    if json_progress:
        for note in result.notes:
            _event("warning", text=note)
        report = str(job.report / "report.html") if job.report else None
        _event("done", path=str(job.output), report=report, provenance=dict(result.provenance))
        return
    slices, mm = result.volume.shape_kji, result.volume.spacing_ijk_mm
    frames = f"{result.provenance['frames']} frames of " if "frames" in result.provenance else ""
    print(
        f"{job.output}: {frames}{' x '.join(map(str, slices[::-1]))} voxels of "
        f"{' x '.join(f'{s:.3g}' for s in mm)} mm. {result.provenance['derived']}"
    )
    for note in result.notes:
        typer.secho(note, fg=typer.colors.YELLOW)
    if job.report is not None:
        print(f"{job.report / 'report.html'}: how far the result can be trusted.")


def _run_all(job: Job, json_progress: bool) -> None:
    """One job for each series; those that fail do not stop the others.

    Raises:
        RequestError: One of the other ways to choose is asked for too, or a report.
        InputError: There is no series that can be made finer.
        typer.Exit: Some failed.
    """
    if job.series or job.frame is not None or job.all_frames or job.report is not None:
        raise RequestError("--all-series goes with none of --series, --frame, --all-frames and --report.")
    failed = []
    with opened_scan(job.input) as found:
        listing = list_series(found)
        if listing is None or not listing.possible:
            raise InputError(f"{job.input} holds no DICOM series that can be made finer. cycleinr info says why.")
        make_folder(job.output)
        for one in listing.possible:
            output = job.output / f"series-{one.name}{'' if job.format.startswith('dicom') else '.nii.gz'}"
            try:
                _run_one(replace(job, input=found, output=output, series=one.name), json_progress)
            except CycleinrError as error:
                failed.append(one.name)
                if json_progress:
                    _event("warning", text=f"Series {one.name} failed: {error}")
                print(f"cycleinr: series {one.name}: {error}", file=sys.stderr)
    if failed:
        raise typer.Exit(INCOMPLETE)


@contextmanager
def _errors_as_events(wanted: bool) -> Iterator[None]:
    """Errors are told on standard error in any case."""
    try:
        yield
    except CycleinrError as error:
        if wanted:
            _event("error", kind=kind_of(error), text=str(error), exit_code=error.exit_code)
        raise


def _event(name: str, **content: object) -> None:
    print(json.dumps({"event": name, **content}), flush=True)


@contextmanager
def progress_report(as_json: bool) -> Iterator[Monitor]:
    """A progress bar on standard error, or JSON lines on standard output."""
    if as_json:
        yield Monitor(_json_line)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[left]}"),
    )
    with Bar(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        yield Monitor(_bar_updater(bar))


def _bar_updater(bar) -> Callable[[Progress], None]:
    task = bar.add_task("Starting", total=1.0, left="")

    def update(progress: Progress) -> None:
        left = "" if progress.remaining_s is None else f"{_duration(progress.remaining_s)} left"
        bar.update(task, description=progress.phase, completed=progress.fraction, left=left)

    return update


def _duration(seconds: float) -> str:
    return time.strftime("%M:%S" if seconds < 3600 else "%H:%M:%S", time.gmtime(max(0.0, seconds)))


def _json_line(progress: Progress) -> None:
    line = {"phase": progress.phase, "fraction": round(progress.fraction, 4), "remaining_s": progress.remaining_s}
    print(json.dumps(line), flush=True)
