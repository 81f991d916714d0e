"""Kinds of DICOM series that hospitals have, each of the same round blob in air.

What a scanner would have acquired is worked out exactly: each slice is the mean of the blob over its thickness, at its
place in the patient. So a result can be compared with the truth wherever its voxels lie.
"""

from __future__ import annotations

import math
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cycleinr.files.bridges import ras_from_lps
from cycleinr.volume import Volume
from dicom_maker import write_slice

CENTRE_RAS = np.array([3.1, -4.3, 31.4])
AIR_HU, PEAK_HU, SIGMA_MM = -1000.0, 1000.0, 5.5
ROWS, COLUMNS, PIXEL_MM = 40, 36, (1.1, 1.2)
SPACING_MM = 2.5
PADDING_HU = -2000

_LPS = ras_from_lps(np.eye(4))[:3, :3]
_COUNT = 14
_EVEN = CENTRE_RAS[2] + SPACING_MM * (np.arange(_COUNT) - 6.3)


def blob_hu(places_ras: np.ndarray, normal_ras: np.ndarray, thickness_mm: float) -> np.ndarray:
    """The blob's values at places (..., 3), as means over a slice's thickness."""
    away = places_ras - CENTRE_RAS
    along = away @ normal_ras
    across = (away**2).sum(axis=-1) - along**2
    scale = SIGMA_MM * math.sqrt(2)
    ends = ((along + sign * thickness_mm / 2) / scale for sign in (1, -1))
    upper, lower = (np.vectorize(math.erf)(end) for end in ends)
    mean = (upper - lower) * SIGMA_MM * math.sqrt(math.pi / 2) / thickness_mm
    return AIR_HU + PEAK_HU * mean * np.exp(-across / scale**2)


def write_blob(
    folder: Path,
    heights_mm: np.ndarray = _EVEN,
    tilt_degrees: float = 0.0,
    told_mm: np.ndarray | None = None,
    thickness_mm: float | np.ndarray = SPACING_MM,
    **tags,
) -> Path:
    """Write a series whose slices are stacked along the table, and touch each other.

    Args:
        heights_mm: Of the slices' middles, along the table.
        tilt_degrees: Of the gantry.
        told_mm: What the headers say instead.
        thickness_mm: Of the slices, along the table.
        tags: As of ``write_slice``, or functions of the slice's number; ``values`` makes others of its HU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sine, cosine = math.sin(math.radians(tilt_degrees)), math.cos(math.radians(tilt_degrees))
    across, down = np.array([1.0, 0, 0]), np.array([0.0, cosine, -sine])
    corner = -across * COLUMNS / 2 * PIXEL_MM[1] - down * ROWS / 2 * PIXEL_MM[0]
    row, column = np.mgrid[:ROWS, :COLUMNS]
    pixels = corner + (column * PIXEL_MM[1])[..., None] * across + (row * PIXEL_MM[0])[..., None] * down
    thicknesses = cosine * np.broadcast_to(thickness_mm, len(heights_mm))
    told_mm = heights_mm if told_mm is None else told_mm
    for n, (height, told, thickness) in enumerate(zip(heights_mm, told_mm, thicknesses, strict=True)):
        own = {key: value(n) if callable(value) and key != "values" else value for key, value in tags.items()}
        values = blob_hu((pixels + (0, 0, height)) @ _LPS, _LPS @ np.cross(across, down), thickness)
        stored = np.rint(own.pop("values", np.asarray)(values)).astype(np.int16)
        place = {
            "ImagePositionPatient": [round(float(mm), 6) for mm in corner + (0, 0, told)],
            "ImageOrientationPatient": [round(float(x), 8) for x in (*across, *down)],
            "PixelSpacing": list(PIXEL_MM),
            "SliceThickness": round(float(thickness), 6),
        }
        write_slice(folder / f"{n:03}.dcm", (0, 0, 0), stored, **{"RescaleIntercept": 0, **place, **own})
    return folder


def _missing(folder: Path) -> Path:
    return write_blob(folder, np.delete(_EVEN, 4))


def _two_spacings(folder: Path) -> Path:
    """Thin slices to beyond the blob's middle, then ones that are twice as thick."""
    thin, thick = 9, 4
    sizes = np.repeat([SPACING_MM, 2 * SPACING_MM], [thin, thick])
    faces = np.concatenate([[0], np.cumsum(sizes)])
    return write_blob(folder, _EVEN[0] + (faces[1:] + faces[:-1] - sizes[0]) / 2, thickness_mm=sizes)


def _rounded(folder: Path) -> Path:
    heights = _EVEN[0] + SPACING_MM / 2 * np.arange(2 * _COUNT)
    return write_blob(folder, heights, told_mm=np.round(heights, 1), thickness_mm=SPACING_MM / 2)


def _jitter(folder: Path) -> Path:
    return write_blob(folder, told_mm=_EVEN + 0.03 * np.random.default_rng(0).choice([-1, 1], _COUNT))


def _padding(folder: Path) -> Path:
    row, column = np.mgrid[:ROWS, :COLUMNS]
    outside = (row - ROWS / 2) ** 2 + (column - COLUMNS / 2) ** 2 > (COLUMNS / 2) ** 2
    return write_blob(folder, values=lambda hu: np.where(outside, PADDING_HU, hu), PixelPaddingValue=PADDING_HU)


def _sub_folders(folder: Path) -> Path:
    write_blob(folder / "DICOM" / "ST000000" / "SE000000")
    (folder / "AUTORUN.INF").write_text("[autorun]")
    return folder


def _zip(folder: Path) -> Path:
    write_blob(folder / "SE0")
    with zipfile.ZipFile(folder / "scan.zip", "w") as archive:
        for file in sorted((folder / "SE0").iterdir()):
            archive.write(file, f"export/SE0/{file.name}")
    return folder / "scan.zip"


def _duplicates(folder: Path) -> Path:
    for file in sorted(write_blob(folder).iterdir())[3:6]:
        shutil.copyfile(file, folder / f"copy of {file.name}")
    return folder


KINDS: dict[str, Callable[[Path], Path]] = {
    "plain": write_blob,
    "gantry tilt of 12 degrees": lambda folder: write_blob(folder, tilt_degrees=12),
    "gantry tilt of 0.3 degrees": lambda folder: write_blob(folder, tilt_degrees=-0.3),
    "one slice missing": _missing,
    "2.5 mm, then 5 mm": _two_spacings,
    "rounded to 0.1 mm at 1.25 mm": _rounded,
    "jitter of 0.03 mm": _jitter,
    "padding": _padding,
    "sub-folders": _sub_folders,
    "zip": _zip,
    "duplicates": _duplicates,
    "MONOCHROME1": lambda folder: write_blob(folder, PhotometricInterpretation="MONOCHROME1"),
}
"""What writes each of them into a new folder, and returns what a user would give."""


def compared(result: Volume) -> tuple[float, float]:
    """How far the blob's centroid lies from where it should, in mm along any axis, and the largest error in HU.

    Args:
        result: With even slices.
    """
    k, j, i = np.indices(result.shape_kji)
    places = result.ras_of_ijk(np.stack([i, j, k], axis=-1))
    truth = blob_hu(places, result.directions[:, 2], result.spacing_ijk_mm[2])
    known = result.array > PADDING_HU
    weights = np.where(known & (truth > AIR_HU + 2), result.array - AIR_HU, 0.0)
    expected = np.where(weights != 0, truth - AIR_HU, 0.0)
    centre, meant = (np.tensordot(each, places, 3) / each.sum() for each in (weights, expected))
    return float(np.abs(centre - meant).max()), float(np.abs(result.array - truth)[known].max())
