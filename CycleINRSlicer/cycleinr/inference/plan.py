"""What a request comes to before any of it is computed: result size, memory, time, model. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..acquisition import Acquisition
from ..affine import spacing_of, subgrid_affine
from ..errors import InputError, OutOfMemoryError, RequestError
from ..grid import (
    AXIS_OF_ARRAY,
    COLUMN_OF_AXIS,
    SliceGrid,
    output_ijk_to_ras,
    output_shape_kji,
    plan_grid,
    to_axis_first,
)
from ..inspection import Inspection, inspect
from ..interpolation import NEIGHBOURS
from ..memory import limit_bytes
from ..network.config import NetworkConfig
from ..profile import MAX_TAU
from ..slice_artifacts import SliceArtifacts
from ..threads import CrewSize, computing_threads
from ..volume import Volume
from .consistency import CoveringGrid, covering_grid
from .limits import check_gaps, gaps_within, limit_warnings, uneven_warnings
from .models import ModelChoice, choose_model
from .options import UpsampleOptions
from .part import Part, Pass, part_of, passes
from .tiling import Tiling

_BASE_BYTES = 150e6
"""Resident memory of Python, NumPy and SimpleITK before any volume is loaded, measured on Linux."""

_FLOAT = 4
_GFLOPS_PER_CORE = 40.0
"""A laptop core's rate on these convolutions; the measured rate replaces it as soon as a run has progress."""

_ENCODER_SLICES = 2
"""Slices that each encoder block holds while it streams: its unfinished output and its hidden values."""

_PROJECTIONS = 3
"""Query, key and value, each as large as a slice's codes."""

_WINDOW_SLICES = _PROJECTIONS * NEIGHBOURS
"""Projections around an interval."""

_PIXEL_COPIES = 8
"""Arrays of residuals and gates that a thread holds for each output slice of its interval."""

_FIXED_BYTES = 80e6
"""Pieces of data consistency and blocks of the decoder, whose size does not depend on the strip's."""

_BLOCK_BYTES = 12e6
"""Blocks of the decoder for each further thread."""


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


def plan(volume: Volume, options: UpsampleOptions, seen: Inspection | None = None) -> Plan:
    """Check a request against a volume and work out what it comes to.

    Args:
        volume: The acquired scan.
        options: What is wanted.
        seen: What ``inspect`` said of the volume with the options' offset; looking at the voxels is most of the work.

    Raises:
        RequestError, GeometryError: The request does not fit the volume, or several slices are missing.
        InputError: Nothing can be computed from the volume's values.
        ModalityError: CT or MR is neither asked for nor known, and the values leave it open.
        ModelError: No weights for it.
        OutOfMemoryError: The memory limit is below what one row of pixels takes.
    """
    seen = seen or inspect(volume, options.intensity_offset)
    if seen.problem:
        raise InputError(seen.problem)
    return plan_unseen(volume, options, seen)


def plan_unseen(volume: Volume, options: UpsampleOptions, seen: Inspection | None = None) -> Plan:
    """``plan`` without a look at the values; same errors but for them. Options and volume tell CT or MR."""
    whole = plan_grid(volume, options.target, options.axis, options.extent)
    model = choose_model(volume, options.model, seen)
    config = NetworkConfig.from_dict(model.card["network"])
    part = part_of(volume.shape_kji, whole, options.region, config)
    warnings = _warnings(volume, options, model, whole, seen)
    volume, grid = volume[part.source], part.grid
    gaps = gaps_within(grid, part.kept[AXIS_OF_ARRAY[grid.axis]])
    check_gaps(gaps, options.fill_gaps)
    taus, tau_reason = slice_profile_tau(volume, options.thickness_mm, grid)
    own = grid.acquisition
    tau = float(np.broadcast_to(taus, grid.n_in)[0 if own is None else own.local_spacing_mm.argmin()])
    affine, shape = _kept(output_ijk_to_ras(volume, grid), output_shape_kji(volume, grid), part.kept)
    rows_in, columns = to_axis_first(volume.array, grid.axis).shape[1:]
    covering = covering_grid(grid, taus)
    # Each block looks one slice farther, and sampling takes two slices on either side
    reach = config.blocks + NEIGHBOURS // 2
    parts = passes(grid, covering, taus, _pixel_mm(spacing_of(affine), grid), reach)
    cost = StripCost(config, grid, columns, computing_threads())
    tiling = cost.tiling_within(limit_bytes(options.memory_limit_gb), rows_in)
    in_bytes, out_bytes = volume.array.nbytes, int(np.prod(shape)) * volume.array.itemsize
    if seen is not None and seen.valid is not None:
        # A copy with the padding filled, and both masks
        in_bytes += in_bytes + seen.valid.nbytes + int(np.prod(shape))
    passed = sum(each.acquired.stop - each.acquired.start for each in parts) / grid.n_in
    return Plan(
        grid=grid,
        part=part,
        shape_kji=shape,
        spacing_ijk_mm=spacing_of(affine),
        ijk_to_ras=affine,
        tau=tau,
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
        seconds=passed * cost.flops(rows_in) / (_GFLOPS_PER_CORE * 1e9 * cost.threads),
        tiling=tiling,
        warnings=(*warnings, *limit_warnings(grid, tau, model.card), *uneven_warnings(grid, gaps)),
        padding=seen.note if seen else "",
    )


def _warnings(
    volume: Volume, options: UpsampleOptions, model: ModelChoice, grid: SliceGrid, seen: Inspection | None
) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    if seen is not None and seen.labels:
        found += (
            f"The values are those of a mask ({seen.labels} whole numbers in flat areas); between labels, the result "
            "has values that are none.",
        )
    if model.modality == "MR" and not grid.is_identity:
        artifacts = SliceArtifacts.of(volume, grid.axis) if seen is None else seen.artifacts(volume, grid.axis)
        found += artifacts.warnings(options.equalize_slices)
    return found


def _kept(
    ijk_to_ras: np.ndarray, shape_kji: tuple[int, int, int], kept: tuple[slice, slice, slice]
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine and shape of the part of a grid that is kept."""
    ends = [one.indices(size) for one, size in zip(kept, shape_kji, strict=True)]
    affine = subgrid_affine(ijk_to_ras, [start for start, _, _ in reversed(ends)], np.ones(3))
    k, j, i = (stop - start for start, stop, _ in ends)
    return affine, (k, j, i)


def _pixel_mm(spacing_ijk_mm: tuple[float, float, float], grid: SliceGrid) -> float:
    """Mean in-plane spacing."""
    column = COLUMN_OF_AXIS[grid.axis]
    return sum(mm for c, mm in enumerate(spacing_ijk_mm) if c != column) / 2


@dataclass(frozen=True)
class StripCost:
    """Memory and arithmetic of computing some rows of all slices, by several threads."""

    config: NetworkConfig
    grid: SliceGrid
    columns: int
    threads: int

    @property
    def bytes_per_row_in(self) -> float:
        """Encoder state and acquired slices, for one image row that goes in."""
        slices = _ENCODER_SLICES * (self.config.blocks + 2 + self._crew.encoding * self._shared)
        return slices * self._codes_bytes + 2 * _FLOAT * self.columns * self.grid.n_in

    @property
    def bytes_per_row_out(self) -> float:
        """Sampling window, intervals under way and result, for one image row that is kept."""
        queries = self.grid.n_out / max(1, self.grid.n_in - 1)
        pixels = _PIXEL_COPIES * queries * self.columns
        slices = _WINDOW_SLICES + _PROJECTIONS * (self._crew.intervals + 1) * self._shared
        # Slices that take several passes are gathered from their results
        copies = 1 if self.grid.acquisition is None else 2
        results = copies * self.columns * self.grid.n_out
        return slices * self._codes_bytes + _FLOAT * (self._crew.intervals * pixels + results)

    @property
    def _crew(self) -> CrewSize:
        return CrewSize.of(self.threads, self.config.blocks)

    @property
    def _shared(self) -> bool:
        """Whether several threads are at work, each with slices of its own."""
        return self.threads > 1

    @property
    def _codes_bytes(self) -> float:
        """One slice's codes for one image row."""
        return self.columns / self.config.cell**2 * self.config.width * _FLOAT

    @property
    def overlap(self) -> int:
        """Rows that go in beside those that are kept."""
        return 2 * self.config.receptive_pixels

    def bytes_for(self, rows: int) -> float:
        """Of a strip of which ``rows`` are kept."""
        fixed = _FIXED_BYTES + _BLOCK_BYTES * (self._crew.intervals - 1)
        return fixed + self.bytes_per_row_in * (rows + self.overlap) + self.bytes_per_row_out * rows

    def tiling_within(self, limit_bytes: float, rows: int) -> Tiling:
        """Strips of equal height, as few as stay within the limit.

        Raises:
            OutOfMemoryError: Not even one cell's rows do.
        """
        fitting = (limit_bytes - self.bytes_for(0)) / (self.bytes_per_row_in + self.bytes_per_row_out)
        tiling = Tiling.within(fitting, rows, self.config)
        if tiling is None:
            needed = self.bytes_for(self.config.cell) / 1e9
            raise OutOfMemoryError(
                f"The memory limit of {limit_bytes / 1e9:.3g} GB is below the {needed:.3g} GB that the smallest part "
                "of this volume takes. Raise the limit, or crop the volume."
            )
        return tiling

    def flops(self, rows: int) -> float:
        """Multiply-adds times two of encoder, projections, sampling and decoder over the whole volume."""
        width, hidden = self.config.width, self.config.decoder_width
        cells = rows * self.columns / self.config.cell**2
        encode = self.config.blocks * 12 * width**2 + 3 * width**2 + 27 * 4 * width
        decode = width * hidden + (self.config.decoder_layers - 1) * hidden**2 + 40 * width
        return 2 * cells * (encode * self.grid.n_in + decode * self.grid.n_out)


def slice_profile_tau(volume: Volume, thickness_mm: float | None, grid: SliceGrid) -> tuple[float | np.ndarray, str]:
    """tau = slice thickness / slice spacing and a sentence on where it comes from.

    Returns:
        One tau, or (n_in,) where the slices are not even; and the sentence.

    Raises:
        RequestError: A thickness that was given is negative, or beyond twice the spacing.
    """
    if grid.acquisition is not None:
        return _uneven_tau(volume, thickness_mm, grid.acquisition)
    spacing = grid.spacing_in_mm
    if thickness_mm is not None:
        _check_thickness(thickness_mm, spacing)
        told = "thin slices with gaps" if thickness_mm == 0 else f"{thickness_mm:g} mm thick slices"
        return thickness_mm / spacing, f"{told} every {spacing:g} mm, as asked for."
    known = volume.slice_thickness_mm
    if known is not None and known <= MAX_TAU * spacing:
        return known / spacing, f"{known:g} mm thick slices every {spacing:g} mm, as the scan says."
    return 1.0, f"contiguous {spacing:g} mm slabs, since the scan does not say its slice thickness."


def _uneven_tau(volume: Volume, thickness_mm: float | None, own: Acquisition) -> tuple[np.ndarray, str]:
    """``slice_profile_tau`` of slices that are not even."""
    spacing = own.local_spacing_mm
    known, reason = own.thickness_mm, "as the scan says"
    if known is None and volume.slice_thickness_mm is not None:
        known = np.full(len(own), volume.slice_thickness_mm)
    if thickness_mm is not None:
        _check_thickness(thickness_mm, float(spacing.min()))
        known, reason = np.full(len(own), thickness_mm), "as asked for"
    if known is None or (known > MAX_TAU * spacing).any():
        known, reason = spacing, "since the scan does not say its slice thickness"
    parts = [f"{np.median(known[p.first : p.last + 1]):g} mm thick every {p.spacing_mm:.4g} mm" for p in own.parts]
    return known / spacing, f"slices {', then '.join(parts)}, {reason}."


def _check_thickness(thickness_mm: float, spacing: float) -> None:
    if not 0 <= thickness_mm <= MAX_TAU * spacing:
        raise RequestError(
            f"The slice thickness {thickness_mm:g} mm does not fit the slice spacing {spacing:g} mm. "
            f"Give 0 to {MAX_TAU * spacing:g} mm, or leave it to be found automatically."
        )
