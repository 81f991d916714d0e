"""``cycleinr info``: what a scan is, and what a request for it would come to, before anything runs."""

from __future__ import annotations

from ..inference.plan import Plan, plan
from ..volume import Volume
from . import arguments
from .streams import check_all_was_printed


def info_command(
    input: arguments.Input,
    spacing: arguments.Spacing = None,
    ratio: arguments.Ratio = None,
    isotropic: arguments.Isotropic = False,
    axis: arguments.Axis = "auto",
    thickness: arguments.Thickness = "auto",
    model: arguments.Model = "auto",
    extent: arguments.Extent = "centres",
    memory_limit: arguments.MemoryLimit = None,
    fill_gaps: arguments.FillGaps = False,
    series: arguments.Series = "",
    frame: arguments.Frame = None,
) -> None:
    """Show a scan's geometry; with --spacing, --ratio or --isotropic also the result's size, memory and time."""
    from ..files import read_volume

    volume = read_volume(input, series, frame)
    print("\n".join(describe_volume(volume)))
    if spacing is not None or ratio is not None or isotropic:
        wanted = arguments.options(
            spacing, ratio, isotropic, axis, thickness, model, extent, memory=memory_limit, fill_gaps=fill_gaps
        )
        print("\n".join(describe_plan(plan(volume, wanted))))
    check_all_was_printed()


def describe_volume(volume: Volume) -> list[str]:
    """Size, spacing, value range and slice direction of a scan, a line each."""
    from ..grid import through_plane_axis

    array, axis = volume.array, through_plane_axis(volume)
    thickness = "unknown" if volume.slice_thickness_mm is None else f"{volume.slice_thickness_mm:g} mm"
    return [
        f"Size             {_times(volume.shape_kji[::-1])} voxels (I x J x K), {array.dtype}",
        f"Memory           {array.nbytes / 1e6:.0f} MB",
        f"Spacing          {_times(f'{s:.4g}' for s in volume.spacing_ijk_mm)} mm",
        f"Slice direction  {axis} (the largest spacing)",
        f"Slice thickness  {thickness}",
        f"Modality         {volume.modality or 'not stated'}",
        f"Values           {array.min():g} to {array.max():g}",
    ]


def describe_plan(work: Plan) -> list[str]:
    """The result's size and spacing, and the resources it takes, a line each."""
    return [
        "",
        f"Result           {_times(work.shape_kji[::-1])} voxels, {work.output_megabytes:.0f} MB",
        f"Result spacing   {_times(f'{s:.4g}' for s in work.spacing_ijk_mm)} mm",
        f"Ratio            {work.grid.ratio:.4g}",
        f"Slice profile    {work.tau_reason}",
        f"Model            {work.model_reason}",
        f"Peak memory      about {work.peak_gigabytes:.1f} GB",
        f"Time             about {max(1, round(work.seconds))} s on this machine's CPU",
        *(f"Warning          {text}" for text in work.warnings),
    ]


def _times(parts) -> str:
    return " x ".join(str(part) for part in parts)
