"""``cycleinr info``: what a scan is, and what a request for it would come to, before anything runs."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from .. import CycleinrError
from ..files import image_header, is_dicom, list_series, opened_scan, read_volume
from ..files.samples import ImageHeader
from ..geometry import spacing_of
from ..grid import plane_of, through_plane_axis, uneven_slices
from ..inference.plan import Plan, plan
from ..inspection import Inspection, inspect
from ..volume import Volume
from . import arguments


@arguments.with_request("device", "equalize_slices", ratio=2.0)
def info_command(
    input: arguments.Input,
    request: arguments.CommandRequest,
    series: arguments.SeriesNumber = "",
    frame: arguments.Frame = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Show a scan's geometry and all series of a folder, and whether a request can be done, or why not.

    With --spacing, --ratio or --isotropic also the result's size, memory and time. The exit code is 0 whenever there is
    something to tell.
    """
    content: dict[str, Any] = {"series": [], "scan": None, "result": None, "notes": []}
    lines: list[str] = []
    possible, reason, forecast = True, None, []
    with opened_scan(input) as found:
        listing = list_series(found)
        if listing is not None:
            content["series"] = [one.content() for one in listing.series]
            content["notes"] = [*listing.notes, *(str(error) for _, error in listing.damaged)]
        elif not is_dicom(found):
            content["scan"], lines = _of_header(image_header(found))
        try:
            scan = read_volume(found, series, frame)
            content["notes"] = list(scan.notes)
            seen = inspect(scan, request.options.intensity_offset)
            content["scan"], lines = _volume_content(scan, seen), describe_volume(scan, seen)
            work = plan(scan, request.options, seen)
            if request.named:
                content["result"], forecast = _plan_content(work), describe_plan(work)
        except CycleinrError as error:
            possible, reason = False, str(error)
    if as_json:
        print(json.dumps({"possible": possible, "reason": reason, **content}, indent=1))
    else:
        for n, one in enumerate(listing.series if listing is not None else ()):
            why = f" - not possible: {one.problem}" if one.problem else ""
            print(f"{'' if n else 'Series':<17}{one}{why}")
        notes = [f"Note             {text}" for text in content["notes"]]
        refusal = [] if possible else [f"Not possible     {reason}"]
        print("\n".join([*lines, *notes, *forecast, *refusal]))


def _of_header(header: ImageHeader) -> tuple[dict[str, Any], list[str]]:
    """What the header alone tells, for programs and for people."""
    spacing_ijk_mm, kind = spacing_of(header.ijk_to_ras), str(header.type)
    content = {
        "size": list(header.sizes),
        "type": kind,
        "frames": header.frames,
        "spacing_ijk_mm": list(spacing_ijk_mm),
        "ijk_to_ras": header.ijk_to_ras.tolist(),
    }
    spacing = _times(f"{s:.4g}" for s in spacing_ijk_mm)
    return content, [f"Size             {_times(header.sizes)} voxels, {kind}", f"Spacing          {spacing} mm"]


def _volume_content(volume: Volume, seen: Inspection) -> dict[str, Any]:
    axis, uneven = through_plane_axis(volume), uneven_slices(volume)
    return {
        "size": list(volume.shape_kji[::-1]),
        "type": str(volume.array.dtype),
        "frames": 1,
        "spacing_ijk_mm": list(volume.spacing_ijk_mm),
        "ijk_to_ras": volume.ijk_to_ras.tolist(),
        "orientation": volume.orientation,
        "slice_axis": axis,
        "slices": plane_of(volume, axis),
        "slice_thickness_mm": volume.slice_thickness_mm,
        "uneven_slices": None if uneven is None else uneven.to_dict(),
        "modality": volume.modality,
        "values_look_like": seen.modality,
        "values": [seen.low, seen.high],
        "padding_voxels": seen.padding,
    }


def _plan_content(work: Plan) -> dict[str, Any]:
    return {
        "size": list(work.shape_kji[::-1]),
        "spacing_ijk_mm": list(work.spacing_ijk_mm),
        "ratio": work.grid.ratio,
        "tau": work.tau,
        "model": str(work.card.get("name", work.weights.stem)),
        "memory_gb": work.peak_gigabytes,
        "seconds": work.seconds,
        "warnings": list(work.warnings),
    }


def describe_volume(volume: Volume, seen: Inspection) -> list[str]:
    """Size, spacing, place, value range and slice direction of a scan, a line each."""
    array, axis, uneven = volume.array, through_plane_axis(volume), uneven_slices(volume)
    thickness = "unknown" if volume.slice_thickness_mm is None else f"{volume.slice_thickness_mm:g} mm"
    if uneven is not None and uneven.thickness_mm is not None:
        thickness = f"{uneven.thickness_mm.min():g} to {uneven.thickness_mm.max():g} mm"
    return [
        f"Size             {_times(volume.shape_kji[::-1])} voxels (I x J x K), {array.dtype}",
        f"Memory           {array.nbytes / 1e6:.0f} MB",
        f"Spacing          {_times(f'{s:.4g}' for s in volume.spacing_ijk_mm)} mm",
        f"Orientation      {volume.orientation}, {plane_of(volume, axis)} slices",
        f"First voxel      {', '.join(f'{mm:.4g}' for mm in volume.ijk_to_ras[:3, 3])} mm (R, A, S)",
        f"Slice direction  {axis} ({'the largest spacing' if uneven is None else 'not even'})",
        *([] if uneven is None else [f"Slices lie       {uneven.words}"]),
        f"Slice thickness  {thickness}",
        f"Modality         {volume.modality or f'not stated; {seen.reason}'}",
        f"Values           {seen.low:g} to {seen.high:g}",
        *([f"Padding          {seen.note}"] if seen.note else []),
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
