"""Draws where a model is worst, for research/docs/failures.md: coronal windows of fine scans, with the truth beside.

    python research/scripts/draw_failures.py failures.png CT:val/ct/SCAN.nii.gz:subsampled:5 MR:...

For each case two windows are found by search over the whole volume, not chosen by eye: where the model's error exceeds
the B-spline's by most ("invents"), and where its error is largest altogether ("loses").
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from cycleinr.files import read_volume
from cycleinr_research.evaluation.figures import save_figure, window_of
from cycleinr_research.evaluation.methods import bspline
from cycleinr_research.evaluation.network_method import network_method
from cycleinr_research.evaluation.protocol import Case, make_case
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter

WINDOW_MM = 40.0


def main() -> None:
    target, *cases = sys.argv[1:]
    rows = [row for text in cases for row in worst_windows(*case_of(text))]
    figure = Figure(figsize=(7.5, 2.2 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for line, (title, images, aspect, window) in zip(axes, rows, strict=True):
        for axis, image, name in zip(line, images, ("truth", "B-spline", "CycleINR"), strict=True):
            axis.imshow(image, cmap="gray", vmin=window[0], vmax=window[1], aspect=aspect, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(name, fontsize=8)
        line[0].set_ylabel(title, fontsize=8)
    save_figure(figure, Path(target))


def case_of(text: str) -> tuple[Case, str]:
    modality, path, condition, ratio = text.split(":")
    volume = read_volume(Path(path))
    case = make_case(replace(volume, modality=modality), condition, float(ratio))
    kept = {"subsampled": "thin slices", "slabs": "slabs"}[condition]
    return case, f"{modality}, {kept} x{ratio}"


def worst_windows(case: Case, title: str):
    method = network_method("cycleinr", "CycleINR", device="cpu")
    unit = case.range.to_unit
    truth = unit(case.truth[case.compared])
    plain, ours = (unit(run(case.lowres, case.grid)[case.compared]) for run in (bspline, method.run))
    size = [max(1, round(WINDOW_MM / mm)) for mm in case.spacing_kji_mm]
    size = (min(size[0], len(truth)), 1, min(size[2], truth.shape[2]))
    errors = [uniform_filter(np.square(stack - truth), size, mode="constant") for stack in (plain, ours)]
    for name, score in (("invents", errors[1] - errors[0]), ("loses", errors[1])):
        k, j, i = np.unravel_index(np.argmax(score), score.shape)
        part = window_part(k, size[0], len(truth)), j, window_part(i, size[2], truth.shape[2])
        images = [stack[part][::-1] for stack in (truth, plain, ours)]
        aspect = case.spacing_kji_mm[0] / case.spacing_kji_mm[2]
        yield f"{title}\n{name}", images, aspect, window_of(case.modality)


def window_part(centre: int, size: int, limit: int) -> slice:
    start = int(np.clip(centre - size // 2, 0, limit - size))
    return slice(start, start + size)


if __name__ == "__main__":
    main()
