"""``cycleinr demo``: the main job on one scan, with a picture of it before and after."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ..errors import warnings_told_elsewhere
from ..jobs import check_output
from . import arguments
from .info import describe_plan, describe_volume
from .upsample import progress_report


def demo_command(
    input: arguments.Input,
    output_folder: Annotated[
        Path, typer.Argument(help="Folder for the finer volume and the picture; made if missing.")
    ],
    spacing: arguments.Spacing = 1.0,
    device: arguments.DeviceName = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
) -> None:
    """Make a scan finer and draw axial, coronal and sagittal planes before and after."""
    from ..files import image_suffix, read_volume, sidecar, write_volume
    from ..inference.plan import plan
    from ..pictures import display_window, three_planes

    output_folder.mkdir(parents=True, exist_ok=True)
    name = input.name.removesuffix(image_suffix(input) or "")
    output = output_folder / f"{name}_{spacing:g}mm.nii.gz"
    check_output(output, overwrite)
    wanted = arguments.options(spacing, None, False, device=device)
    volume = read_volume(input)
    work = plan(volume, wanted)
    print("\n".join([*describe_volume(volume), *describe_plan(work)]))
    started = time.monotonic()
    with progress_report(as_json=False) as report:
        from ..inference.upsample import upsample

        with warnings_told_elsewhere():
            result = upsample(volume, wanted, report)
    seconds = time.monotonic() - started
    with sidecar(output, result.provenance, overwrite):
        write_volume(result.volume, output, result.provenance, overwrite)
    picture = output.with_name(f"{name}_{spacing:g}mm.png")
    three_planes(volume, result.volume, work.grid, display_window(volume, work.modality), picture)
    print(f"\n{volume.shape_kji[0]} slices became {result.volume.shape_kji[0]} in {seconds:.0f} s.")
    print(f"Volume   {output}\nPicture  {picture}\n{result.provenance['derived']}")
