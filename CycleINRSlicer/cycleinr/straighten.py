"""Slices moved within their planes, so that the stack that a tilted gantry leaves becomes a rectangular one.

Where each slice lies is known, so nothing is estimated and nothing changes between slices. Moves by fractions of a
pixel go through a windowed sinc (docs/method.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import GeometryError
from .geometry import SHEAR_TOLERANCE, Acquisition, cosines_of, spacing_of
from .grid import AXIS_OF_ARRAY, from_axis_first, to_axis_first
from .inspection import inspect
from .intensity import filled
from .volume import Volume

_MOST_DEGREES = 35.0
"""No gantry tilts further, so that anything beyond is another kind of distortion."""

_NOTEWORTHY_PX = 0.1
"""A stack whose slices are moved by less than this altogether is rectangular as it is."""

_STRAIGHT_DEGREES = math.degrees(math.asin(SHEAR_TOLERANCE))
"""Header's rounding, which an affine may keep."""

_ROUNDED_MM = 0.09
"""How far a place may lie off whose coordinates are rounded to 0.1 mm, as some scanners do."""

_HALF_WIDTH, _KAISER_BETA = 6, 6.0
_TAPS = np.arange(1 - _HALF_WIDTH, _HALF_WIDTH + 1)
_WHOLE_PX = 0.02
_MOST_TIMES = 10
_LIKE_K = 1.5
"""How many times larger another axis's spacing must be than that of k before slices are taken as stacked along it."""


@dataclass(frozen=True, eq=False)
class Sideways:
    """How far slices lie sideways of a stack at right angles, and the smallest grid that all of them fit into.

    Attributes:
        corner_ji_mm: (2,) place of the grid's first sample along the axes j and i.
        shift_ji_mm: (slices, 2) from the middle slice's first sample to each slice's.
        pixel_ji_mm: (2,) distance between samples.
        lean_ji: (2,) mm along j and i for each mm along the slices' normal.
        is_tilt: Whether all slices follow one line, as a tilted gantry stacks them.
        is_straight: Whether no slice needs to be moved.
        first_ji: (2,) the grid's first sample, counted from the middle slice's, whose samples stay where they are.
        shape_ji: The grid's samples along j and i.
    """

    corner_ji_mm: np.ndarray
    shift_ji_mm: np.ndarray
    pixel_ji_mm: np.ndarray
    lean_ji: np.ndarray
    is_tilt: bool
    is_straight: bool
    first_ji: np.ndarray
    shape_ji: tuple[int, int]

    @property
    def degrees(self) -> float:
        """Angle between the stack and the slices' normal."""
        return math.degrees(math.atan(float(np.linalg.norm(self.lean_ji))))

    @property
    def is_rounding(self) -> bool:
        """Whether the header's rounding alone explains the lean."""
        return self.is_straight and self.degrees <= _STRAIGHT_DEGREES

    def note(self, modality: str | None) -> str:
        """What is done about it, for people; empty where there is nothing to say."""
        angle = f"{self.degrees:.1f}" if self.degrees >= 1 else f"{self.degrees:.2f}"
        if self.is_straight:
            leans = f"The stack of slices leans by {angle} degrees, less than a tenth of a pixel; nothing was moved."
            return "" if self.is_rounding else leans
        if self.is_tilt:
            what = "Slant of the stack" if modality == "MR" else "Gantry tilt"
            return f"{what} of {angle} degrees removed."
        farthest = float(np.abs(self.shift_ji_mm).max())
        return f"Slices lie up to {farthest:.2f} mm sideways of each other; each was moved within its plane."


def sideways_of(
    offsets_ji_mm: np.ndarray, along_mm: np.ndarray, pixel_ji_mm: Sequence[float], shape_ji: tuple[int, int]
) -> Sideways:
    """How slices lie sideways of each other, from their positions.

    A line through all of them is taken where they follow one, as those of a tilted gantry do, so that the header's
    rounding moves no slice; else each slice's own place.

    Args:
        offsets_ji_mm, along_mm: (slices, 2) and (slices,), their first samples along j and i, and along the normal.
        pixel_ji_mm, shape_ji: Distance between samples, and number of samples, of one slice.

    Raises:
        GeometryError: The stack leans further than any gantry, a slice lies half a field of view beside it, or the
            grid would be far larger than any gantry makes it.
    """
    pixel, size = np.array(pixel_ji_mm), np.array(shape_ji)
    line, lean_ji = _line_through(offsets_ji_mm, along_mm)
    off_mm = np.abs(offsets_ji_mm - line)
    is_tilt = bool((off_mm <= np.maximum(_ROUNDED_MM, _NOTEWORTHY_PX * pixel)).all())
    places = line if is_tilt else offsets_ji_mm
    middle = places[len(places) // 2]
    shift_px = (places - middle) / pixel
    is_straight = float(np.ptp(shift_px, axis=0).max()) < _NOTEWORTHY_PX
    first, stop = np.zeros(2), size
    if not is_straight:
        first, stop = np.floor(shift_px.min(axis=0) + _WHOLE_PX), size + np.ceil(shift_px.max(axis=0) - _WHOLE_PX)
    shape = tuple(map(int, stop - first))
    corner = middle + first * pixel
    found = Sideways(corner, places - middle, pixel, lean_ji, is_tilt, is_straight, first, shape)
    _check_plausible(found, off_mm, size)
    return found


def _line_through(offsets_ji_mm: np.ndarray, along_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The straight line that fits best, at each slice, (slices, 2), and its slopes (2,)."""
    centred, mean = along_mm - along_mm.mean(), offsets_ji_mm.mean(axis=0)
    with np.errstate(all="ignore"):
        slopes = centred @ (offsets_ji_mm - mean) / (centred @ centred)
    if not np.isfinite(slopes).all():
        raise GeometryError(
            f"The slices' positions, {along_mm.min():g} to {along_mm.max():g} mm, form no stack. The geometry is "
            "damaged; export the scan again."
        )
    return mean + centred[:, None] * slopes, slopes


def _check_plausible(found: Sideways, off_mm: np.ndarray, size_ji: np.ndarray) -> None:
    """``off_mm`` (slices, 2) says how far each slice lies off the line, and ``size_ji`` its samples."""
    if round(found.degrees) > _MOST_DEGREES:
        raise GeometryError(
            f"The slices are stacked at {found.degrees:.1f} degrees to their normal, and no CT gantry tilts by more "
            f"than {_MOST_DEGREES:g}. Check that the images belong to one scan, or resample it to a rectangular grid "
            "first."
        )
    if (off_mm > found.pixel_ji_mm * size_ji / 2).any():
        worst = int(off_mm.max(axis=1).argmax())
        raise GeometryError(
            f"Slice {worst + 1} of {len(off_mm)} lies {off_mm[worst].max():.1f} mm beside the line through all, more "
            "than half of the field of view. Remove the images that do not belong."
        )
    if (found.shape_ji > _MOST_TIMES * size_ji).any():
        raise GeometryError(
            f"The slices lie up to {np.ptp(found.shift_ji_mm, axis=0).max():.4g} mm sideways of each other, more than "
            f"{_MOST_TIMES} times their size. The geometry is damaged; export the scan again."
        )


def straightened(
    array: np.ndarray, sideways: Sideways, modality: str | None, valid: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Slices on the grid that they fit into.

    Args:
        array: (K, J, I) the slices as they were acquired.
        modality: For what is padding.
        valid: (K, J, I) which samples were measured; None for all that are no padding by their values.

    Returns:
        (K, J', I') of the same type, with values between the lowest and the highest of each slice, and which of them
        were measured. Where none was, there is the padding's value, else the lowest.
    """
    if sideways.is_straight:
        return array, valid
    shape = sideways.shape_ji
    if not any(array.strides):
        # Stands for samples that were not read and takes no memory
        return np.broadcast_to(array[:1, :1, :1], (len(array), *shape)), None
    scan = Volume(array, np.eye(4), modality, valid=valid)
    valid = inspect(scan).valid
    fill = array.min() if valid is None else array[~valid].min()
    slices = filled(replace(scan, valid=valid), "k").array
    starts = sideways.first_ji - sideways.shift_ji_mm / sideways.pixel_ji_mm
    # Whole moves leave the values as they are
    starts = np.where(np.abs(starts - np.rint(starts)) <= _WHOLE_PX, np.rint(starts), starts)
    moved = np.full((len(array), *shape), fill, array.dtype)
    covered = np.zeros(moved.shape, bool)
    size = np.array(array.shape[1:])
    for k, start in enumerate(starts):
        # A slice's outer samples are a pixel wide, too
        low = np.maximum(0, np.ceil(-0.5 - start)).astype(int)
        high = np.minimum(shape, np.floor(size - 0.5 - start) + 1).astype(int)
        within, known = tuple(map(slice, low, high)), np.True_
        if valid is not None:
            at = (np.rint(np.arange(*ends) + place) for *ends, place in zip(low, high, start, strict=True))
            known = valid[k][np.ix_(*(each.clip(0, n - 1).astype(int) for each, n in zip(at, size, strict=True)))]
        moved[k][within] = np.where(known, _moved(slices[k], start + low, high - low), fill)
        covered[k][within] = known
    return moved, covered


def _moved(image: np.ndarray, places: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Values of one slice at place, place + 1, ... along both axes, in its own type; it goes on as it ends."""
    exact = np.float64 if image.dtype.itemsize > 2 and image.dtype != np.float32 else np.float32
    values = image
    for axis, (place, count) in enumerate(zip(places, counts, strict=True)):
        first, last = math.floor(place), image.shape[axis] - 1
        at, distances = np.arange(first, first + count), _TAPS - (place - first)
        if place == first:
            values = values.take(at.clip(0, last), axis)
            continue
        weights = np.sinc(distances) * np.i0(_KAISER_BETA * np.sqrt(1 - (distances / _HALF_WIDTH) ** 2))
        sampled: np.ndarray | float = 0.0
        for tap, weight in zip(_TAPS, weights / weights.sum(), strict=True):
            sampled = sampled + exact(weight) * values.take((at + tap).clip(0, last), axis)
        values = np.asarray(sampled)
    if values.dtype == image.dtype:
        return values
    values = np.clip(values, image.min(), image.max())
    return (np.rint(values) if image.dtype.kind in "iu" else values).astype(image.dtype)


def rectangular(array: np.ndarray, ijk_to_ras: np.ndarray, **known: Any) -> Volume:
    """A volume of samples on a grid that a tilted gantry may have sheared; such a one is straightened.

    Args:
        array, known: As ``Volume`` takes them.
        ijk_to_ras: 4x4, mm; two of its axes must be at right angles, and the third may lean over both.

    Raises:
        InputError, GeometryError: As ``Volume``; or it leans further than any gantry.
    """
    affine = np.array(ijk_to_ras, dtype=np.float64)
    axis = _leaning_axis(affine)
    # One slice does not lean
    if axis is None or array.ndim != 3 or array.shape[AXIS_OF_ARRAY[axis]] < 2:
        return Volume(array, affine, **known)
    plane = ["ijk".index(letter) for letter in "kji" if letter != axis]
    pixel_mm = np.array(spacing_of(affine))[plane]
    along_ji, column = (affine[:3, plane] / pixel_mm).T, affine[:3, "ijk".index(axis)]
    across_mm = along_ji @ column
    upright = column - across_mm @ along_ji
    slices = to_axis_first(array, axis)
    steps = np.arange(len(slices))
    along_mm = steps * np.linalg.norm(upright)
    sideways = sideways_of(np.outer(steps, across_mm), along_mm, pixel_mm, slices.shape[1:])
    moved, valid = straightened(slices, sideways, known.get("modality"))
    affine[:3, "ijk".index(axis)] = upright
    affine[:3, 3] += sideways.corner_ji_mm @ along_ji
    acquisition = None
    if not sideways.is_straight:
        acquisition = Acquisition(along_mm, shift_ras_mm=sideways.shift_ji_mm @ along_ji, axis=axis)
        valid = valid if valid is None else from_axis_first(valid, axis)
    notes = (*known.pop("notes", ()), sideways.note(known.get("modality")))
    return Volume(from_axis_first(moved, axis), affine, **known, notes=notes, acquisition=acquisition, valid=valid)


def _leaning_axis(affine: np.ndarray) -> str | None:
    """The axis that rectangular slices are stacked along; None if nothing leans, or not as a tilted gantry makes it."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        return None
    lengths, cosines = spacing_of(affine), cosines_of(affine)
    # For each of i, j, k the angle between the other two
    opposite = np.array([cosines[1, 2], cosines[0, 2], cosines[0, 1]])
    if (opposite <= SHEAR_TOLERANCE).all() or (opposite > SHEAR_TOLERANCE).all():
        return None
    upright = [n for n in (2, 1, 0) if opposite[n] <= SHEAR_TOLERANCE]
    stacked = max(upright, key=lambda n: lengths[n] * (_LIKE_K if n == 2 else 1))
    # Thick slices are not stacked along another axis: what is sheared then are the slices themselves
    return "ijk"[stacked] if lengths[stacked] * _LIKE_K >= max(lengths) else None
