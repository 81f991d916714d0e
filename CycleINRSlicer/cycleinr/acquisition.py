"""Where acquired slices lie along the through-plane axis and how thick they are, in scans that are not even.

Most scans are even: one spacing, one thickness, and ``Volume`` says both. ``Acquisition`` is for the others: a change
of spacing, missing slices, slices that a tilted gantry shifted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from .errors import GeometryError

_ROUNDING = 1e-6
_SAME_PLACE = 1e-3
"""Of the spacing; headers are rounded."""

JITTER_SHARE = 0.1
"""How far slices may lie beside a regular grid, in spacings, and still be taken as lying on it."""

_FEWEST_STEPS = 3
"""Equal distances in a row that make a spacing of their own; fewer are missing slices."""

_GAP_STEPS = 1.5
"""Slices that are so many spacings apart have a missing one between them."""


@dataclass(frozen=True)
class Gap:
    """Missing slices.

    Attributes:
        after: Index of the acquired slice before them.
        missing: How many.
        first_mm, last_mm: Positions of the acquired slices on either side, relative to the scan's first slice.
    """

    after: int
    missing: int
    first_mm: float
    last_mm: float


@dataclass(frozen=True)
class Part:
    """Neighbouring slices with one spacing; the last slice of a part may be the first of the next.

    Attributes:
        first, last: Indices of its outermost slices.
        spacing_mm: Distance between neighbouring slices where none is missing.
    """

    first: int
    last: int
    spacing_mm: float

    @property
    def words(self) -> str:
        """For people; slices are counted from 1."""
        return f"{self.spacing_mm:.4g} mm from slice {self.first + 1} to {self.last + 1}"


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

    def __post_init__(self):
        positions = _frozen(self.positions_mm)
        count = len(positions)
        rising = positions.ndim == 1 and np.isfinite(positions).all() and (np.diff(positions) > 0).all()
        if not (rising and count and positions[0] == 0):
            raise GeometryError(
                f"The slice positions {positions} mm do not begin with 0 and rise. Sort the slices by position, count "
                "positions from the first one on, and leave out slices that lie at the same place."
            )
        object.__setattr__(self, "positions_mm", positions)
        for name, shape in (("thickness_mm", (count,)), ("shift_ras_mm", (count, 3))):
            value = getattr(self, name)
            if value is not None:
                value = _frozen(value)
                if value.shape != shape or not np.isfinite(value).all() or (name == "thickness_mm" and value.min() < 0):
                    raise GeometryError(
                        f"{name} has shape {value.shape} and values {value}; {count} slices need finite ones of shape "
                        f"{shape}, and no negative thickness. Read the series again."
                    )
                object.__setattr__(self, name, value)
        if self.axis not in ("i", "j", "k"):
            raise GeometryError(f"The slices' axis is {self.axis!r}; give 'i', 'j' or 'k'.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Acquisition) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.positions_mm.tobytes())

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
        same = self.thickness_mm is None or np.ptp(self.thickness_mm) <= _ROUNDING * self.spacing_mm
        return bool(same) and self.is_evenly_spaced

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts with one spacing each, in order."""
        return _parts(self.positions_mm)

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """Where slices are missing, in order."""
        found = []
        for part in self.parts:
            for n in range(part.first, part.last):
                start, stop = self.positions_mm[n : n + 2]
                if stop - start > _GAP_STEPS * part.spacing_mm:
                    missing = math.floor((stop - start) / part.spacing_mm + 0.5) - 1
                    found.append(Gap(n, missing, float(start), float(stop)))
        return tuple(found)

    @cached_property
    def local_spacing_mm(self) -> np.ndarray:
        """(n,) the spacing of the part that each slice lies in; of two, the finer one."""
        spacings = np.full(len(self), np.inf)
        for part in self.parts:
            own = spacings[part.first : part.last + 1]
            np.minimum(own, part.spacing_mm, out=own)
        return spacings

    @cached_property
    def interval_mm(self) -> np.ndarray:
        """(n - 1,) the spacing between each two slices: that of their part, and so many of it where slices are missing.

        What jitters within a part counts as even.
        """
        spacings = np.concatenate([np.full(part.last - part.first, part.spacing_mm) for part in self.parts])
        for gap in self.gaps:
            spacings[gap.after] *= gap.missing + 1
        return spacings

    def mm_of(self, indices: np.ndarray) -> np.ndarray:
        """Positions in mm of index positions; straight between slices, and beyond them as in the outermost interval."""
        return _straight(indices, np.arange(len(self)), self.positions_mm, self.spacing_mm)

    def indices_of(self, positions_mm: np.ndarray) -> np.ndarray:
        """Index positions of positions in mm; undoes ``mm_of``."""
        return _straight(positions_mm, self.positions_mm, np.arange(len(self)), 1 / self.spacing_mm)

    @property
    def longest_even(self) -> range:
        """The most slices in a row with one spacing and one thickness and none missing."""
        breaks = {part.first for part in self.parts} | {gap.after for gap in self.gaps}
        thickness = np.zeros(len(self)) if self.thickness_mm is None else self.thickness_mm
        changes = np.flatnonzero(np.abs(np.diff(thickness)) > _ROUNDING * self.spacing_mm).tolist()
        found, first = range(0), 0
        for last in range(len(self)):
            ends = last == len(self) - 1 or last in breaks or last in changes
            if ends and last + 1 - first > len(found):
                found = range(first, last + 1)
            if last in changes or any(gap.after == last for gap in self.gaps):
                first = last + 1
            elif last in breaks:
                first = last
        return found

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
        """As JSON holds it."""
        arrays = {name: getattr(self, name) for name in ("positions_mm", "thickness_mm", "shift_ras_mm")}
        return {name: value.tolist() for name, value in arrays.items() if value is not None} | {"axis": self.axis}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Acquisition:
        """From what ``to_dict`` gave; errors as of the class."""
        return cls(**values)


@dataclass(frozen=True)
class FittedPositions:
    """Measured slice positions as a regular grid, and what differs from one.

    Attributes:
        first_mm, spacing_mm: First slice and spacing of the regular grid, along the axis that was measured.
        acquisition: Where the slices lie, if not on this grid.
        deviation_mm: How far the measured positions lie beside those that are taken, at most.
        note: What was done about that, for people; empty where nothing was.
    """

    first_mm: float
    spacing_mm: float
    acquisition: Acquisition | None
    deviation_mm: float
    note: str


def fit_positions(measured_mm: np.ndarray, thickness_mm: np.ndarray | None = None) -> FittedPositions:
    """Where slices lie whose positions were rounded or jitter: on the line that fits best, if all lie near it.

    A regular grid may lack slices. Positions that fit none are taken as they are.

    Args:
        measured_mm: (n,) rising, at least 2, along the through-plane axis from any zero.
        thickness_mm: (n,) slice thicknesses, where they differ.
    """
    measured = np.asarray(measured_mm, dtype=np.float64)
    numbers = np.cumsum([0, *np.round(np.diff(measured) / np.median(np.diff(measured)))])
    first, positions, spacing = measured[0], measured, float(np.median(np.diff(measured)))
    if (np.diff(numbers) >= 1).all():
        step, start = np.polyfit(numbers, measured, 1)
        if np.abs(start + step * numbers - measured).max() <= JITTER_SHARE * step:
            # Exact positions stay exact
            exact = np.abs(measured[0] + spacing * numbers - measured).max() <= _ROUNDING * spacing
            first, spacing = (measured[0], spacing) if exact else (float(start), float(step))
            positions = first + spacing * numbers
    deviation = float(np.abs(positions - measured).max())
    note = ""
    if deviation > _SAME_PLACE * spacing:
        note = (
            f"The slice positions deviate by up to {deviation:.3g} mm from even ones; they were taken as lying "
            f"{spacing:.4g} mm apart, on the line that fits best."
        )
    found = Acquisition(positions - positions[0], thickness_mm)
    return FittedPositions(float(first), spacing, None if found.is_even else found, deviation, note)


def _frozen(values) -> np.ndarray:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def _straight(x: np.ndarray, at: np.ndarray, values: np.ndarray, slope: float) -> np.ndarray:
    """Linear interpolation that goes on beyond the ends; with one value, by ``slope``."""
    if len(at) == 1:
        return values[0] + slope * (x - at[0])
    n = np.clip(np.searchsorted(at, x, side="right") - 1, 0, len(at) - 2)
    return values[n] + (values[n + 1] - values[n]) * ((x - at[n]) / (at[n + 1] - at[n]))


def _parts(positions: np.ndarray) -> tuple[Part, ...]:
    """Runs of equal steps, and the other steps with the run whose spacing they are nearest to."""
    steps = np.diff(positions)
    runs = [run for run in _runs(steps) if run.stop - run.start >= _FEWEST_STEPS]
    if not runs:
        return (Part(0, len(positions) - 1, float(np.median(steps)) if len(steps) else 1.0),)
    spacings = [float(np.median(steps[run])) for run in runs]
    parts, first = [], 0
    for n, (run, spacing) in enumerate(zip(runs, spacings, strict=True)):
        last = len(steps)
        if n + 1 < len(runs):
            if abs(spacings[n + 1] - spacing) <= JITTER_SHARE * spacing:
                continue
            between = np.log(steps[run.stop : runs[n + 1].start])
            here, there = (np.abs(between - math.log(mm)) for mm in (spacing, spacings[n + 1]))
            costs = [here[:split].sum() + there[split:].sum() for split in range(len(between) + 1)]
            last = run.stop + int(np.argmin(costs))
        parts.append(Part(first, last, spacing))
        first = last
    return tuple(parts)


def _runs(steps: np.ndarray) -> list[slice]:
    """Stretches of steps that differ by no more than twice the jitter of a slice."""
    found, start = [], 0
    for n in range(1, len(steps) + 1):
        if n == len(steps) or abs(steps[n] - np.median(steps[start:n])) > 2 * JITTER_SHARE * steps[start]:
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
    """Refuse a scan whose slices an affine cannot place.

    Args:
        acquisition: The scan's.
        wanted: What was asked for, for example "A NIfTI image"; begins the message.

    Raises:
        GeometryError: The slices are not evenly spaced.
    """
    if acquisition is not None and not acquisition.is_evenly_spaced:
        steps = np.diff(acquisition.positions_mm)
        raise GeometryError(
            f"{wanted} has one distance between slices, and this scan's slices lie {steps.min():.4g} to "
            f"{steps.max():.4g} mm apart. Upsample the scan first, which gives even slices, or take a part with one "
            "distance, for example scan[0:20]."
        )
