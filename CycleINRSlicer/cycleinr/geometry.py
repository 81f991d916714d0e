"""Where acquired samples lie: the affine from index (i, j, k) to RAS millimetres, and slices that no affine can place.

Most scans are even: one spacing, one thickness, and ``Volume`` says both. ``Acquisition`` is for the others: a change
of spacing, missing slices, slices that a tilted gantry shifted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, permutations
from typing import Any, NamedTuple

import numpy as np

from . import GeometryError

SHEAR_TOLERANCE = 1e-3
"""Largest cosine between two axes that still counts as perpendicular (about 0.06 degrees)."""

_ROUNDING = 1e-6
_SAME_PLACE = 1e-3
"""Of the spacing; headers are rounded."""

_JITTER_SHARE = 0.1
"""How far slices may lie beside a regular grid, in spacings, and still be taken as lying on it."""

_FEWEST_STEPS = 3
"""Equal distances in a row that make a spacing of their own; fewer are missing slices."""

_GAP_STEPS = 1.5
"""Slices that are so many spacings apart have a missing one between them."""


def subgrid_affine(
    ijk_to_ras: np.ndarray, first_ijk: Sequence[float] | np.ndarray, step_ijk: Sequence[float] | np.ndarray = (1, 1, 1)
) -> np.ndarray:
    """The affine of a grid within a grid: a crop, every n-th sample, or slices in between.

    Args:
        ijk_to_ras: 4x4, of the grid that positions are counted in.
        first_ijk: Where the first sample lies in that grid, also between its samples or outside.
        step_ijk: Distance between samples in that grid's spacings; negative turns the axis around.
    """
    affine = np.array(ijk_to_ras, dtype=np.float64)
    affine[:3, 3] += affine[:3, :3] @ np.asarray(first_ijk, dtype=np.float64)
    affine[:3, :3] *= np.asarray(step_ijk, dtype=np.float64)
    return affine


def spacing_of(ijk_to_ras: np.ndarray) -> tuple[float, float, float]:
    """Distance between neighbouring samples along i, j and k, in mm."""
    i, j, k = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    return float(i), float(j), float(k)


def nearest_ras(directions: np.ndarray) -> list[int]:
    """Which of the RAS axes 0, 1, 2 each of i, j and k lies along most nearly, each taken once."""
    cosines = np.abs(directions)
    return list(max(permutations(range(3)), key=lambda rows: sum(cosines[row, n] for n, row in enumerate(rows))))


def cosines_of(ijk_to_ras: np.ndarray) -> np.ndarray:
    """(3, 3) absolute cosines of the angles between i, j and k, with 0 on the diagonal."""
    directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0).clip(1e-300)
    return np.asarray(np.abs(directions.T @ directions - np.eye(3)))


def is_sheared(ijk_to_ras: np.ndarray) -> bool:
    """Whether two axes of a 4x4 affine are not perpendicular; never of what is no affine."""
    return ijk_to_ras.shape == (4, 4) and bool(cosines_of(ijk_to_ras).max() > SHEAR_TOLERANCE)


def as_affine(given: object) -> np.ndarray:
    """A copy of a matrix as float64; GeometryError if it holds no numbers."""
    try:
        # NumPy makes NaN of None
        return np.array(np.asarray("" if given is None else given, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise GeometryError(
            f"The affine is {given!r:.80}, not 4 x 4 numbers. Give the matrix from (i, j, k) to RAS mm."
        ) from error


def check_affine(affine: np.ndarray) -> None:
    """Raise ``GeometryError`` unless a matrix can be the ijk_to_ras of a volume."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], (0, 0, 0, 1)):
        raise GeometryError(
            f"The ijk-to-RAS matrix is\n{affine}\nbut it must be 4 x 4, finite, with last row 0 0 0 1. "
            "Give such a matrix; of a file, the geometry is damaged: export it again."
        )
    spacing = spacing_of(affine)
    if min(spacing) == 0 or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-6:
        raise GeometryError(
            f"The axes i, j, k are the columns of\n{affine[:3, :3]}\nand span no volume: they lie in one plane, or one "
            "has no length. Give three directions; of a file, the geometry is damaged: export it again."
        )
    cosines = cosines_of(affine)
    if cosines.max() > SHEAR_TOLERANCE:
        a, b = np.unravel_index(int(cosines.argmax()), (3, 3))
        degrees = math.degrees(math.acos(min(1.0, cosines.max())))
        raise GeometryError(
            f"Axes {'ijk'[a]} and {'ijk'[b]} meet at {degrees:.2f} degrees instead of 90: the volume is sheared, as an "
            "affine registration leaves it. Resample it to a rectangular grid first (in 3D Slicer: Resample "
            "Scalar/Vector/DWI Volume)."
        )


@dataclass(frozen=True)
class Gap:
    """How many slices are missing after the one with index ``after``, and the positions of those on either side."""

    after: int
    missing: int
    first_mm: float
    last_mm: float


@dataclass(frozen=True)
class EvenPart:
    """Neighbouring slices, from index ``first`` to ``last``, with one spacing; parts share a slice where they meet."""

    first: int
    last: int
    spacing_mm: float

    @property
    def words(self) -> str:
        """For people; slices are counted from 1."""
        return f"{self.spacing_mm:.4g} mm from slice {self.first + 1} to {self.last + 1}"


class _Intervals(NamedTuple):
    """Of each interval between two slices, (n - 1,): number and spacing of its part, and how many are missing."""

    part: np.ndarray
    spacing_mm: np.ndarray
    missing: np.ndarray


@dataclass(frozen=True, eq=False)
class Acquisition:
    """Where the acquired slices lie that are not evenly spaced, all alike and in line.

    Attributes:
        positions_mm: (n,) float64, rising: slice centres along the through-plane axis, relative to the first slice.
        thickness_mm: (n,) slice thicknesses, or None where they are unknown or ``Volume.slice_thickness_mm`` is that of
            all slices.
        shift_ras_mm: (n, 3) from the middle slice's field of view to each slice's, within their planes, which was taken
            out of the grid when the scan was read, so that the volume is rectangular (gantry tilt); None for none. For
            provenance: the samples are where the volume says.
        axis: The volume's axis "i", "j" or "k" that the slices are stacked along.

    Raises:
        GeometryError: Positions that do not begin with 0 and rise, or other numbers of thicknesses or shifts.
    """

    positions_mm: np.ndarray
    thickness_mm: np.ndarray | None = None
    shift_ras_mm: np.ndarray | None = None
    axis: str = "k"

    def __post_init__(self) -> None:
        count, fits = len(self.positions_mm), self.axis in ("i", "j", "k")
        for name, shape in (("positions_mm", (count,)), ("thickness_mm", (count,)), ("shift_ras_mm", (count, 3))):
            if getattr(self, name) is not None:
                value = np.array(getattr(self, name), dtype=np.float64)
                value.flags.writeable = False
                fits = fits and value.shape == shape and bool(np.isfinite(value).all())
                object.__setattr__(self, name, value)
        fits = fits and (self.thickness_mm is None or bool((self.thickness_mm >= 0).all()))
        if not (fits and count and self.positions_mm[0] == 0 and (np.diff(self.positions_mm) > 0).all()):
            raise GeometryError(
                f"{self} is no stack of slices: positions must begin with 0 and rise along i, j or k, and each slice "
                "needs finite numbers and no negative thickness. Read the series again."
            )

    def __len__(self) -> int:
        return len(self.positions_mm)

    @property
    def spacing_mm(self) -> float:
        """Median distance between neighbouring slices: the spacing of the regular grid that stands for the scan."""
        return float(np.median(np.diff(self.positions_mm))) if len(self) > 1 else 1.0

    @property
    def is_evenly_spaced(self) -> bool:
        """Whether a volume's affine says where all slices lie."""
        grid = self.spacing_mm * np.arange(len(self))
        return bool(np.abs(self.positions_mm - grid).max() <= _SAME_PLACE * self.spacing_mm)

    @property
    def is_even(self) -> bool:
        """Whether all slices have one spacing and one thickness."""
        return not self._changes_of_thickness.any() and self.is_evenly_spaced

    @property
    def _changes_of_thickness(self) -> np.ndarray:
        thickness = np.zeros(len(self)) if self.thickness_mm is None else self.thickness_mm
        return np.abs(np.diff(thickness)) > _ROUNDING * self.spacing_mm

    @cached_property
    def parts(self) -> tuple[EvenPart, ...]:
        """The parts with one spacing each, in order."""
        return _parts(self.positions_mm)

    @cached_property
    def _intervals(self) -> _Intervals:
        part = np.repeat(np.arange(len(self.parts)), [each.last - each.first for each in self.parts])
        spacing_mm = np.array([each.spacing_mm for each in self.parts])[part]
        times = np.diff(self.positions_mm) / spacing_mm
        missing = np.where(times > _GAP_STEPS, np.floor(times + 0.5) - 1, 0).astype(int)
        return _Intervals(part, spacing_mm, missing)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Where slices are missing, in order."""
        missing, places = self._intervals.missing.tolist(), self.positions_mm.tolist()
        return tuple(Gap(n, count, *places[n : n + 2]) for n, count in enumerate(missing) if count)

    @property
    def local_spacing_mm(self) -> np.ndarray:
        """(n,) the spacing of the part that each slice lies in; of two, the finer one."""
        spacing_mm = self._intervals.spacing_mm
        return np.asarray(np.minimum(np.append(spacing_mm, np.inf), np.append(np.inf, spacing_mm)))

    def usual(self, of_slices: float | np.ndarray) -> np.ndarray:
        """(parts,) the median over each part of something that is known of each slice, (n,), or of all."""
        each = np.broadcast_to(of_slices, len(self))
        return np.array([np.median(each[part.first : part.last + 1]) for part in self.parts])

    @property
    def interval_mm(self) -> np.ndarray:
        """(n - 1,) the spacing between each two slices: that of their part, and so many of it where slices are missing.

        What jitters within a part counts as even.
        """
        return np.asarray(self._intervals.spacing_mm * (self._intervals.missing + 1))

    def mm_of(self, indices: np.ndarray) -> np.ndarray:
        """Positions in mm of index positions; straight between slices, and beyond them as in the outermost interval."""
        return _straight(indices, np.arange(len(self)), self.positions_mm, self.spacing_mm)

    def indices_of(self, positions_mm: np.ndarray) -> np.ndarray:
        """Index positions of positions in mm; undoes ``mm_of``."""
        return _straight(positions_mm, self.positions_mm, np.arange(len(self)), 1 / self.spacing_mm)

    @property
    def longest_even(self) -> range:
        """The most slices in a row with one spacing and one thickness and none missing."""
        is_broken = self._changes_of_thickness | (self._intervals.missing > 0)
        part_of = np.where(is_broken, -1, self._intervals.part)
        ends = [0, *(np.flatnonzero(np.diff(part_of)) + 1).tolist(), len(part_of)]
        runs = (range(first, last + 1) for first, last in pairwise(ends) if last > first and part_of[first] >= 0)
        return max(runs, key=len, default=range(1))

    @property
    def words(self) -> str:
        """How far slices lie apart, for people; slices are counted from 1."""
        gaps = [f"{gap.missing} missing after slice {gap.after + 1}" for gap in self.gaps]
        return ", ".join([*(part.words for part in self.parts), *gaps])

    def taken(self, indices: range) -> Acquisition:
        """Of some of the slices, the first of them at 0; a negative step turns the axis around."""
        some = list(indices)
        positions = np.abs(self.positions_mm[some] - self.positions_mm[some[0]])
        thickness, shift = (None if each is None else each[some] for each in (self.thickness_mm, self.shift_ras_mm))
        return replace(self, positions_mm=positions, thickness_mm=thickness, shift_ras_mm=shift)

    def to_dict(self) -> dict[str, Any]:
        """The arguments that make it again, as JSON holds them."""
        arrays = {name: getattr(self, name) for name in ("positions_mm", "thickness_mm", "shift_ras_mm")}
        return {name: value.tolist() for name, value in arrays.items() if value is not None} | {"axis": self.axis}


@dataclass(frozen=True)
class FittedPositions:
    """Measured slice positions as a regular grid, where they lie if not on it, and a note for people, or ""."""

    first_mm: float
    spacing_mm: float
    acquisition: Acquisition | None
    note: str


def fit_positions(measured_mm: np.ndarray, thickness_mm: np.ndarray | None = None) -> FittedPositions:
    """Where slices lie whose positions were rounded or jitter: on the line that fits best, if all lie near it.

    A regular grid may lack slices. Positions that fit none are taken as they are.

    Args:
        measured_mm: (n,) rising, at least 2, along the through-plane axis from any zero.
        thickness_mm: (n,) slice thicknesses, where they differ.
    """
    measured = np.asarray(measured_mm, dtype=np.float64)
    first, positions, spacing = float(measured[0]), measured, float(np.median(np.diff(measured)))
    steps = np.round(np.diff(measured) / spacing)
    if (steps >= 1).all():
        numbers = np.cumsum([0, *steps])
        step, start = np.polyfit(numbers, measured, 1)
        if np.abs(start + step * numbers - measured).max() <= _JITTER_SHARE * step:
            # Exact positions stay exact
            if np.abs(first + spacing * numbers - measured).max() > _ROUNDING * spacing:
                first, spacing = float(start), float(step)
            positions = first + spacing * numbers
    deviation_mm = float(np.abs(positions - measured).max())
    note = ""
    if deviation_mm > _SAME_PLACE * spacing:
        note = (
            f"The slice positions deviate by up to {deviation_mm:.3g} mm from even ones; they were taken as lying "
            f"{spacing:.4g} mm apart, on the line that fits best."
        )
    found = Acquisition(positions - positions[0], thickness_mm)
    return FittedPositions(first, spacing, None if found.is_even else found, note)


def _straight(x: np.ndarray, at: np.ndarray, values: np.ndarray, slope: float) -> np.ndarray:
    """Linear interpolation that goes on beyond the ends; with one value, by ``slope``."""
    if len(at) == 1:
        return np.asarray(values[0] + slope * (x - at[0]))
    n = np.clip(np.searchsorted(at, x, side="right") - 1, 0, len(at) - 2)
    return np.asarray(values[n] + (values[n + 1] - values[n]) * ((x - at[n]) / (at[n + 1] - at[n])))


def _parts(positions: np.ndarray) -> tuple[EvenPart, ...]:
    """Runs of equal steps, and the other steps with the run whose spacing they are nearest to."""
    steps = np.diff(positions)
    runs = [run for run in _runs(steps) if run.stop - run.start >= _FEWEST_STEPS]
    if not runs:
        return (EvenPart(0, len(positions) - 1, float(np.median(steps)) if len(steps) else 1.0),)
    spacings = [float(np.median(steps[run])) for run in runs]
    parts, first = [], 0
    for n, (run, spacing) in enumerate(zip(runs, spacings, strict=True)):
        last = len(steps)
        if n + 1 < len(runs):
            if abs(spacings[n + 1] - spacing) <= _JITTER_SHARE * spacing:
                continue
            between = np.log(steps[run.stop : runs[n + 1].start])
            here, there = (np.abs(between - math.log(mm)) for mm in (spacing, spacings[n + 1]))
            costs = [here[:split].sum() + there[split:].sum() for split in range(len(between) + 1)]
            last = run.stop + int(np.argmin(costs))
        parts.append(EvenPart(first, last, spacing))
        first = last
    return tuple(parts)


def _runs(steps: np.ndarray) -> list[slice]:
    """Stretches of steps that differ by no more than twice the jitter of a slice."""
    found, start = [], 0
    for n in range(1, len(steps) + 1):
        if n == len(steps) or abs(steps[n] - np.median(steps[start:n])) > 2 * _JITTER_SHARE * steps[start]:
            found.append(slice(start, n))
            start = n
    return found


def same_places(one: Acquisition | None, other: Acquisition | None, tolerance: float) -> bool:
    """Whether slices on the same nominal grid lie in the same places, to a share ``tolerance`` of the spacing."""
    one, other = (None if each is None or each.is_evenly_spaced else each for each in (one, other))
    if one is None or other is None:
        return one is other
    apart = np.abs(one.positions_mm - other.positions_mm).max()
    return one.axis == other.axis and bool(apart <= tolerance * one.spacing_mm)


def check_even(acquisition: Acquisition | None, wanted: str) -> None:
    """Refuse, with a ``GeometryError``, slices that an affine cannot place; ``wanted`` is what has only an affine."""
    if acquisition is not None and not acquisition.is_evenly_spaced:
        steps = np.diff(acquisition.positions_mm)
        raise GeometryError(
            f"{wanted} has one distance between slices, and this scan's slices lie {steps.min():.4g} to "
            f"{steps.max():.4g} mm apart. Upsample the scan first, which gives even slices, or take a part with one "
            "distance, for example scan[0:20]."
        )
