"""``cycleinr info``: what a scan is, and what a request for it would come to, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import CycleinrError
from ..inference.options import UpsampleOptions
from ..inference.plan import Plan, plan
from ..inspection import Inspection, inspect
from ..volume import Volume
from . import arguments
from .surroundings import check_all_was_printed

_PLANES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "R": "sagittal", "L": "sagittal"}
_STRAIGHT = 0.99


@arguments.with_request("device", "equalize_slices", ratio=2.0)
def info_command(
    input: arguments.Input,
    request: arguments.Request,
    series: arguments.Series = "",
    frame: arguments.Frame = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Show a scan's geometry and all series of a folder, and whether a request can be done, or why not.

    With --spacing, --ratio or --isotropic also the result's size, memory and time. The exit code is 0 whenever there is
    something to tell.
    """
    told = tell(input, request.options, series, frame, request.named)
    print(json.dumps(told.content(), indent=1) if as_json else "\n".join(told.lines()))
    check_all_was_printed()


class Told:
    """What there is to tell of an input: what it holds, the scan that is meant, and what a request comes to."""

    def __init__(self) -> None:
        self.series: list[dict[str, Any]] = []
        self.notes: tuple[str, ...] = ()
        self.scan: Volume | None = None
        self.seen: Inspection | None = None
        self.header: dict[str, Any] = {}
        self.work: Plan | None = None
        self.reason = ""

    def content(self) -> dict[str, Any]:
        """Everything as JSON holds it; ``possible`` and ``reason`` say whether the request can be done."""
        scan = self.header or (volume_content(self.scan, self.seen) if self.scan is not None else None)
        result = None if self.work is None else plan_content(self.work)
        return {
            "possible": not self.reason,
            "reason": self.reason or None,
            "series": self.series,
            "scan": scan,
            "result": result,
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """The same for people, a line each."""
        lines = [f"{_title(n, 'Series')}{_series_line(one)}" for n, one in enumerate(self.series)]
        if self.scan is not None:
            lines += describe_volume(self.scan, self.seen)
        elif self.header:
            lines += [
                f"Size             {_times(self.header['size'])} voxels, {self.header['type']}",
                f"Spacing          {_times(f'{s:.4g}' for s in self.header['spacing_ijk_mm'])} mm",
            ]
        lines += [f"Note             {text}" for text in self.notes]
        lines += describe_plan(self.work) if self.work is not None else []
        return [*lines, f"Not possible     {self.reason}"] if self.reason else lines


def tell(input: Path, wanted: UpsampleOptions, series: str, frame: int | None, named: bool) -> Told:
    """Find out what there is to tell.

    Args:
        named: Whether the user named a target, so that the plan is of interest too.

    Raises:
        CycleinrError: There is nothing to tell.
    """
    from ..files import is_dicom, list_series, opened_scan, read_volume

    told = Told()
    with opened_scan(input) as found:
        listing = list_series(found)
        if listing is not None:
            told.series = [one.content() for one in listing.series]
            told.notes = (*listing.notes, *(str(error) for _, error in listing.damaged))
        elif not is_dicom(found):
            told.header = _header_content(found)
        try:
            told.scan = read_volume(found, series, frame)
            told.seen = inspect(told.scan, wanted.intensity_offset)
            told.notes, told.header = told.scan.notes, {}
            work = plan(told.scan, wanted, told.seen)
            told.work = work if named else None
        except CycleinrError as error:
            told.reason = str(error)
    return told


def _header_content(path: Path) -> dict[str, Any]:
    from ..affine import spacing_of
    from ..files.images import image_header

    header = image_header(path)
    return {
        "size": list(header.sizes),
        "type": str(header.type),
        "frames": header.frames,
        "spacing_ijk_mm": list(spacing_of(header.ijk_to_ras)),
        "ijk_to_ras": header.ijk_to_ras.tolist(),
    }


def volume_content(volume: Volume, seen: Inspection) -> dict[str, Any]:
    """A scan's geometry as JSON holds it."""
    from ..grid import through_plane_axis, uneven_slices

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


def plan_content(work: Plan) -> dict[str, Any]:
    """What a request comes to as JSON holds it."""
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


def plane_of(volume: Volume, axis: str) -> str:
    """What slices stacked along an axis are called, for example "axial" or "oblique coronal"."""
    n = "ijk".index(axis)
    plane = _PLANES[volume.orientation[n]]
    return plane if abs(volume.directions[:, n]).max() > _STRAIGHT else f"oblique {plane}"


def describe_volume(volume: Volume, seen: Inspection) -> list[str]:
    """Size, spacing, place, value range and slice direction of a scan, a line each."""
    from ..grid import through_plane_axis, uneven_slices

    array, axis, uneven = volume.array, through_plane_axis(volume), uneven_slices(volume)
    thickness = "unknown" if volume.slice_thickness_mm is None else f"{volume.slice_thickness_mm:g} mm"
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


def _series_line(one: dict[str, Any]) -> str:
    spacing = "" if one["spacing_mm"] is None else f"{one['spacing_mm']:.3g} mm apart"
    texts = [f"{one['images']} {one['modality']} images", one["orientation"], spacing, one["part"]]
    texts += ["made by CycleINR"] if one["made_by_cycleinr"] else []
    reason = f" - not possible: {one['reason']}" if one["reason"] else ""
    return f"{one['series']}: {', '.join(text for text in texts if text)}{reason}"


def _title(n: int, text: str) -> str:
    return f"{text if n == 0 else '':<17}"


def _times(parts) -> str:
    return " x ".join(str(part) for part in parts)
