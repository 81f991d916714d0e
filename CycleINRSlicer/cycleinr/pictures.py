"""Pictures of a result and of its check, as PNG files in memory. Needs no display."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks.trust import FULL_SHARE, MARKED_SHARE, SHOWN_SHARE
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
    figure, axes = _new_figure((13, 4.4 * len(rows)), len(rows), len(PLANES), facecolor="black")
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
    return _png(figure)


def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float], str]], **axes: Any) -> bytes:
    """Curves from 0 on, by what they are called: abscissae, ordinates, matplotlib's format; ``axes`` as its ``set``."""
    figure, axis = _new_figure((8.0, 3.0))
    for label, (x, y, style) in lines.items():
        axis.plot(x, y, style, ms=3, lw=1, label=label)
    axis.set(ylim=(0, None), **axes)
    axis.legend(fontsize=8)
    return _png(figure)


def map_over_slice(
    image: np.ndarray, errors: np.ndarray, pixel_mm: tuple[float, float], title: str, window: DisplayWindow, unit: str
) -> bytes:
    """A slice, (rows, columns), and beside it the error to expect in its pixels, as shares of the window's width."""
    figure, axes = _new_figure((8.0, 4.2), 1, 2)
    percent, aspect = 100 / window.width * errors, pixel_mm[0] / pixel_mm[1]
    for axis in axes:
        axis.imshow(image, cmap="gray", vmin=window.low, vmax=window.high, aspect=aspect)
        axis.set(xticks=[], yticks=[])
        axis.axis("off")
    axes[0].set_title(f"{title}, {window.name} window", fontsize=9)
    coloured = np.ma.masked_less(percent, 100 * SHOWN_SHARE)
    colours = axes[1].imshow(coloured, cmap="hot", vmin=0, vmax=100 * FULL_SHARE, alpha=0.7, aspect=aspect)
    if min(percent.shape) > 1:
        axes[1].contour(percent, [100 * MARKED_SHARE], colors="cyan", linewidths=0.6)
    axes[1].set_title("Expected error; outlined: a quarter of the window or more", fontsize=9)
    bar = figure.colorbar(colours, ax=axes[1], shrink=0.8, extend="max")
    bar.set_label(f"% of the window's {window.width:.4g} {unit}", fontsize=8)
    return _png(figure)


def _new_figure(inches: tuple[float, float], rows: int = 1, columns: int = 1, **look: Any) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained", **look)
    return figure, figure.subplots(rows, columns)


def _png(figure: Figure) -> bytes:
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
