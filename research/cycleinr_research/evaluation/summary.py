"""Rows to group statistics: mean and standard deviation over cases, gains over interpolation, paired tests."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .protocol import parse_ratio
from .table import Row

HIGHER_IS_BETTER = {
    "psnr_all_db": True,
    "psnr_generated_db": True,
    "ssim_axial": True,
    "ssim_coronal": True,
    "lpips_squeeze": False,
    "lpips_alex": False,
    "lpips_vgg": False,
    "sigma_deviation": False,
    "psnr_brain_db": True,
    "psnr_soft_db": True,
    "psnr_lung_db": True,
    "psnr_bone_db": True,
    "psnr_display_db": True,
    "false_dark_percent": False,
    "false_bright_percent": False,
}
"""Metrics that have a winner. SNLI has none: copying slices scores well on it, so it is read beside the truth's."""

REFERENCES = ("linear", "bspline")
MIN_CASES_FOR_TEST = 5
GroupKey = tuple[str, str, str]
"""Modality, condition, ratio as text."""


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation over n cases; the deviation is nan for n = 1, both for n = 0."""

    mean: float
    sd: float
    n: int

    def text(self, decimals: int, plus_minus: str, sign: bool = False) -> str:
        """Mean and deviation as tables print them."""
        if math.isnan(self.mean):
            return "not available"
        mean = f"{self.mean:{'+' if sign else ''}.{decimals}f}"
        return mean if math.isnan(self.sd) else f"{mean} {plus_minus} {self.sd:.{decimals}f}"


@dataclass(frozen=True)
class Claim:
    """The method with the best mean on one metric, tested against the next best on the same cases.

    Attributes:
        p: Two-sided Wilcoxon signed-rank p value; None where there are fewer than 5 paired cases.
    """

    metric: str
    best: str
    second: str
    n: int
    p: float | None


@dataclass(frozen=True)
class Group:
    """All rows of one modality, condition and ratio.

    Methods are compared on the same cases: a case counts only where every method of the group has a row.
    """

    key: GroupKey
    rows: tuple[Row, ...]

    @property
    def methods(self) -> list[str]:
        """Methods in the order in which they first occur."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @cached_property
    def volumes(self) -> list[str]:
        """Cases that count, in the order in which they first occur."""
        of_method = [{row.volume for row in self.rows if row.method == method} for method in self.methods]
        return [v for v in dict.fromkeys(row.volume for row in self.rows) if all(v in found for found in of_method)]

    @property
    def left_out(self) -> list[str]:
        """Cases that some method has no row of."""
        return [volume for volume in dict.fromkeys(row.volume for row in self.rows) if volume not in self.volumes]

    def statistic(self, method: str, metric: str) -> Statistic:
        """Over the cases in which the metric is available."""
        return statistic(self.values(method, metric).values())

    def gain(self, method: str, reference: str, metric: str = "psnr_generated_db") -> Statistic:
        """Method minus reference, case by case."""
        ours, theirs = self.values(method, metric), self.values(reference, metric)
        return statistic(ours[case] - theirs[case] for case in ours if case in theirs)

    def values(self, method: str, metric: str) -> dict[str, float]:
        """Values of one method by volume, where they are available."""
        values = {row.volume: getattr(row, metric) for row in self.rows if row.method == method}
        return {volume: values[volume] for volume in self.volumes if not math.isnan(values[volume])}

    def claims(self) -> list[Claim]:
        """One per metric that has a winner and at least two methods with values."""
        return [claim for metric in HIGHER_IS_BETTER if (claim := self._claim(metric))]

    def best(self, metric: str) -> str | None:
        """The method with the best mean; None where the metric has no winner."""
        if metric not in HIGHER_IS_BETTER:
            return None
        ranked = self._ranked(metric)
        return ranked[0] if ranked else None

    def _ranked(self, metric: str) -> list[str]:
        means = {method: self.statistic(method, metric).mean for method in self.methods}
        known = [method for method in means if not math.isnan(means[method])]
        return sorted(known, key=means.get, reverse=HIGHER_IS_BETTER[metric])

    def _claim(self, metric: str) -> Claim | None:
        ranked = self._ranked(metric)
        if len(ranked) < 2:
            return None
        best, second = (self.values(method, metric) for method in ranked[:2])
        pairs = [(best[volume], second[volume]) for volume in best if volume in second]
        return Claim(metric, ranked[0], ranked[1], len(pairs), _wilcoxon(pairs))


def groups(rows: Iterable[Row]) -> list[Group]:
    """Rows by modality, condition and ratio, sorted; ratios by size."""
    found: dict[GroupKey, list[Row]] = {}
    for row in rows:
        found.setdefault((row.modality, row.condition, row.ratio), []).append(row)
    ordered = sorted(found, key=lambda key: (key[0], key[1], parse_ratio(key[2])))
    return [Group(key, tuple(found[key])) for key in ordered]


def statistic(values: Iterable[float]) -> Statistic:
    """Mean and sample standard deviation."""
    array = np.array(list(values), dtype=np.float64)
    if array.size == 0:
        return Statistic(math.nan, math.nan, 0)
    with np.errstate(invalid="ignore"):
        # An infinite PSNR stays visible as the mean; a deviation from it is no number.
        sd = float(array.std(ddof=1)) if array.size > 1 else math.nan
        return Statistic(float(array.mean()), sd, int(array.size))


def _wilcoxon(pairs: list[tuple[float, float]]) -> float | None:
    if len(pairs) < MIN_CASES_FOR_TEST:
        return None
    from scipy.stats import wilcoxon

    differences = np.subtract(*np.array(pairs).T)
    return 1.0 if np.all(differences == 0) else float(wilcoxon(differences).pvalue)
