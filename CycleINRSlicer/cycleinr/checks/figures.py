"""The report's pictures as PNG files in memory."""

from __future__ import annotations

import numpy as np

from ..grid import pixel_mm_of, to_axis_first
from ..pictures import new_figure, png
from .run import Check
from .trust import FULL_SHARE, MARKED_SHARE, SHOWN_SHARE

_CURVE_INCHES = (8.0, 3.0)


def curve_png(found: dict) -> bytes:
    """The self-check's error of each acquired slice, from `numbers`."""
    figure, axis = new_figure(_CURVE_INCHES)
    curve, unit = found["self_check"], found["unit"]
    places = [n + 1 for n in curve["slices"]]
    axis.plot(places, curve["rms"], "o-", ms=3, lw=1, label="root mean square")
    axis.plot(places, curve["mean_absolute"], "o-", ms=3, lw=1, label="mean absolute")
    axis.set(xlabel="acquired slice", ylabel=f"error, {unit}", ylim=(0, None))
    axis.set_xlim(1, found["acquired"]["slices"])
    axis.legend(fontsize=8)
    return png(figure)


def noise_png(found: dict) -> bytes:
    """Noise of each slice before and after, against its place, from `numbers`."""
    figure, axis = new_figure(_CURVE_INCHES)
    before, after = found["noise"]["sigma_before"], found["noise"]["sigma_after"]
    acquired, result = found["acquired"], found["result"]
    places_mm = result["first_mm"] + np.arange(len(after)) * result["spacing_mm"]
    axis.plot(places_mm, after, ".-", ms=3, lw=1, label="result")
    axis.plot(acquired["positions_mm"], before, "o", ms=4, mfc="none", label="acquired")
    axis.set(xlabel="mm from the first acquired slice", ylabel=f"noise sigma, {found['unit']}", ylim=(0, None))
    axis.legend(fontsize=8)
    return png(figure)


def trust_png(check: Check) -> bytes:
    """The least certain acquired slice, and the expected error over it, in the slice's own rows and columns."""
    found, ends, axis_letter, window = check.self_check, check.trust.slices, check.work.grid.axis, check.window
    shown = int(found.rms.argmax() if ends is None else np.abs(found.slices - sum(ends) / 2).argmin())
    acquired = to_axis_first(check.scan.array, axis_letter)[found.slices[shown]]
    percent = 100 / window.width * to_axis_first(check.expected_error.array, axis_letter)[shown]
    rows_mm, columns_mm = pixel_mm_of(check.scan, axis_letter)
    figure, axes = new_figure((8.0, 4.2), 1, 2)
    grey = {"cmap": "gray", "vmin": window.low, "vmax": window.high, "aspect": rows_mm / columns_mm}
    for axis in axes:
        axis.imshow(acquired, **grey)
        axis.set(xticks=[], yticks=[])
        axis.axis("off")
    axes[0].set_title(f"Acquired slice {found.slices[shown] + 1}, {window.name} window", fontsize=9)
    coloured = np.ma.masked_less(percent, 100 * SHOWN_SHARE)
    colours = axes[1].imshow(coloured, cmap="hot", vmin=0, vmax=100 * FULL_SHARE, alpha=0.7, aspect=grey["aspect"])
    axes[1].contour(percent, [100 * MARKED_SHARE], colors="cyan", linewidths=0.6)
    axes[1].set_title("Expected error; outlined: a quarter of the window or more", fontsize=9)
    bar = figure.colorbar(colours, ax=axes[1], shrink=0.8, extend="max")
    bar.set_label(f"% of the window's {window.width:.4g} {check.unit}", fontsize=8)
    return png(figure)
