"""Pictures as PNG files in memory; axial, coronal and sagittal planes before and after, to scale. Needs no display."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from .geometry import nearest_ras
from .grid import AXIS_OF_ARRAY, SliceGrid, from_axis_first, to_axis_first
from .resampling import bspline_weights, linear_weights, nearest_weights, resampled
from .volume import Volume
from .windows import DisplayWindow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""RAS direction that each plane is perpendicular to."""

_SCALE_BAR_MM = 50.0
_DPI = 110


def three_planes(acquired: Volume, result: Volume, grid: SliceGrid, window: DisplayWindow) -> bytes:
    """Plain methods and CycleINR in rows, the three planes through the middle in columns.

    Args:
        acquired, result: Input and output of one run, which ``grid`` connects.
        window: What is drawn from black to white.
    """
    rows = {
        f"Nearest slice ({grid.spacing_in_mm:g} mm)": nearest_weights,
        "Linear": linear_weights,
        "Cubic B-spline": bspline_weights,
        f"CycleINR ({grid.spacing_out_mm:.3g} mm)": None,
    }
    figure, axes = new_figure((13, 4.4 * len(rows)), len(rows), len(PLANES), facecolor="black")
    for line, (label, method) in zip(axes, rows.items(), strict=True):
        for axis, plane in zip(line, PLANES, strict=True):
            _draw(axis, _plane(acquired, result, grid, method, PLANES[plane]), 2 - PLANES[plane], window)
            axis.set_title(f"{label}, {plane}", color="white", fontsize=10, y=1)
    figure.suptitle(
        f"Window {window.name}: width {window.width:.4g}, level {window.level:.4g}; bar {_SCALE_BAR_MM:g} mm. "
        "Derived, not acquired; not for primary diagnosis.",
        color="white",
        fontsize=11,
    )
    return png(figure)


def new_figure(inches: tuple[float, float], rows: int = 1, columns: int = 1, **look: Any) -> tuple[Figure, Any]:
    """A figure of matplotlib's, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained", **look)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    buffer = BytesIO()
    # Else matplotlib's web address goes into the file
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _plane(acquired: Volume, result: Volume, grid: SliceGrid, method: Callable | None, normal: int) -> Volume:
    """The middle plane at right angles to a RAS direction, of the result or of what a plain method makes of a scan."""
    letter = "ijk"[nearest_ras(result.directions).index(normal)]
    dimension = AXIS_OF_ARRAY[letter]
    middle = result.shape_kji[dimension] // 2
    plane = tuple(slice(middle, middle + 1) if n == dimension else slice(None) for n in range(3))
    shown = result[plane]
    if method is None:
        return shown
    if letter == grid.axis:
        grid, part = replace(grid, n_out=1, first_mm=grid.first_mm + middle * grid.spacing_out_mm), acquired.array
    else:
        part = acquired.array[plane]
    stack = resampled(method(grid.positions(), grid.n_in), to_axis_first(part, grid.axis))
    return shown.with_array(from_axis_first(stack, grid.axis))


def _draw(axis, plane: Volume, dimension: int, window: DisplayWindow) -> None:
    """A plane, upright in the radiological view: patient's right on the left, front or head up."""
    upright = plane.reorient("LPI")
    image = upright.array.take(0, dimension)
    height_mm, width_mm = image.shape * np.delete(upright.spacing_ijk_mm[::-1], dimension)
    shown = {"cmap": "gray", "vmin": window.low, "vmax": window.high, "interpolation": "nearest"}
    axis.imshow(image, extent=(0, width_mm, height_mm, 0), **shown)
    axis.plot([5, 5 + _SCALE_BAR_MM], [height_mm - 5] * 2, color="white", lw=2)
    # Ticks that are not shown would still be laid out
    axis.set(xticks=[], yticks=[])
    axis.axis("off")
