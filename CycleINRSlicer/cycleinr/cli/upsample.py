"""The commands for one scan: ``cycleinr upsample``, ``check`` and ``demo``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .. import CycleinrError, InputError, RequestError, kind_of
from ..files import image_suffix, list_series, opened_scan, read_volume
from ..files.atomic import new_folder, publish, staging_folder
from ..grid import Target
from ..jobs import Job, make_folder, run_job
from ..request import UpsampleOptions, options_of_result
from ..resampling import counted, digits
from ..result import Monitor, Progress, Result
from . import arguments
from .app import INCOMPLETE


@arguments.with_request()
def upsample_command(
    input: arguments.Input,
    output: Annotated[Path, typer.Argument(help="Result: .nii.gz, .nii, .nrrd, .mha, .mhd, or a new folder.")],
    request: arguments.CommandRequest,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="image: a file, by its name's ending. dicom: a folder with a series in the source's study; "
            "dicom-enhanced: with one multi-frame object instead. auto: dicom if the scan is DICOM and the result's "
            "name has no ending.",
        ),
    ] = "auto",
    deterministic_uids: arguments.DeterministicUids = False,
    compress: arguments.Compress = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Also check the result without ground truth, into this new folder: report.html, report.json, and "
            "self_check.nii.gz with the error of each voxel. Takes about as long again.",
        ),
    ] = None,
    window: arguments.WindowName = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing result or report.")] = False,
    series: arguments.SeriesNumber = "",
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
    job = Job(input, output, request.options, format, overwrite, None, report, window, series, frame, all_frames)
    try:
        if window != "auto" and report is None:
            raise RequestError(f"--window {window} is for the report, which is not asked for. Add --report FOLDER.")
        if deterministic_uids or compress:
            if not (format.startswith("dicom") if all_series else job.writes_dicom):
                raise RequestError(
                    f"--deterministic-uids and --compress are for DICOM series, and the result {output.name} is an "
                    "image file. Leave them away, or ask for --format dicom."
                )
            from ..dicom_out import DicomSettings

            job = replace(job, dicom=DicomSettings(deterministic_uids, compress))
        (_run_all if all_series else _run_one)(job, json_progress)
    except CycleinrError as error:
        # Told on standard error in any case
        if json_progress:
            _print_json(event="error", kind=kind_of(error), text=str(error), exit_code=error.exit_code)
        raise


def check_command(
    input: arguments.Input,
    result: Annotated[
        Path, typer.Argument(readable=False, help="What upsample made of it, with its .json file beside it.")
    ],
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write the report of upsample --report into this new folder.")
    ] = None,
    window: arguments.WindowName = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
    model: Annotated[
        str, typer.Option("--model", help="The weights file that the result was made with; auto: bundled ones.")
    ] = "auto",
    device: arguments.DeviceName = "auto",
    memory_limit: arguments.MemoryLimit = None,
    series: arguments.SeriesNumber = "",
    frame: arguments.Frame = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as one JSON object instead.")] = False,
) -> None:
    """Check a result without ground truth: where is it least certain? Takes about as long as the result took.

    The exit code is 0 whatever was found; it is another where the check cannot be made.
    """
    from ..checks.report import check_report_folder, write_report
    from ..checks.run import check_result, numbers

    if report is not None:
        check_report_folder(report, overwrite)
    made = Result.read(result, frame=frame)
    scan = read_volume(input, series, frame)
    options = replace(options_of_result(scan, made, model), device=device, memory_limit_gb=memory_limit)
    with _progress_report(as_json=False) as progress:
        check = check_result(scan, made.volume, options, progress, window)
    if report is not None:
        with new_folder(report, lambda: check_report_folder(report, overwrite)) as folder:
            write_report(check, made.provenance, (input.name, result.name), folder)
    found = numbers(check)
    print(json.dumps(found, indent=1) if as_json else "\n".join(_describe_check(found)))


def _describe_check(found: dict) -> list[str]:
    unit, own, left, noise = found["unit"], found["self_check"], found["residual"], found["noise"]
    lines = [f"Verdict          {found['verdict']}"]
    if "rms" in own:
        lines.append(
            f"Self-check       rms {digits(own['rms_of_all'])} {unit}, largest in slice {own['worst_slice'] + 1}"
        )
    before, after = (digits(noise[f"mean_sigma_{when}"]) for when in ("before", "after"))
    return [
        *lines,
        f"Re-slicing error median {digits(left['median'])}, 99 % {digits(left['percentile_99'])} {unit}; "
        f"{left['share_within_limit']:.1%} within {digits(left['limit'], 2)} {unit}",
        f"Noise            {before} {unit} before, {after} after",
        *(f"Warning          {text}" for text in found["warnings"]),
    ]


def demo_command(
    input: arguments.Input,
    output_folder: Annotated[
        Path, typer.Argument(help="Folder for the finer volume and the picture; made if missing.")
    ],
    spacing: arguments.Spacing = 1.0,
    window: Annotated[
        list[str] | None,
        typer.Option("--window", help="Display window of a picture, as for upsample; several give several pictures."),
    ] = None,
    device: arguments.DeviceName = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
) -> None:
    """Make a scan finer and draw axial, coronal and sagittal planes before and after."""
    from ..inference.plan import plan
    from ..inspection import inspect
    from ..pictures import three_planes
    from ..windows import check_window, window_for
    from .info import describe_plan, describe_volume

    make_folder(output_folder)
    windows = window or ["auto"]
    for each in windows:
        check_window(each)
    name = f"{input.name.removesuffix(image_suffix(input) or '')}_{spacing:g}mm"
    output = output_folder / f"{name}.nii.gz"
    job = Job(input, output, UpsampleOptions(Target(spacing), device=device), "image", overwrite)
    volume = read_volume(input)
    work = plan(volume, job.options)
    print("\n".join([*describe_volume(volume, inspect(volume)), *describe_plan(work)]))
    started = time.monotonic()
    with _progress_report(as_json=False) as progress:
        result = run_job(job, progress)
    print(f"\n{volume.shape_kji[0]} slices became {result.volume.shape_kji[0]} in {time.monotonic() - started:.0f} s.")
    print(f"Volume   {output}")
    for each in windows:
        picture = output.with_name(f"{name}{'' if each == 'auto' else '_' + each.replace('/', '_')}.png")
        png = three_planes(volume, result.volume, work.grid, window_for(volume, work.modality, each))
        with staging_folder(picture) as folder:
            (folder / picture.name).write_bytes(png)
            publish(folder / picture.name, picture, overwrite=True)
        print(f"Picture  {picture}")
    print(result.provenance["derived"])


def _run_one(job: Job, json_progress: bool) -> None:
    with _progress_report(json_progress) as progress:
        result = run_job(job, progress)
    if json_progress:
        for note in result.warnings:
            _print_json(event="warning", text=note)
        report = str(job.report / "report.html") if job.report else None
        _print_json(event="done", path=str(job.output), report=report, provenance=dict(result.provenance))
        return
    slices, mm = result.volume.shape_kji, result.volume.spacing_ijk_mm
    count = result.provenance.get("frames", "")
    frames = f"{counted(int(count), 'frame')} of " if count else ""
    print(
        f"{job.output}: {frames}{' x '.join(map(str, slices[::-1]))} voxels of "
        f"{' x '.join(f'{s:.3g}' for s in mm)} mm. {result.provenance['derived']}"
    )
    for note in result.warnings:
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
                    _print_json(event="warning", text=f"Series {one.name} failed: {error}")
                print(f"cycleinr: series {one.name}: {error}", file=sys.stderr)
    if failed:
        raise typer.Exit(INCOMPLETE)


def _print_json(**content: object) -> None:
    print(json.dumps(content), flush=True)


@contextmanager
def _progress_report(as_json: bool) -> Iterator[Monitor]:
    """A progress bar on standard error, or JSON lines on standard output."""
    if as_json:
        yield Monitor(lambda told: _print_json(**{**vars(told), "fraction": round(told.fraction, 4)}))
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
        # Seen once there is progress, so that a refusal stands alone
        task = bar.add_task("Starting", total=1.0, left="", visible=False)

        def update(progress: Progress) -> None:
            left = "" if progress.remaining_s is None else f"{_duration(progress.remaining_s)} left"
            bar.update(task, description=progress.phase, completed=progress.fraction, left=left, visible=True)

        yield Monitor(update)


def _duration(seconds: float) -> str:
    return time.strftime("%M:%S" if seconds < 3600 else "%H:%M:%S", time.gmtime(max(0.0, seconds)))
