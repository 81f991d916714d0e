"""Wherever random gantries, tables and rounding put slices, a volume's samples are where the volume says."""

from pathlib import Path

import numpy as np
from cycleinr.files.dicom_header import SliceHeader
from cycleinr.files.dicom_slices import stack
from hypothesis import given, settings
from hypothesis import strategies as st

NEAR_EDGE_PX = 6
OFF_MM = 0.11
"""Positions that are rounded to 0.1 mm along each axis."""


def turned(random: np.random.Generator) -> np.ndarray:
    """A random rotation, (3, 3)."""
    axes, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return axes * np.sign(np.linalg.det(axes))


def heights_of(random: np.random.Generator, pattern: str, count: int) -> np.ndarray:
    """Slice positions along their normal."""
    spacing = random.uniform(0.6, 8)
    if pattern == "two spacings":
        return spacing * np.cumsum(np.where(np.arange(count) < count // 2, 1, random.uniform(1.5, 3)))
    numbers = np.arange(count + 1)
    return spacing * (np.delete(numbers, random.integers(1, count)) if pattern == "missing" else numbers[:count])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    pattern=st.sampled_from(["even", "missing", "two spacings"]),
    degrees=st.one_of(st.just(0.0), st.floats(0.01, 34.5)),
    is_rounded=st.booleans(),
)
def test_samples_are_where_the_volume_says(seed, pattern, degrees, is_rounded):
    random = np.random.default_rng(seed)
    axes, shape, count = turned(random), random.integers(16, 28, 2), random.integers(4, 12)
    pixel_mm = tuple(random.uniform(0.4, 1.5, 2))
    lean = np.tan(np.deg2rad(degrees)) * np.array([np.cos(seed), np.sin(seed)])
    heights = heights_of(random, pattern, count)
    places = random.uniform(-200, 200, 3) + np.column_stack([np.outer(heights, lean), heights]) @ axes.T
    slope_lps = random.normal(size=3) * 20
    row, column = np.mgrid[: shape[0], : shape[1]]
    headers, pixels = [], {}
    for n, place in enumerate(places):
        told = np.round(place, 1) if is_rounded else place
        path = Path(f"{n}.dcm")
        headers.append(header(path, told, axes, pixel_mm, tuple(int(size) for size in shape)))
        # A plane through the patient: each sample tells where it was taken
        at = place + (column * pixel_mm[1])[..., None] * axes[:, 0] + (row * pixel_mm[0])[..., None] * axes[:, 1]
        pixels[path] = at @ slope_lps
    random.shuffle(headers)
    found = stack(headers)
    volume = found.volume(np.stack([pixels[each.path] for each in found.slices]), "scan")

    assert volume.shape_kji[0] == count
    known = np.ones(volume.shape_kji, bool) if volume.valid is None else volume.valid
    for k in range(count):
        rows, columns = np.nonzero(known[k])
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) in reaches(shape)
        inside = (slice(rows.min() + NEAR_EDGE_PX, rows.max() + 1 - NEAR_EDGE_PX),) + (
            slice(columns.min() + NEAR_EDGE_PX, columns.max() + 1 - NEAR_EDGE_PX),
        )
        j, i = (each[inside] for each in np.indices(volume.shape_kji[1:]))
        at_ras = volume.ras_of_ijk(np.stack([i, j, np.full(i.shape, k)], axis=-1))
        told = at_ras @ (slope_lps * (-1, -1, 1))
        off_mm = np.abs(volume.array[k][inside] - told) / np.linalg.norm(slope_lps)
        allowed = OFF_MM if is_rounded else 0.1 * max(pixel_mm) + 0.02
        assert off_mm.max() <= allowed * 2


def reaches(shape: np.ndarray) -> set[tuple[int, int]]:
    """How many samples a slice may cover along j and i: as many as it has, or one less where it lies between them."""
    return {(shape[0] - a, shape[1] - b) for a in (0, 1) for b in (0, 1)} | {
        (shape[0] + a, shape[1] + b) for a in (0, 1) for b in (0, 1)
    }


def header(path: Path, place: np.ndarray, axes: np.ndarray, pixel_mm, shape) -> SliceHeader:
    return SliceHeader(
        path=path, series_uid="1", series_number=1, modality="MR", position_lps_mm=place, along_row_lps=axes[:, 0],
        along_column_lps=axes[:, 1], pixel_mm=pixel_mm, rows_columns=shape, thickness_mm=None, slope=1.0, intercept=0.0,
        allocated_bits=16, samples_per_pixel=1, photometric="MONOCHROME2",
    )  # fmt: skip
