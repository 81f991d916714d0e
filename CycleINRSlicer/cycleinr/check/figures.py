"""The report's pictures as PNG files in memory. Nothing here needs a display."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..grid import AXIS_OF_ARRAY, COLUMN_OF_AXIS, to_axis_first
from ..inference.plan import Plan
from ..pictures import display_window, three_planes
from ..volume import Volume
from .run import Check

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110
_CURVE_INCHES = (8.0, 3.0)
_SHOWN_PERCENTILE = 99.5


def planes_png(volume: Volume, result: Volume, work: Plan) -> bytes:
    """Nearest slice, linear and CycleINR in the three planes; see `cycleinr.pictures`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planes.png"
        three_planes(volume, result, work.grid, display_window(volume, work.modality), path)
        return path.read_bytes()


def curve_png(found: dict) -> bytes:
    """The self-check's error of each acquired slice, from `numbers`."""
    figure, axis = _figure()
    curve, unit = found["self_check"], found["unit"]
    axis.plot(curve["slices"], curve["rms"], "o-", ms=3, lw=1, label="root mean square")
    axis.plot(curve["slices"], curve["mean_absolute"], "o-", ms=3, lw=1, label="mean absolute")
    axis.set(xlabel="acquired slice", ylabel=f"error, {unit}", ylim=(0, None))
    axis.set_xlim(0, found["acquired"]["slices"] - 1)
    axis.legend(fontsize=8)
    return _png(figure)


def noise_png(found: dict) -> bytes:
    """Noise of each slice before and after, against its place, from `numbers`."""
    figure, axis = _figure()
    before, after = found["noise"]["sigma_before"], found["noise"]["sigma_after"]
    acquired, result = found["acquired"], found["result"]
    places_mm = result["first_mm"] + np.arange(len(after)) * result["spacing_mm"]
    axis.plot(places_mm, after, ".-", ms=3, lw=1, label="result")
    axis.plot(np.arange(len(before)) * acquired["spacing_mm"], before, "o", ms=4, mfc="none", label="acquired")
    axis.set(xlabel="mm from the first acquired slice", ylabel=f"noise sigma, {found['unit']}", ylim=(0, None))
    axis.legend(fontsize=8)
    return _png(figure)


def worst_slice_png(volume: Volume, check: Check) -> bytes:
    """The acquired slice with the largest error, and the error in it, in the slice's own rows and columns."""
    found, axis_letter = check.self_check, check.work.grid.axis
    worst = int(found.rms.argmax())
    acquired = to_axis_first(volume.array, axis_letter)[found.slices[worst]]
    error = to_axis_first(found.error_map.array, axis_letter)[worst]
    window, level = display_window(volume, check.work.modality)
    top = float(np.percentile(error, _SHOWN_PERCENTILE)) or float(error.max()) or 1.0
    figure, axes = _figure((8.0, 4.2), 2)
    aspect = _aspect(volume, axis_letter)
    axes[0].imshow(acquired, cmap="gray", vmin=level - window / 2, vmax=level + window / 2, aspect=aspect)
    axes[0].set_title(f"Acquired slice {found.slices[worst]}", fontsize=9)
    shown = axes[1].imshow(error, cmap="hot", vmin=0, vmax=top, aspect=aspect)
    axes[1].set_title(f"Self-check error, {check.unit}", fontsize=9)
    figure.colorbar(shown, ax=axes[1], shrink=0.8)
    for axis in axes:
        axis.axis("off")
    return _png(figure)


def _aspect(volume: Volume, axis: str) -> float:
    """Height / width of a pixel in a slice across ``axis``."""
    letters = sorted((letter for letter in AXIS_OF_ARRAY if letter != axis), key=AXIS_OF_ARRAY.get)
    rows_mm, columns_mm = (volume.spacing_ijk_mm[COLUMN_OF_AXIS[letter]] for letter in letters)
    return rows_mm / columns_mm


def _figure(inches: tuple[float, float] = _CURVE_INCHES, panels: int = 1):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Else matplotlib's web address goes into the file
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
