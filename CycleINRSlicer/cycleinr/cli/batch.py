"""``cycleinr batch``: many scans, resumed where it was interrupted."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .. import RequestError
from ..batch.folder import Tell
from ..batch.results import DONE, PENDING, STARTED, Record
from ..batch.run import Batch
from ..batch.table import RESULT_FORMATS, Settings
from ..dicom_out import DicomSettings
from ..request import BUNDLED
from ..resampling import counted
from . import arguments
from .app import INCOMPLETE

_NOTES_SHOWN = 20
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@arguments.with_request("region", ratio=1.0)
def batch_command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Scans, folders (searched with their subfolders), globs in quotes, or CSV tables with the columns "
            "input, output, spacing, ratio, isotropic, axis, thickness, model, extent, format, series, frame; only "
            "input is needed.",
        ),
    ],
    output_dir: Annotated[
        Path, typer.Argument(metavar="OUTPUT_DIR", help="Folder for results and manifest; made if missing.")
    ],
    request: arguments.CommandRequest,
    format: Annotated[
        str,
        typer.Option("--format", help=f"{', '.join(RESULT_FORMATS)}; auto: the scan's own format, .nii.gz for DICOM."),
    ] = "auto",
    deterministic_uids: arguments.DeterministicUids = False,
    compress: arguments.Compress = False,
    report: Annotated[
        bool,
        typer.Option("--report", help="Also check each result without ground truth, into the folder RESULT.check."),
    ] = False,
    readable_names: Annotated[
        bool,
        typer.Option(
            "--readable-names",
            help="Call results of DICOM series by date, number and description instead of a hash. What was typed as a "
            "description may say who it is.",
        ),
    ] = False,
    workers: Annotated[int, typer.Option("--workers", help="Processes on this computer.")] = 1,
    cluster: Annotated[
        str, typer.Option("--cluster", help="Run on this Dask cluster: the scheduler's address or its scheduler file.")
    ] = "",
    gpu_resource: Annotated[
        str, typer.Option("--gpu-resource", help="With --cluster: the Dask resource that each scan takes one of.")
    ] = "",
) -> None:
    """Make many scans finer. The same command goes on where it was interrupted.

    Each scan runs in isolation; one that fails is listed in manifest.csv and manifest.json, and the others go on. Exit
    code 0: all done; 10: all finished, but some scans failed.
    """
    if gpu_resource and not cluster:
        raise RequestError(f"--gpu-resource {gpu_resource} is for a cluster, which is not asked for. Add --cluster.")
    options = request.options
    if options.model not in ("auto", *BUNDLED):
        options = replace(options, model=os.path.abspath(options.model))
    if workers < 1:
        raise RequestError(f"The number of workers is {workers}. Give 1 or more.")
    settings = Settings(options, format, DicomSettings(deterministic_uids, compress), report)
    opened = Batch.opened(inputs, output_dir, settings, not request.named, readable_names)
    with opened as batch, _live_report(batch) as tell:
        batch.run(tell, workers, cluster, gpu_resource)
    failed, kept = len(batch.failed), batch.kept
    print(
        f"{counted(len(batch.ran) - failed, 'scan')} done, {failed} failed.{f' {_done_before(kept)}' if kept else ''} "
        f"See {output_dir / 'manifest.csv'}. Results are derived by CycleINR, not acquired. Not for primary diagnosis."
    )
    if failed:
        raise typer.Exit(INCOMPLETE)


def _done_before(count: int) -> str:
    return f"{counted(count, 'was', 'were')} done before."


@contextmanager
def _live_report(batch: Batch) -> Iterator[Tell]:
    """Progress bars on a terminal's standard error; a line for each finished scan everywhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # A name such as a[/b].nii.gz is no markup.
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    running, finished = dict[str, int](), 0

    def say(text: str) -> None:
        # File names may hold bytes that no terminal can show, and sequences that it would obey.
        console.print(_UNPRINTABLE.sub("?", text.encode("utf-8", "replace").decode()))

    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bars:
        say(f"{counted(batch.total, 'scan')}; {_done_before(batch.kept)}")
        for note in batch.notes[:_NOTES_SHOWN]:
            say(note)
        if len(batch.notes) > _NOTES_SHOWN:
            say(f"... and {counted(len(batch.notes) - _NOTES_SHOWN, 'more note')}; manifest.json has them all.")
        total = bars.add_task("All scans", total=len(batch.left))

        def tell(record: Record, fraction: float) -> None:
            nonlocal finished
            if record.status == STARTED:
                if record.output not in running:
                    running[record.output] = bars.add_task(record.output, total=100)
                bars.update(running[record.output], completed=round(100 * fraction))
                return
            if record.output in running:
                bars.remove_task(running.pop(record.output))
            if record.status == PENDING:
                say(f"{record.output}: {record.error}; it is tried once more.")
                return
            finished += 1
            bars.advance(total)
            say(f"[{finished}/{len(batch.left)}] {_line(record)}")

        yield tell


def _line(record: Record) -> str:
    if record.status == DONE:
        return f"{record.output}: done in {record.seconds:.1f} s. {record.notes}".rstrip()
    return f"{record.output}: FAILED ({record.error_kind}): {record.error}"
