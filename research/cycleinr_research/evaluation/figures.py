"""Figures of an output folder, and a strip of one volume at many ratios. Nothing here needs a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from cycleinr.files.atomic import publish, staging_folder
from cycleinr.grid import Target, plan_grid
from cycleinr.volume import Volume
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .methods import Method
from .metrics import metric_range
from .protocol import parse_ratio
from .summary import Group
from .views import TRUTH, load_views, views_path

STRIP_RATIOS = (1.5, 2, 2.5, 3, 3.5, 4, 5, 6)
WINDOW_HU = (-1024.0, 476.0)
"""Grey window of CT figures: lung, soft tissue and bone can all be told apart."""

_DPI = 150
_COLUMN_INCHES = 2.8


def draw_against_ratio(found: Sequence[Group], metric: str, axis_label: str, labels: Mapping[str, str]) -> Figure:
    """Mean of a metric against the ratio, one panel per modality and condition, bars one standard deviation.

    Args:
        found: Groups of ``summary.groups``.
    """
    panels = list(dict.fromkeys(group.key[:2] for group in found))
    figure, axes = _panels(1, len(panels), (4.2, 3.4))
    for axis, panel in zip(axes[0], panels, strict=True):
        members = sorted((g for g in found if g.key[:2] == panel), key=lambda g: parse_ratio(g.key[2]))
        for method in dict.fromkeys(name for group in members for name in group.methods):
            points = [(parse_ratio(g.key[2]), g.statistic(method, metric)) for g in members if method in g.methods]
            x, y, bars = zip(*((x, s.mean, np.nan_to_num(s.sd)) for x, s in points), strict=True)
            axis.errorbar(x, y, bars, marker="o", markersize=3, capsize=2, label=labels.get(method, method))
        axis.set(title=", ".join(panel), xlabel="ratio", ylabel=axis_label)
        axis.grid(alpha=0.3)
    axes[0, -1].legend(fontsize=7)
    return figure


def draw_noise_curve(
    out_dir: str | Path, case: tuple[str, str, str], methods: Sequence[str], labels: Mapping[str, str], unit: str
) -> Figure:
    """Noise sigma slice by slice, with the truth's; teeth between acquired slices are what a reader sees as flicker.

    Args:
        case: Volume, condition and ratio of rows in the folder.
        unit: Of the noise, for the axis: "HU", or "1/1000 of the range" for MR.
    """
    figure, axes = _panels(1, 1, (8, 3.2))
    axis = axes[0, 0]
    for method in methods:
        axis.plot(load_views(views_path(out_dir, case, method)).sigmas, lw=1, label=labels.get(method, method))
    axis.plot(load_views(views_path(out_dir, case, TRUTH)).sigmas, "k", lw=1.6, label="truth")
    axis.set(title=_case_title(case), xlabel="compared slice", ylabel=f"noise sigma ({unit})")
    axis.legend(fontsize=7, ncols=3)
    axis.grid(alpha=0.3)
    return figure


def draw_comparison(
    out_dir: str | Path,
    case: tuple[str, str, str],
    methods: Sequence[str],
    labels: Mapping[str, str],
    window: tuple[float, float],
) -> Figure:
    """Middle coronal (above) and sagittal (below) plane of every method and of the truth.

    Args:
        window: Grey values from black to white, on the metrics' range: ``window_of`` gives one.
    """
    names = [*methods, TRUTH]
    planes = [load_views(views_path(out_dir, case, name)) for name in names]
    k_mm, j_mm, i_mm = planes[0].spacing_kji_mm
    aspects = (k_mm / i_mm, k_mm / j_mm)
    heights = [
        _COLUMN_INCHES * aspect * plane.shape[0] / plane.shape[1]
        for plane, aspect in zip((planes[0].coronal, planes[0].sagittal), aspects, strict=True)
    ]
    figure = Figure(figsize=(_COLUMN_INCHES * len(names), sum(heights) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(names), squeeze=False, height_ratios=heights)
    for column, (name, views) in enumerate(zip(names, planes, strict=True)):
        for row, (plane, aspect) in enumerate(zip((views.coronal, views.sagittal), aspects, strict=True)):
            _show(axes[row, column], plane, window, aspect)
        axes[0, column].set_title("truth" if name == TRUTH else labels.get(name, name), fontsize=8, y=1)
    figure.suptitle(_case_title(case), fontsize=9)
    return figure


def draw_ratio_strip(volume_lr: Volume, method: Method, ratios: Sequence[float] = STRIP_RATIOS) -> Figure:
    """One input at many output ratios: the middle plane (K, I), the input itself first.

    Args:
        volume_lr: Modality known; k is the through-plane axis.
        ratios: Input spacing / output spacing; any numbers of 1 or more.
    """
    spacing_i_mm, _, spacing_k_mm = volume_lr.spacing_ijk_mm
    middle = volume_lr.shape_kji[1] // 2
    window = window_of(volume_lr.modality)
    to_unit = metric_range(volume_lr.array, volume_lr.modality).to_unit
    figure, axes = _panels(1, len(ratios) + 1, (2.2, 2.4))
    _show(axes[0, 0], to_unit(volume_lr.array[:, middle]), window, spacing_k_mm / spacing_i_mm)
    axes[0, 0].set_title(f"input, {spacing_k_mm:.2f} mm", fontsize=8, y=1)
    for axis, ratio in zip(axes[0, 1:], ratios, strict=True):
        result = method.run(volume_lr, plan_grid(volume_lr, Target(ratio=ratio), "k"))
        _show(axis, to_unit(result[:, middle]), window, spacing_k_mm / ratio / spacing_i_mm)
        axis.set_title(f"x{ratio:g}, {spacing_k_mm / ratio:.2f} mm", fontsize=8, y=1)
    figure.suptitle(method.label, fontsize=9)
    return figure


def window_of(modality: str | None) -> tuple[float, float]:
    """Grey window on the metrics' range: -1024 to 476 HU for CT, the whole range for MR."""
    if modality != "CT":
        return 0.0, 1.0
    low, high = metric_range(np.array(WINDOW_HU), "CT").to_unit(np.array(WINDOW_HU))
    return float(low), float(high)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as .png, .pdf or .svg, complete or not at all.

    Raises:
        OutputError: The folder cannot be written to.
    """
    path = Path(path)
    with staging_folder(path) as folder:
        figure.savefig(folder / path.name, dpi=_DPI)
        publish(folder / path.name, path, overwrite=True)
    return path


def _panels(rows: int, columns: int, size_inches: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    # Without pyplot no window system is touched, and figures are freed when they are forgotten.
    figure = Figure(figsize=(size_inches[0] * columns, size_inches[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show(axis, plane: np.ndarray, window: tuple[float, float], aspect: float) -> None:
    axis.imshow(plane, cmap="gray", vmin=window[0], vmax=window[1], aspect=aspect, origin="lower", interpolation="none")
    # Ticks that are not shown would still be laid out
    axis.set(xticks=[], yticks=[])
    axis.set_axis_off()


def _case_title(case: tuple[str, str, str]) -> str:
    volume, condition, ratio = case
    return f"{volume}, {condition}, x{ratio}"
