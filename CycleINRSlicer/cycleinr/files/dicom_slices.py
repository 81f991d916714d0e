"""Header of one DICOM slice or frame, and whether a set of them stacks up to one rectangular volume.

Positions and orientations here are in LPS mm, as DICOM gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from ..affine import SHEAR_TOLERANCE
from ..errors import GeometryError, InputError
from .lps import ras_from_lps

SPACING_TOLERANCE_SHARE = 0.01
SPACING_TOLERANCE_MM = 0.05
SAME_POSITION_MM = 0.01
ORIENTATION_TOLERANCE = 1e-3
PIXEL_SPACING_TOLERANCE_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class SliceHeader:
    """What one file says about its slice; None where it says nothing.

    :param position_lps_mm: centre of the first pixel, (3,) - Image Position (Patient) (0020,0032).
    :param along_row_lps: unit vector of rising column index, (3,) - Image Orientation (Patient) (0020,0037).
    :param along_column_lps: unit vector of rising row index, (3,) - the same tag's last three values.
    :param pixel_mm: distance between rows, distance between columns - Pixel Spacing (0028,0030).
    :param rows_columns: Rows (0028,0010), Columns (0028,0011).
    :param thickness_mm: Slice Thickness (0018,0050).
    :param slope: Rescale Slope (0028,1053).
    :param intercept: Rescale Intercept (0028,1052).
    :param allocated_bits: Bits Allocated (0028,0100).
    :param frames: Number of Frames (0028,0008) of an enhanced image; None for a file that is one slice.
    :param frame: which of them this is.
    :param is_scout: an overview image to plan a scan on; it may lack all that places it.
    :param uid: SOP Instance UID (0008,0018).
    :param tells: what may tell it from another image at the same place, by DICOM keyword; see `dicom_header.TELLING`.
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
    uid: str = ""
    tells: Mapping[str, float | str | tuple[str, ...]] = field(default_factory=dict)

    @property
    def normal_lps(self) -> np.ndarray:
        """Unit vector at right angles to the slice."""
        normal = np.cross(self.along_row_lps, self.along_column_lps)
        return normal / np.linalg.norm(normal)


def stack(slices: list[SliceHeader]) -> tuple[list[SliceHeader], np.ndarray]:
    """Sort slices along their normal and derive the volume's geometry from their positions.

    The distance between slices comes from the positions, because Slice Thickness and Spacing Between Slices are often
    wrong or missing.

    :param slices: all slices of one series, in any order, with position, orientation and pixel spacing.
    :returns: the slices in order of rising k, and the 4x4 ijk_to_ras in mm.
    :raises InputError: the slices differ in size or pixel spacing.
    :raises GeometryError: one slice, differing orientation, doubled or missing positions, or a tilted gantry.
    """
    _check_alike(slices)
    normal = slices[0].normal_lps
    ordered = sorted(slices, key=lambda s: float(s.position_lps_mm @ normal))
    positions = np.array([s.position_lps_mm for s in ordered])
    _check_positions(positions, normal)
    first = ordered[0]
    lps = np.eye(4)
    lps[:3, 0] = first.along_row_lps * first.pixel_mm[1]
    lps[:3, 1] = first.along_column_lps * first.pixel_mm[0]
    lps[:3, 2] = (positions[-1] - positions[0]) / (len(ordered) - 1)
    lps[:3, 3] = positions[0]
    return ordered, ras_from_lps(lps)


def thickness_of(slices: list[SliceHeader]) -> float | None:
    """Slice thickness of a series in mm, None if no slice tells a positive one."""
    known = [s.thickness_mm for s in slices if s.thickness_mm and math.isfinite(s.thickness_mm) and s.thickness_mm > 0]
    return float(median(known)) if known else None


def _check_alike(slices: list[SliceHeader]) -> None:
    if len(slices) == 1:
        raise GeometryError(
            "The DICOM series has one slice; super-resolution needs a stack of them. "
            "Give the folder that holds the whole series."
        )
    first = slices[0]
    for other in slices[1:]:
        if other.rows_columns != first.rows_columns:
            raise InputError(
                f"The slices differ in size: {first.path.name} has {_times(first.rows_columns)} pixels and "
                f"{other.path.name} has {_times(other.rows_columns)}. Remove the images that do not belong."
            )
        if not np.allclose(other.pixel_mm, first.pixel_mm, rtol=PIXEL_SPACING_TOLERANCE_SHARE, atol=0):
            raise InputError(
                f"The slices differ in pixel spacing: {first.path.name} has {_times(first.pixel_mm)} mm and "
                f"{other.path.name} has {_times(other.pixel_mm)} mm. Remove the images that do not belong."
            )
        turned = max(
            np.abs(other.along_row_lps - first.along_row_lps).max(),
            np.abs(other.along_column_lps - first.along_column_lps).max(),
        )
        if turned > ORIENTATION_TOLERANCE:
            raise GeometryError(
                f"The slices differ in orientation: {first.path.name} and {other.path.name} are not parallel, as in a "
                "localizer or a radial scan. Choose a series of parallel slices."
            )


def _check_positions(positions: np.ndarray, normal: np.ndarray) -> None:
    """:param positions: (slices, 3) LPS mm, sorted along the normal."""
    along = positions @ normal
    gaps = np.diff(along)
    doubled = int(np.count_nonzero(gaps < SAME_POSITION_MM))
    if doubled:
        place = int(np.argmax(gaps < SAME_POSITION_MM))
        raise GeometryError(
            f"{doubled} of {len(along)} slices lie where another slice lies already (the first at position "
            f"{place + 2} of the stack), as when copies, several echoes or time points share a series. "
            "Keep one image per position."
        )
    usual = float(np.median(gaps))
    tolerance = max(SPACING_TOLERANCE_SHARE * usual, SPACING_TOLERANCE_MM)
    worst = int(np.abs(gaps - usual).argmax())
    if abs(gaps[worst] - usual) > tolerance:
        missing = round(gaps[worst] / usual) - 1
        cause = (
            f"{missing} {'slice seems' if missing == 1 else 'slices seem'} to be missing there. Export the series again"
            if missing >= 1 and abs(gaps[worst] - (missing + 1) * usual) <= (missing + 1) * tolerance
            else "the spacing is irregular. Resample the series to even spacing"
        )
        raise GeometryError(
            f"The gap between slices {worst + 1} and {worst + 2} of {len(along)} is {gaps[worst]:.3f} mm, and "
            f"{usual:.3f} mm elsewhere: {cause} first."
        )
    _check_straight(positions, normal, tolerance)


def _check_straight(positions: np.ndarray, normal: np.ndarray, tolerance: float) -> None:
    way = positions[-1] - positions[0]
    height = float(way @ normal)
    sideways = way - height * normal
    shear = float(np.linalg.norm(sideways)) / height
    if shear > SHEAR_TOLERANCE:
        raise GeometryError(
            f"The slices are stacked at {math.degrees(math.atan(shear)):.2f} degrees to their normal: the CT gantry "
            "was tilted, so the volume is sheared. Resample it to a rectangular grid first; in 3D Slicer, load it with "
            "the DICOM module and 'Acquisition geometry regularization', then Data, transform column, Harden transform."
        )
    steps = np.arange(len(positions))[:, None] / (len(positions) - 1)
    off = np.linalg.norm(positions - (positions[0] + steps * way), axis=1)
    worst = int(off.argmax())
    if off[worst] > 2 * tolerance:
        raise GeometryError(
            f"Slice {worst + 1} of {len(positions)} lies {off[worst]:.3f} mm off the line through the others. "
            "Remove the images that do not belong, or resample the series to a rectangular grid first."
        )


def _times(numbers: tuple) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
