"""The 4x4 matrix from index (i, j, k) to RAS millimetres: what is sound, where it points, grids within grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np

from .errors import GeometryError

SHEAR_TOLERANCE = 1e-3
"""Largest cosine between two axes that still counts as perpendicular (about 0.06 degrees)."""

TOWARDS = (("R", "L"), ("A", "P"), ("S", "I"))
"""Letters of the patient's directions along +x and -x, +y and -y, +z and -z of RAS."""


def subgrid_affine(
    ijk_to_ras: np.ndarray, first_ijk: Sequence[float] | np.ndarray, step_ijk: Sequence[float] | np.ndarray = (1, 1, 1)
) -> np.ndarray:
    """The affine of a grid within a grid: a crop, every n-th sample, or slices in between.

    Args:
        ijk_to_ras: 4x4, of the grid that positions are counted in.
        first_ijk: Where the first sample lies, in that grid's (i, j, k); fractions and places outside are allowed.
        step_ijk: Distance between its samples along i, j and k in that grid's spacings; negative turns the axis around.

    Returns:
        4x4 float64.
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


def row_and_sign(letter: str) -> tuple[int, int]:
    """RAS axis and direction of one letter; (-1, 0) for none of R, L, A, P, S, I."""
    for row, letters in enumerate(TOWARDS):
        if letter in letters:
            return row, 1 - 2 * letters.index(letter)
    return -1, 0


def check_affine(affine: np.ndarray) -> None:
    """Check that a 4x4 matrix can be the ijk_to_ras of a volume.

    Raises:
        GeometryError: Wrong shape, non-finite, singular, or axes that are not perpendicular.
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
            "as an affine registration leaves it. "
            "Resample it to a rectangular grid first (in 3D Slicer: Resample Scalar/Vector/DWI Volume)."
        )


def is_sheared(affine: np.ndarray) -> bool:
    """Whether two axes of a sound 4x4 affine are not perpendicular."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0).clip(1e-300)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR_TOLERANCE)


def _mm(values: np.ndarray) -> str:
    return " x ".join(f"{value:g}" for value in values)
