"""Header of one DICOM slice or frame, and whether a set of them stacks up to one rectangular volume.

Positions and orientations here are in LPS mm, as DICOM gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np

from ..errors import GeometryError, InputError
from ..geometry import Acquisition, fit_positions
from ..straighten import Sideways, sideways_of, straightened
from ..volume import Volume
from .bridges import ras_from_lps

SAME_POSITION_MM = 0.01
_ORIENTATION_TOLERANCE = 1e-3
_PIXEL_SPACING_TOLERANCE_SHARE = 1e-3

_SCANNED = {"CT": (-1024, 3071), "MR": (0, 0)}
"""Values of air and tissue in HU; in MR that of no signal."""


@dataclass(frozen=True, eq=False)
class SliceHeader:
    """What one file says about its slice; None where it says nothing.

    Attributes:
        position_lps_mm: Centre of the first pixel, (3,) - Image Position (Patient) (0020,0032).
        along_row_lps: Unit vector of rising column index, (3,) - Image Orientation (Patient) (0020,0037).
        along_column_lps: Unit vector of rising row index, (3,) - the same tag's last three values.
        pixel_mm: Distance between rows, distance between columns - Pixel Spacing (0028,0030).
        rows_columns: Rows (0028,0010), Columns (0028,0011).
        thickness_mm: Slice Thickness (0018,0050).
        slope: Rescale Slope (0028,1053).
        intercept: Rescale Intercept (0028,1052).
        allocated_bits: Bits Allocated (0028,0100).
        frames: Number of Frames (0028,0008) of an enhanced image; None for a file that is one slice.
        frame: Which of them this is.
        is_scout: An overview image to plan a scan on; it may lack all that places it.
        is_result: It was made by CycleINR, as its Manufacturer (0008,0070) says.
        uid: SOP Instance UID (0008,0018).
        padding: Ends of the range of stored values outside the field, Pixel Padding Value (0028,0120) and Range Limit
            (0028,0121); empty for none.
        tells: What may tell it from another image at the same place, by DICOM keyword; see ``dicom_header.TELLING``.
    """

    path: Path
    series_uid: str
    series_number: str
    modality: str
    position_lps_mm: np.ndarray | None
    along_row_lps: np.ndarray | None
    along_column_lps: np.ndarray | None
    pixel_mm: tuple[float, float] | None
    rows_columns: tuple[int, int]
    thickness_mm: float | None
    slope: float
    intercept: float
    allocated_bits: int
    samples_per_pixel: int
    photometric: str
    frames: int | None = None
    frame: int | None = None
    is_scout: bool = False
    is_result: bool = False
    uid: str = ""
    padding: tuple[int, ...] = ()
    tells: Mapping[str, float | str | tuple[str, ...]] = field(default_factory=dict)

    @property
    def normal_lps(self) -> np.ndarray:
        """Unit vector at right angles to the slice."""
        normal = np.cross(self.along_row_lps, self.along_column_lps)
        return normal / np.linalg.norm(normal)

    def place_ras_mm(self, column: float, row: float) -> np.ndarray:
        """Where a pixel of the slice lies, (3,) RAS mm."""
        across, down = column * self.pixel_mm[1], row * self.pixel_mm[0]
        place = self.position_lps_mm + across * self.along_row_lps + down * self.along_column_lps
        return ras_from_lps(np.eye(4))[:3, :3] @ place


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of one series in order, and the rectangular volume that they fill.

    Attributes:
        slices: In order of rising k.
        ijk_to_ras: 4x4, mm, of the volume.
        shape_kji: The volume's samples, more than the slices' own where they lie sideways of each other.
        acquisition: Where the slices lie, if not evenly, or by how much each was moved within its plane; else None.
        sideways: How far each lies beside the middle one.
        notes: What was taken to be otherwise than the headers say, a sentence each.
    """

    slices: list[SliceHeader]
    ijk_to_ras: np.ndarray
    shape_kji: tuple[int, int, int]
    acquisition: Acquisition | None
    sideways: Sideways
    notes: tuple[str, ...]

    def volume(self, pixels: np.ndarray, name: str, notes: tuple[str, ...] = ()) -> Volume:
        """The volume that the slices fill.

        Args:
            pixels: (slices, rows, columns), in order.
            name: Its name.
            notes: What else there is to say.
        """
        modality = self.slices[0].modality
        array, valid = straightened(pixels, self.sideways, modality, _measured(self.slices, pixels))
        return Volume(
            array,
            self.ijk_to_ras,
            modality=modality,
            slice_thickness_mm=thickness_of(self.slices),
            name=name,
            notes=notes + self.notes,
            acquisition=self.acquisition,
            valid=valid,
        )


def _measured(slices: list[SliceHeader], pixels: np.ndarray) -> np.ndarray | None:
    """Which pixels are no padding by the headers; None where all are, and where voxels were not read.

    Padding whose value air or tissue may have as well makes no edge of its own, and cannot be told from these.
    """
    if not any(s.padding for s in slices) or not any(pixels.strides):
        return None
    valid = np.ones(pixels.shape, bool)
    for s, image, mask in zip(slices, pixels, valid, strict=True):
        if s.padding:
            ends = sorted(stored * s.slope + s.intercept for stored in s.padding)
            lowest, highest = _SCANNED[s.modality]
            scanned, half = (image >= lowest) & (image <= highest), abs(s.slope) / 2
            mask[:] = scanned | (image < ends[0] - half) | (image > ends[-1] + half)
    return None if valid.all() else valid


def stack(slices: list[SliceHeader]) -> Stack:
    """Sort slices along their normal and derive the volume's geometry from their positions.

    The distance between slices comes from the positions, because Slice Thickness and Spacing Between Slices are often
    wrong or missing. A stack that leans less than headers round stays as it is.

    Args:
        slices: All slices of one series, in any order, with position, orientation and pixel spacing.

    Raises:
        InputError: The slices differ in size or pixel spacing.
        GeometryError: One slice, differing orientation, doubled positions, or a stack that no gantry makes.
    """
    _check_alike(slices)
    first = slices[0]
    # Columns: along the rising column index, along the rising row index, along the normal
    directions = (first.along_row_lps, first.along_column_lps, first.normal_lps)
    axes = np.column_stack([np.asarray(direction) for direction in directions])
    ordered = sorted(slices, key=lambda s: float(s.position_lps_mm @ axes[:, 2]))
    places = np.array([s.position_lps_mm for s in ordered]) @ axes
    _check_positions(places[:, 2])
    fitted = fit_positions(places[:, 2], _differing_thickness(ordered))
    sideways = sideways_of(places[:, 1::-1], places[:, 2], first.pixel_mm, first.rows_columns)
    start, shape_ji = sideways.grid(first.rows_columns)
    lps = np.eye(4)
    lps[:3, :3] = axes * (first.pixel_mm[1], first.pixel_mm[0], fitted.spacing_mm)
    corner_ji = sideways.middle_ji_mm + start * first.pixel_mm
    if sideways.is_rounding:
        lps[:3, 2] += axes[:, 1::-1] @ sideways.lean_ji * fitted.spacing_mm
        corner_ji = corner_ji + sideways.lean_ji * (fitted.first_mm - places[len(ordered) // 2, 2])
    lps[:3, 3] = np.linalg.solve(axes.T, [*corner_ji[::-1], fitted.first_mm])
    acquisition = fitted.acquisition
    if not sideways.is_straight:
        moved_ras_mm = sideways.shift_ji_mm @ axes[:, 1::-1].T @ ras_from_lps(np.eye(4))[:3, :3]
        even = Acquisition(fitted.spacing_mm * np.arange(len(ordered)))
        acquisition = replace(acquisition or even, shift_ras_mm=moved_ras_mm)
    return Stack(
        ordered,
        ras_from_lps(lps),
        (len(ordered), *shape_ji),
        acquisition,
        sideways,
        tuple(note for note in (fitted.note, sideways.note(first.modality)) if note),
    )


def _differing_thickness(slices: list[SliceHeader]) -> np.ndarray | None:
    """Thickness of each slice in mm where they differ; None where they are all alike, or one says nothing."""
    each = [s.thickness_mm for s in slices]
    if any(mm is None or not math.isfinite(mm) or mm <= 0 for mm in each) or len(set(each)) == 1:
        return None
    return np.array(each)


def thickness_of(slices: list[SliceHeader]) -> float | None:
    """Slice thickness of a series in mm, None if no slice tells a positive one."""
    known = [s.thickness_mm for s in slices if s.thickness_mm and math.isfinite(s.thickness_mm) and s.thickness_mm > 0]
    return float(median(known)) if known else None


def difference(one: SliceHeader, other: SliceHeader) -> str:
    """What keeps two slices from lying in one stack: "size", "pixel spacing" or "orientation"; "" for nothing."""
    if one.rows_columns != other.rows_columns:
        return "size"
    if not np.allclose(one.pixel_mm, other.pixel_mm, rtol=_PIXEL_SPACING_TOLERANCE_SHARE, atol=0):
        return "pixel spacing"
    turned = np.abs([one.along_row_lps - other.along_row_lps, one.along_column_lps - other.along_column_lps])
    return "orientation" if turned.max() > _ORIENTATION_TOLERANCE else ""


def _check_alike(slices: list[SliceHeader]) -> None:
    if len(slices) == 1:
        raise GeometryError(
            "The DICOM series has one slice; super-resolution needs a stack of them. "
            "Give the folder that holds the whole series."
        )
    first = slices[0]
    for other in slices[1:]:
        which = difference(first, other)
        if which == "orientation":
            raise GeometryError(
                f"The slices differ in orientation: {first.path.name} and {other.path.name} are not parallel, as in a "
                "localizer or a radial scan. Choose a series of parallel slices."
            )
        if which:
            here, there = (
                f"{s.path.name} has {_times(s.rows_columns)} pixels of {_times(s.pixel_mm)} mm" for s in (first, other)
            )
            raise InputError(f"The slices differ in {which}: {here}, {there}. Remove the images that do not belong.")


def _check_positions(along_mm: np.ndarray) -> None:
    """``along_mm`` are (slices,) sorted positions along the normal."""
    doubled = np.diff(along_mm) < SAME_POSITION_MM
    if doubled.any():
        raise GeometryError(
            f"{np.count_nonzero(doubled)} of {len(along_mm)} slices lie where another slice lies already (the first at "
            f"position {int(np.argmax(doubled)) + 2} of the stack), as when copies, several echoes or time points "
            "share a series. Keep one image per position."
        )


def _times(numbers: tuple) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
