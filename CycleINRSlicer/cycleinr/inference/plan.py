"""What a request comes to before any of it is computed: result size, memory, time, model, and what a reader should know
of it. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import GeometryError, InputError, RequestError
from ..computer import limit_bytes
from ..geometry import Gap
from ..grid import (
    AXIS_OF_ARRAY,
    ISOTROPY_TOLERANCE,
    ROUNDING,
    SliceGrid,
    output_ijk_to_ras,
    output_shape_kji,
    pixel_mm_of,
    plan_grid,
    to_axis_first,
)
from ..inspection import Inspection, inspect
from ..request import ChosenModel, UpsampleOptions, choose_model
from ..resampling import MAX_TAU, NEIGHBOURS, TRAINED_TAU_MAX
from ..result import text_of_gaps
from ..threads import computing_threads
from ..volume import Volume
from ..weights import NetworkConfig
from .consistency import CoveringGrid, covering_grid
from .tiling import Part, Pass, StripCost, Tiling, part_of, passes

_BASE_BYTES = 150e6
"""Resident memory of Python, NumPy and SimpleITK before any volume is loaded, measured on Linux."""

_GFLOPS_PER_CORE = 40.0
"""A laptop core's rate on these convolutions; the measured rate replaces it as soon as a run has progress."""


@dataclass(frozen=True)
class Plan:
    """A request that fits its volume, with all that follows from it.

    Attributes:
        grid: The slices that are computed.
        part: Which voxels of the scan go in, and which of what is computed is the result; all but for a region.
        shape_kji, spacing_ijk_mm, ijk_to_ras: The result's geometry.
        tau: Slice thickness / slice spacing that the network is told, and ``tau_reason`` why; where the spacing
            changes, that of the finest part.
        slice_tau: The same, (n_in,) of each slice where they are not even.
        covering: The slices that are computed, and where the acquired ones lie among them.
        passes: Which of them are computed together.
        gaps: Slices of the result that lie where acquired ones are missing.
        modality, weights, card, model_reason: The model and why it was chosen.
        output_megabytes: Size of the result in memory.
        peak_gigabytes: Estimate of the whole process's peak.
        seconds: Estimate of the time on this machine's CPU.
        tiling: Image rows that are computed at a time.
        warnings: What the reader should know of the request before the result is trusted, a sentence each.
        padding: How much of the scan is padding, in words; empty for none.
    """

    grid: SliceGrid
    part: Part
    shape_kji: tuple[int, int, int]
    spacing_ijk_mm: tuple[float, float, float]
    ijk_to_ras: np.ndarray
    tau: float
    tau_reason: str
    slice_tau: float | np.ndarray
    covering: CoveringGrid
    passes: tuple[Pass, ...]
    gaps: tuple[slice, ...]
    modality: str
    weights: Path
    card: dict[str, Any]
    model_reason: str
    output_megabytes: float
    peak_gigabytes: float
    seconds: float
    tiling: Tiling
    warnings: tuple[str, ...] = ()
    padding: str = ""


def plan(volume: Volume, options: UpsampleOptions, seen: Inspection | None = None, *, look: bool = True) -> Plan:
    """Check a request against a volume and work out what it comes to.

    Args:
        volume: The acquired scan.
        options: What is wanted.
        seen: What ``inspect`` said of the volume with the options' offset; looking at the voxels is most of the work.
        look: False for voxels that were not read. Options or volume must tell CT or MR.

    Raises:
        RequestError, GeometryError: The request does not fit the volume, or several slices are missing.
        InputError: Nothing can be computed from the volume's values.
        ModalityError: CT or MR is neither asked for nor known, and the values leave it open.
        ModelError: No weights for it.
        OutOfMemoryError: The memory limit is below what one row of pixels takes.
    """
    if look:
        seen = seen or inspect(volume, options.intensity_offset)
        if seen.problem:
            raise InputError(seen.problem)
    whole = plan_grid(volume, options.target, options.axis, options.extent)
    model = choose_model(volume, options.model, seen)
    config = NetworkConfig.from_dict(model.card["network"])
    part = part_of(volume.shape_kji, whole, options.region, config)
    warnings = _warnings(volume, options, model, whole, seen)
    volume, grid = volume[part.source], part.grid
    gaps = _gaps_within(grid, part.kept[AXIS_OF_ARRAY[grid.axis]])
    _check_gaps(gaps, options.fill_gaps)
    taus, tau_reason = _slice_profile_tau(volume, options.thickness_mm, grid)
    tau_of_parts = _tau_of_parts(grid, taus)
    computed = np.broadcast_to(np.empty(1, volume.array.dtype), output_shape_kji(volume, grid))
    result = Volume(computed, output_ijk_to_ras(volume, grid))[part.kept]
    rows_in, columns = to_axis_first(volume.array, grid.axis).shape[1:]
    covering = covering_grid(grid, taus)
    # Each block looks one slice farther, and sampling takes two slices on either side
    reach = config.blocks + NEIGHBOURS // 2
    parts = passes(grid, covering, taus, sum(pixel_mm_of(volume, grid.axis)) / 2, reach)
    threads = computing_threads()
    cost = StripCost(config, grid, columns, threads)
    tiling = cost.tiling_within(limit_bytes(options.memory_limit_gb), rows_in)
    in_bytes, out_bytes = volume.array.nbytes, result.array.nbytes
    if seen is not None and seen.valid is not None:
        # A copy with the padding filled, and both masks
        in_bytes += in_bytes + seen.valid.nbytes + result.array.size
    passed = sum(each.acquired.stop - each.acquired.start for each in parts) / grid.n_in
    return Plan(
        grid=grid,
        part=part,
        shape_kji=result.shape_kji,
        spacing_ijk_mm=result.spacing_ijk_mm,
        ijk_to_ras=result.ijk_to_ras,
        tau=tau_of_parts[0][0],
        tau_reason=tau_reason,
        slice_tau=taus,
        covering=covering,
        passes=parts,
        gaps=tuple(inside for _, inside in gaps),
        modality=model.modality,
        weights=model.weights,
        card=model.card,
        model_reason=model.reason,
        output_megabytes=out_bytes / 1e6,
        peak_gigabytes=(_BASE_BYTES + in_bytes + out_bytes + cost.bytes_for(min(tiling.rows, rows_in))) / 1e9,
        seconds=passed * cost.flops(rows_in) / (_GFLOPS_PER_CORE * 1e9 * threads),
        tiling=tiling,
        warnings=(*warnings, *_limit_warnings(grid, tau_of_parts, model.card), *_uneven_warnings(grid, gaps)),
        padding=seen.note if seen else "",
    )


def _warnings(
    volume: Volume, options: UpsampleOptions, model: ChosenModel, grid: SliceGrid, seen: Inspection | None
) -> list[str]:
    """Sentences on the scan itself."""
    found = []
    if volume.made_by_cycleinr:
        found.append("The scan was made by CycleINR, not acquired, so that errors add up. Give the acquired scan.")
    if seen is not None and seen.labels:
        found.append(
            f"The values are those of a mask ({seen.labels} whole numbers in flat areas); between labels, the result "
            "has values that are none."
        )
    if seen is not None and model.modality == "MR" and not grid.is_identity:
        found += seen.artifacts(volume, grid.axis).warnings(options.equalize_slices)
    return found


def _slice_profile_tau(volume: Volume, thickness_mm: float | None, grid: SliceGrid) -> tuple[float | np.ndarray, str]:
    """Slice thickness / slice spacing, (n_in,) where the slices are not even, and a sentence on where it comes from."""
    own = grid.acquisition
    spacing = grid.spacing_in_mm if own is None else own.local_spacing_mm
    thickness: float | np.ndarray | None = volume.slice_thickness_mm
    reason = "as the scan says"
    if own is not None and own.thickness_mm is not None:
        thickness = own.thickness_mm
    if thickness_mm is not None:
        finest, thickness, reason = float(np.min(spacing)), thickness_mm, "as asked for"
        if not 0 <= thickness_mm <= MAX_TAU * finest:
            raise RequestError(
                f"The slice thickness {thickness_mm:g} mm does not fit the slice spacing {finest:g} mm. "
                f"Give 0 to {MAX_TAU * finest:g} mm, or leave it to be found automatically."
            )
    known = True
    if thickness is None or np.any(thickness > MAX_TAU * spacing):
        says = "does not say its" if thickness is None else f"says {np.max(thickness):g} mm, which cannot be its"
        known, thickness, reason = False, spacing, f"since the scan {says} slice thickness"
    if own is not None:
        usual = zip(own.usual(thickness), own.parts, strict=True)
        parts = [f"{mm:g} mm thick every {part.spacing_mm:.4g} mm" for mm, part in usual]
        return thickness / spacing, f"slices {', then '.join(parts)}, {reason}."
    told = f"{thickness:g} mm thick slices every" if known else "contiguous"
    told = "thin slices with gaps every" if thickness_mm == 0 else told
    return thickness / spacing, f"{told} {spacing:g} mm{'' if known else ' slabs'}, {reason}."


def _tau_of_parts(grid: SliceGrid, taus: float | np.ndarray) -> list[tuple[float, str]]:
    """What is usual in each part with one spacing, the finest first, and where that is, in words."""
    own = grid.acquisition
    if own is None:
        return [(float(taus), "")]
    found = []
    for part, tau in sorted(zip(own.parts, own.usual(taus).tolist(), strict=True), key=lambda each: each[0].spacing_mm):
        where = f" from slice {part.first + 1} to {part.last + 1}" if len(own.parts) > 1 else ""
        found.append((tau, where))
    return found


def _limit_warnings(grid: SliceGrid, tau_of_parts: list[tuple[float, str]], card: Mapping[str, Any]) -> list[str]:
    """Sentences on a request beyond what the weights of this card were trained for."""
    found, spacing_mm = [], grid.spacing_in_mm
    if grid.acquisition is not None:
        spacing_mm = max(part.spacing_mm for part in grid.acquisition.parts)
    elif grid.n_in == grid.n_out and abs(grid.ratio - 1) <= ISOTROPY_TOLERANCE:
        return [
            f"Nothing to do: the slices are {spacing_mm:.4g} mm apart already. Ask for less than {spacing_mm:.4g} mm "
            "to get finer ones."
        ]
    ratio = spacing_mm / grid.spacing_out_mm
    low, high = card.get("training", {}).get("ratios") or (0.0, math.inf)
    said = f"{ratio:.3g} times as many slices; the weights were trained for {low:g} to {high:g} times"
    if ratio > high * (1 + ROUNDING):
        found.append(
            f"{said}. Expect lost and invented detail between the acquired slices, or ask for "
            f"{spacing_mm / high:.3g} mm or more."
        )
    elif ratio < low * (1 - ROUNDING):
        found.append(
            f"{said}. The result may be no better than interpolation; ask for {spacing_mm / low:.3g} mm or less to "
            "stay within."
        )
    tau, where = max(tau_of_parts)
    if tau > TRAINED_TAU_MAX * (1 + ROUNDING):
        found.append(
            f"The slices overlap{where}: each is {tau:.3g} times as thick as they are apart, and the weights were "
            f"trained for up to {TRAINED_TAU_MAX:g} times. Check the thickness; the result may be too smooth or too "
            "sharp."
        )
    return found


Gaps = tuple[tuple[Gap, slice], ...]
"""Gaps of the scan, each with the output slices that lie in it."""


def _gaps_within(grid: SliceGrid, kept: slice) -> Gaps:
    """The gaps that a result touches, which is ``kept`` of the slices that are computed and counts from its first."""
    own = grid.acquisition
    if own is None:
        return ()
    first, stop, _ = kept.indices(grid.n_out)
    places_mm = grid.first_mm + np.arange(first, stop) * grid.spacing_out_mm
    tolerance = ROUNDING * grid.spacing_in_mm
    found = []
    for gap in own.gaps:
        inside = slice(*np.searchsorted(places_mm, (gap.first_mm + tolerance, gap.last_mm - tolerance)).tolist())
        if inside.start < inside.stop:
            found.append((gap, inside))
    return tuple(found)


def _check_gaps(gaps: Gaps, fill_gaps: bool) -> None:
    """Refuse a scan with gaps unless they were asked to be filled, or one slice is missing in all."""
    missing = sum(gap.missing for gap, _ in gaps)
    if missing > 1 and not fill_gaps:
        where = (f"{gap.missing} after slice {gap.after + 1}, at {gap.first_mm:.4g} mm" for gap, _ in gaps)
        raise GeometryError(
            f"{missing} slices are missing, counted from the first one: {'; '.join(where)}. Load the complete series. "
            "Or fill the gaps with what the slices around them suggest: --fill-gaps on the command line, "
            "fill_gaps=True in Python, Gaps in the panel; the result says where they are."
        )


def _uneven_warnings(grid: SliceGrid, gaps: Gaps) -> tuple[str, ...]:
    """Sentences on changes of spacing and on what lies in gaps; slices are counted from 1."""
    own = grid.acquisition
    if own is None:
        return ()
    found = []
    if len(own.parts) > 1:
        found.append(
            f"The distance between slices changes: {', '.join(part.words for part in own.parts)}. Each part was "
            "computed for its own, and the result is even; expect less detail where slices are thicker."
        )
    if gaps:
        missing = sum(gap.missing for gap, _ in gaps)
        after = " and ".join(str(gap.after + 1) for gap, _ in gaps)
        found.append(
            f"{'One slice is' if missing == 1 else f'{missing} slices are'} missing after slice {after}, counted "
            f"from 1. Nothing was acquired there: the result's {text_of_gaps(inside for _, inside in gaps)} can only "
            "show what the slices around suggest."
        )
    return tuple(found)
