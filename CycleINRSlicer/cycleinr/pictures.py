"""Axial, coronal and sagittal planes before and after, to scale, for people to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .evaluation.methods import linear, nearest
from .files.atomic import publish, staging_folder
from .grid import AXIS_OF_ARRAY, SliceGrid, from_axis_first, to_axis_first
from .volume import Volume

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""RAS direction that each plane is perpendicular to."""

_SCALE_BAR_MM = 50.0
_DPI = 110


def display_window(volume: Volume, modality: str) -> tuple[float, float]:
    """(window, level): the brain window for CT, the 1st to 99.5th percentile for MR."""
    if modality == "CT":
        return 120.0, 40.0
    low, high = np.percentile(volume.array, (1, 99.5))
    return float(high - low), float(high + low) / 2


def three_planes(
    acquired: Volume, result: Volume, grid: SliceGrid, window_level: tuple[float, float], path: Path
) -> None:
    """Write a picture: nearest slice, linear and CycleINR in rows, the three planes through the middle in columns.

    Args:
        acquired, result: Input and output of one run, which ``grid`` connects.
        window_level: Window and level in the volumes' units.
        path: .png to write, whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = {
        f"Nearest slice ({grid.spacing_in_mm:g} mm)": _resampled(acquired, result, grid, nearest),
        "Linear": _resampled(acquired, result, grid, linear),
        f"CycleINR ({grid.spacing_out_mm:.3g} mm)": result,
    }
    figure = Figure(figsize=(13, 13), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(PLANES))
    for line, (label, volume) in zip(axes, rows.items(), strict=True):
        for axis, plane in zip(line, PLANES, strict=True):
            _draw(axis, volume, plane, window_level)
            axis.set_title(f"{label}, {plane}", color="white", fontsize=10)
    window, level = window_level
    figure.suptitle(
        f"Window {window:g}, level {level:g}; bar {_SCALE_BAR_MM:g} mm. "
        "Derived, not acquired; not for primary diagnosis.",
        color="white",
        fontsize=11,
    )
    with staging_folder(path) as folder:
        figure.savefig(folder / path.name, dpi=_DPI, facecolor="black")
        publish(folder / path.name, path, overwrite=True)


def _resampled(acquired: Volume, result: Volume, grid: SliceGrid, method) -> Volume:
    """A plain method's volume on the result's grid; the methods work along k."""
    stack = to_axis_first(acquired.array, grid.axis)
    along_k = Volume(stack, np.diag([1.0, 1.0, grid.spacing_in_mm, 1.0]))
    return result.with_array(from_axis_first(method(along_k, grid), grid.axis))


def _draw(axis, volume: Volume, plane: str, window_level: tuple[float, float]) -> None:
    """One middle plane, upright in the radiological view: patient's right on the left, front or head up."""
    normal = PLANES[plane]
    columns = np.abs(volume.directions).argmax(axis=1)
    letters = ["ijk"[c] for c in columns]
    across, up = [d for d in range(3) if d != normal]
    dimensions = [AXIS_OF_ARRAY[letters[d]] for d in (up, across)]
    middle = volume.array.shape[AXIS_OF_ARRAY[letters[normal]]] // 2
    image = np.take(volume.array, middle, axis=AXIS_OF_ARRAY[letters[normal]])
    image = image if dimensions[0] < dimensions[1] else image.T
    signs = [volume.directions[d, columns[d]] for d in (up, across)]
    image = image[::-1] if signs[0] > 0 else image
    image = image[:, ::-1] if signs[1] > 0 else image
    height_mm, width_mm = (
        n * volume.spacing_ijk_mm[columns[d]] for n, d in zip(image.shape, (up, across), strict=True)
    )
    window, level = window_level
    shown = {"cmap": "gray", "vmin": level - window / 2, "vmax": level + window / 2, "interpolation": "nearest"}
    axis.imshow(image, extent=(0, width_mm, height_mm, 0), **shown)
    axis.plot([5, 5 + _SCALE_BAR_MM], [height_mm - 5] * 2, color="white", lw=2)
    axis.axis("off")
