"""``cycleinr demo``: the main job on one scan, with a picture of it before and after."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ..errors import warnings_told_elsewhere
from ..grid import Target
from ..inference.options import UpsampleOptions
from ..inspection import inspect
from ..jobs import check_output, make_folder
from . import arguments
from .info import describe_plan, describe_volume
from .upsample import progress_report


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
    from ..files import image_suffix, read_volume, sidecar, write_volume
    from ..inference.plan import plan
    from ..pictures import three_planes
    from ..windows import check_window, window_for

    make_folder(output_folder)
    windows = window or ["auto"]
    for each in windows:
        check_window(each)
    name = input.name.removesuffix(image_suffix(input) or "")
    output = output_folder / f"{name}_{spacing:g}mm.nii.gz"
    check_output(output, overwrite)
    wanted = UpsampleOptions(Target(spacing), device=device)
    volume = read_volume(input)
    work = plan(volume, wanted)
    print("\n".join([*describe_volume(volume, inspect(volume)), *describe_plan(work)]))
    started = time.monotonic()
    with progress_report(as_json=False) as report:
        from ..inference.upsample import upsample

        with warnings_told_elsewhere():
            result = upsample(volume, wanted, report)
    seconds = time.monotonic() - started
    with sidecar(output, result.provenance, overwrite):
        write_volume(result.volume, output, result.provenance, overwrite)
    pictures = [output.with_name(f"{name}_{spacing:g}mm{_ending(each)}.png") for each in windows]
    for each, picture in zip(windows, pictures, strict=True):
        three_planes(volume, result.volume, work.grid, window_for(volume, work.modality, each), picture)
    print(f"\n{volume.shape_kji[0]} slices became {result.volume.shape_kji[0]} in {seconds:.0f} s.")
    print("\n".join([f"Volume   {output}", *(f"Picture  {each}" for each in pictures), result.provenance["derived"]]))


def _ending(window: str) -> str:
    """What tells pictures of several windows apart; the automatic one has the plain name."""
    return "" if window == "auto" else "_" + window.replace("/", "_")
