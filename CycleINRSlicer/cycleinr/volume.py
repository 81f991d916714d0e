"""The one in-memory form of a scan: an array in (K, J, I) order and the affine that places it in the patient.

Everything inside the engine is RAS millimetres; other conventions are converted where files are read and written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .errors import GeometryError, InputError

SHEAR_TOLERANCE = 1e-3
"""Largest cosine between two axes that still counts as perpendicular (about 0.06 degrees)."""

MODALITIES = ("CT", "MR")


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT or MR scan with its place in the patient.

    :param array: samples of shape (K, J, I), any integer or floating type; HU for CT.
    :param ijk_to_ras: 4x4 matrix that takes the column (i, j, k, 1) of a sample's centre to RAS millimetres.
    :param modality: "CT", "MR", or None where it is unknown.
    :param slice_thickness_mm: thickness of one acquired slice, None where it is unknown; 0 means infinitely thin.
    :param name: a label for people; never holds a patient's identity.
    :raises InputError: the array is no non-empty 3-D array of real numbers, or modality or thickness make no sense.
    :raises GeometryError: the affine is not finite, is singular, or its axes are not perpendicular.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    modality: str | None = None
    slice_thickness_mm: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        affine = np.array(self.ijk_to_ras, dtype=np.float64)
        _check_array(array)
        check_affine(affine)
        if self.modality is not None and self.modality not in MODALITIES:
            raise InputError(
                f"The modality is {self.modality!r}, but only 'CT' and 'MR' volumes can be processed. "
                "Choose one of these, or leave it open if it is unknown."
            )
        thickness = self.slice_thickness_mm
        if thickness is not None and not (math.isfinite(thickness) and thickness >= 0):
            raise InputError(
                f"The slice thickness is {thickness} mm, which no scan can have. "
                "Give a thickness of 0 mm or more, or leave it open if it is unknown."
            )
        # The affine is shared between copies of the volume, so it must not change under any of them.
        affine.flags.writeable = False
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "ijk_to_ras", affine)

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        """Number of samples along k, j and i."""
        return self.array.shape

    @property
    def spacing_ijk_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring samples along i, j and k, in mm."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def directions(self) -> np.ndarray:
        """3x3 matrix whose columns are the unit vectors of i, j and k in RAS."""
        return self.ijk_to_ras[:3, :3] / np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)

    @property
    def is_left_handed(self) -> bool:
        """Whether i, j and k form a left-handed system in RAS (some scanners and NIfTI files do)."""
        return bool(np.linalg.det(self.ijk_to_ras[:3, :3]) < 0)

    def with_array(self, array: np.ndarray, ijk_to_ras: np.ndarray | None = None) -> Volume:
        """The same scan with other samples.

        :param array: samples (K, J, I); without `ijk_to_ras` they must have this volume's shape.
        :param ijk_to_ras: the affine that belongs to `array`, where it differs from this volume's.
        :raises GeometryError: the shape changed and no affine came with it, so the place would be a guess.
        """
        array = np.asarray(array)
        if ijk_to_ras is None:
            if array.shape != self.array.shape:
                raise GeometryError(
                    f"The new array has shape {array.shape} and the volume has {self.array.shape} (K, J, I), "
                    "so its place in the patient is unknown. Pass the affine of the new array as ijk_to_ras."
                )
            ijk_to_ras = self.ijk_to_ras
        return replace(self, array=array, ijk_to_ras=ijk_to_ras)

    def ras_of_ijk(self, points: np.ndarray) -> np.ndarray:
        """RAS millimetres of index positions.

        :param points: (..., 3) positions in (i, j, k) order; fractions and positions outside the array are allowed.
        :returns: (..., 3) float64 positions in RAS mm.
        """
        points = np.asarray(points, dtype=np.float64)
        return points @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]


def _check_array(array: np.ndarray) -> None:
    if array.ndim != 3:
        raise InputError(
            f"The image has {array.ndim} dimensions with shape {array.shape}, but a volume has 3 (K, J, I). "
            "Extract one 3-D volume (one time point, one component) first."
        )
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"The image holds values of type {array.dtype}, which are no intensities. "
            "Convert it to an integer or floating point type first."
        )
    if array.size == 0:
        raise InputError(f"The image is empty: its shape is {array.shape} (K, J, I). Check the file it comes from.")


def check_affine(affine: np.ndarray) -> None:
    """Check that a 4x4 matrix can be the ijk_to_ras of a volume.

    :raises GeometryError: wrong shape, non-finite, singular, or axes that are not perpendicular.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], (0, 0, 0, 1)):
        raise GeometryError(
            f"The ijk-to-RAS matrix is\n{affine}\nbut it must be 4 x 4, finite, with last row 0 0 0 1. "
            "The file's geometry is damaged; export the volume again."
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths == 0).any():
        raise GeometryError(
            f"The spacing along i, j, k is {_mm(lengths)} mm: an axis has no length. "
            "The file's geometry is damaged; export the volume again."
        )
    directions = affine[:3, :3] / lengths
    if abs(np.linalg.det(directions)) < 1e-6:
        raise GeometryError(
            f"The axis directions\n{directions}\nlie in one plane, so they span no volume. "
            "The file's geometry is damaged; export the volume again."
        )
    cosines = np.abs(directions.T @ directions - np.eye(3))
    if cosines.max() > SHEAR_TOLERANCE:
        a, b = np.unravel_index(int(cosines.argmax()), (3, 3))
        degrees = math.degrees(math.acos(min(1.0, cosines.max())))
        raise GeometryError(
            f"Axes {'ijk'[a]} and {'ijk'[b]} meet at {degrees:.2f} degrees instead of 90: the volume is sheared, "
            "as a tilted CT gantry or an affine registration leaves it. "
            "Resample it to a rectangular grid first (in 3D Slicer: Resample Scalar/Vector/DWI Volume)."
        )


def _mm(values: np.ndarray) -> str:
    return " x ".join(f"{value:g}" for value in values)
