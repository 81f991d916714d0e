"""``cycleinr upsample``: one scan in, one finer volume out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..dicom_out.settings import DicomSettings
from ..inference.options import Progress, ProgressCallback
from ..jobs import Job, check_job, run_job
from . import arguments


def upsample_command(
    input: arguments.Input,
    output: Annotated[Path, typer.Argument(help="Result: .nii.gz, .nii, .nrrd, .mha, .mhd, or a new folder.")],
    spacing: arguments.Spacing = None,
    ratio: arguments.Ratio = None,
    isotropic: arguments.Isotropic = False,
    axis: arguments.Axis = "auto",
    thickness: arguments.Thickness = "auto",
    model: arguments.Model = "auto",
    extent: arguments.Extent = "centres",
    device: arguments.DeviceName = "auto",
    memory_limit: arguments.MemoryLimit = None,
    equalize_slices: arguments.EqualizeSlices = False,
    fill_gaps: arguments.FillGaps = False,
    format: arguments.Format = "auto",
    deterministic_uids: arguments.DeterministicUids = False,
    compress: arguments.Compress = False,
    report: arguments.Report = None,
    window: arguments.Window = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing result or report.")] = False,
    series: arguments.Series = "",
    frame: arguments.Frame = None,
    json_progress: Annotated[
        bool, typer.Option("--json-progress", help="Print progress as one JSON object per line.")
    ] = False,
) -> None:
    """Make the slices of a scan finer. Give one of --spacing, --ratio, --isotropic.

    The result is written whole or not at all, with a .json file beside it that says how it was made.
    """
    wanted = arguments.options(
        spacing, ratio, isotropic, axis, thickness, model, extent, device, memory_limit, equalize_slices, fill_gaps
    )
    dicom = DicomSettings(deterministic_uids, compress)
    job = Job(input, output, wanted, format, overwrite, dicom, report, window, series, frame)
    # Before the progress bar, so that a refusal stands alone.
    check_job(job)
    with progress_report(json_progress) as progress:
        result = run_job(job, progress)
    if not json_progress:
        slices, mm = result.volume.shape_kji, result.volume.spacing_ijk_mm
        print(
            f"{output}: {' x '.join(map(str, slices[::-1]))} voxels of {' x '.join(f'{s:.3g}' for s in mm)} mm. "
            f"{result.provenance['derived']}"
        )
        for note in result.notes:
            typer.secho(note, fg=typer.colors.YELLOW)
        if report is not None:
            print(f"{report / 'report.html'}: how far the result can be trusted.")


@contextmanager
def progress_report(as_json: bool) -> Iterator[ProgressCallback]:
    """A progress bar on standard error, or JSON lines on standard output."""
    if as_json:
        yield _json_line
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[left]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=not sys.stderr.isatty()) as bar:
        yield _bar_updater(bar)


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
