"""Axial, coronal and sagittal planes before and after, to scale, for people to look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from .files.atomic import publish, staging_folder
from .grid import AXIS_OF_ARRAY, COLUMN_OF_AXIS, SliceGrid, from_axis_first, to_axis_first
from .resampling import Reconstruction, bspline, linear, nearest
from .volume import Volume
from .windows import DisplayWindow

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""RAS direction that each plane is perpendicular to."""

_SCALE_BAR_MM = 50.0
_DPI = 110


def three_planes(acquired: Volume, result: Volume, grid: SliceGrid, window: DisplayWindow, path: Path) -> None:
    """Write a picture: plain methods and CycleINR in rows, the three planes through the middle in columns.

    Args:
        acquired, result: Input and output of one run, which ``grid`` connects.
        window: What is drawn from black to white.
        path: .png to write, whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = {
        f"Nearest slice ({grid.spacing_in_mm:g} mm)": nearest,
        "Linear": linear,
        "Cubic B-spline": bspline,
        f"CycleINR ({grid.spacing_out_mm:.3g} mm)": None,
    }
    figure = Figure(figsize=(13, 4.4 * len(rows)), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(PLANES))
    for line, (label, method) in zip(axes, rows.items(), strict=True):
        for axis, plane in zip(line, PLANES, strict=True):
            shown = _resampled(acquired, result, grid, method, plane) if method else result
            _draw(axis, shown, plane, window)
            axis.set_title(f"{label}, {plane}", color="white", fontsize=10, y=1)
    figure.suptitle(
        f"Window {window.name}: width {window.width:.4g}, level {window.level:.4g}; bar {_SCALE_BAR_MM:g} mm. "
        "Derived, not acquired; not for primary diagnosis.",
        color="white",
        fontsize=11,
    )
    with staging_folder(path) as folder:
        figure.savefig(folder / path.name, dpi=_DPI, facecolor="black")
        publish(folder / path.name, path, overwrite=True)


def _resampled(acquired: Volume, result: Volume, grid: SliceGrid, method: Reconstruction, plane: str) -> Volume:
    """A plain method's middle plane on the result's grid, as a volume of one plane; the methods work along k."""
    letter = _letters(result)[PLANES[plane]]
    middle = _middle(result, letter)
    stack = to_axis_first(acquired.array, grid.axis)
    if letter == grid.axis:
        grid = replace(grid, n_out=1, first_mm=grid.first_mm + middle * grid.spacing_out_mm)
    else:
        plane_only = np.take(acquired.array, [middle], axis=AXIS_OF_ARRAY[letter])
        stack = to_axis_first(plane_only, grid.axis)
    along_k = Volume(stack, np.diag([1.0, 1.0, grid.spacing_in_mm, 1.0]))
    # Where the plane lies does not matter for its picture
    return result.with_array(from_axis_first(method(along_k, grid), grid.axis), result.ijk_to_ras)


def _letters(volume: Volume) -> list[str]:
    """The axis letter that runs most nearly along R, A and S."""
    return ["ijk"[column] for column in np.abs(volume.directions).argmax(axis=1)]


def _middle(volume: Volume, letter: str) -> int:
    return volume.array.shape[AXIS_OF_ARRAY[letter]] // 2


def _draw(axis, volume: Volume, plane: str, window: DisplayWindow) -> None:
    """One middle plane, upright in the radiological view: patient's right on the left, front or head up."""
    normal = PLANES[plane]
    letters = _letters(volume)
    columns = [COLUMN_OF_AXIS[letter] for letter in letters]
    across, up = [d for d in range(3) if d != normal]
    dimensions = [AXIS_OF_ARRAY[letters[d]] for d in (up, across)]
    image = np.take(volume.array, _middle(volume, letters[normal]), axis=AXIS_OF_ARRAY[letters[normal]])
    image = image if dimensions[0] < dimensions[1] else image.T
    signs = [volume.directions[d, columns[d]] for d in (up, across)]
    image = image[::-1] if signs[0] > 0 else image
    image = image[:, ::-1] if signs[1] > 0 else image
    height_mm, width_mm = (
        n * volume.spacing_ijk_mm[columns[d]] for n, d in zip(image.shape, (up, across), strict=True)
    )
    shown = {"cmap": "gray", "vmin": window.low, "vmax": window.high, "interpolation": "nearest"}
    axis.imshow(image, extent=(0, width_mm, height_mm, 0), **shown)
    axis.plot([5, 5 + _SCALE_BAR_MM], [height_mm - 5] * 2, color="white", lw=2)
    # Ticks that are not shown would still be laid out
    axis.set(xticks=[], yticks=[])
    axis.axis("off")
