"""From a fine volume to a case: the low-resolution input, the slices to predict, and which of them are compared.

Two conditions, since both occur in clinics and methods behave differently on them:

- "subsampled": thin slices with gaps (tau = 0); every s-th fine slice is kept. A ratio that is no whole number puts
  acquired slices between fine ones, where they are interpolated linearly.
- "slabs": contiguous slabs (tau = 1); acquired slices are means over the fine slices that they cover. At a ratio that
  is no whole number, slabs end inside fine slices; each is then shifted by up to 1 / (8 ratio) of a fine slice.

The through-plane axis is k. The fine volume is cut at its far end, so its origin stays where it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from cycleinr import GeometryError, RequestError
from cycleinr.geometry import subgrid_affine
from cycleinr.grid import SliceGrid, Target, output_ijk_to_ras, plan_grid
from cycleinr.request import parse_number
from cycleinr.resampling import SliceProfile, acquire
from cycleinr.volume import Volume

from .metrics import MetricRange, metric_range

CONDITIONS = ("subsampled", "slabs")
PAIR = "pair"

TAU_OF_CONDITION = {"subsampled": 0.0, "slabs": 1.0}
_EXTENT_OF_CONDITION = {"subsampled": "centres", "slabs": "edges"}
_MIN_ACQUIRED = 4
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Case:
    """One volume under one condition at one ratio.

    Attributes:
        name: The volume's name.
        modality: "CT" or "MR".
        condition: "subsampled", "slabs" or "pair".
        ratio: Slice spacing of the input / of the result.
        lowres: The input of every method.
        grid: The slices that every method has to return, along axis k.
        truth: (n_out, J, I), the true slices on that grid.
        compared: Which of them count; one low-resolution interval is dropped at each end.
        generated: (n_out,) whether the input does not hold this very slice.
        profile: How the input's slices average the result's, for those input slices that the result covers.
        acquired: The input slices that ``profile`` describes.
        range: The intensities that metrics see.
    """

    name: str
    modality: str
    condition: str
    ratio: float
    lowres: Volume
    grid: SliceGrid
    truth: np.ndarray
    compared: slice
    generated: np.ndarray
    profile: SliceProfile
    acquired: slice
    range: MetricRange

    @property
    def spacing_kji_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring samples of the truth along k, j and i."""
        i, j, _ = self.lowres.spacing_ijk_mm
        return self.grid.spacing_out_mm, j, i

    @property
    def compared_mm(self) -> float:
        """Distance between the first and the last slice that is compared."""
        return (self.compared.stop - 1 - self.compared.start) * self.grid.spacing_out_mm

    def compared_volume(self, stack: np.ndarray) -> Volume:
        """The compared slices of a prediction or of the truth, in their place; for segmenters and for saving.

        Args:
            stack: (n_out, J, I).
        """
        affine = subgrid_affine(output_ijk_to_ras(self.lowres, self.grid), (0, 0, self.compared.start))
        return replace(self.lowres, array=stack[self.compared], ijk_to_ras=affine)


def make_case(fine: Volume, condition: str, ratio: float) -> Case:
    """Make the low-resolution input and everything that a result is compared with.

    Args:
        fine: The true volume, modality known; its k is the through-plane axis.
        condition: "subsampled" or "slabs".
        ratio: 1 < ratio; whole or not.

    Raises:
        RequestError: Unknown condition, or a ratio of 1 or less.
        GeometryError: Fewer than 4 low-resolution slices would be left.
    """
    _check_request(fine, condition, ratio)
    tau = TAU_OF_CONDITION[condition]
    first = tau * (ratio - 1) / 2
    n_fine = fine.shape_kji[0]
    n_acquired = math.floor((n_fine - 1 - 2 * first) / ratio + _ROUNDING) + 1
    if n_acquired < _MIN_ACQUIRED:
        raise GeometryError(
            f"{fine.name or 'The volume'} has {n_fine} slices, so only {max(n_acquired, 0)} are left at x{ratio:g}; "
            f"{_MIN_ACQUIRED} are needed. Use a smaller ratio or a volume with more slices."
        )
    centres = first + ratio * np.arange(n_acquired)
    lowres = _lowres(fine, SliceProfile(n_fine, centres, ratio, tau))
    grid = plan_grid(lowres, Target(ratio=ratio), "k", _EXTENT_OF_CONDITION[condition])
    profile, acquired = covered_profile(grid.n_out, centres, ratio, tau)
    slices = np.arange(grid.n_out)
    copied = np.min(np.abs(slices[:, None] - centres), axis=1) < _ROUNDING
    return Case(
        fine.name, fine.modality, condition, float(ratio), lowres, grid, fine.array[: grid.n_out],
        compared_slices(slices, centres), np.ones(grid.n_out, bool) if tau else ~copied, profile, acquired,
        metric_range(fine.array, fine.modality),
    )  # fmt: skip


def covered_profile(n_out: int, centres: np.ndarray, spacing: float, tau: float) -> tuple[SliceProfile, slice]:
    """Profile of those acquired slices whose whole window lies within the result's slices 0 ... n_out - 1.

    Args:
        centres: All acquired slices' centres, in units of result slices, rising.

    Returns:
        The profile, and the range of acquired slices that it is about.
    """
    half = max(tau * spacing, 1.0) / 2
    inside = np.flatnonzero((centres - half >= -0.5 - _ROUNDING) & (centres + half <= n_out - 0.5 + _ROUNDING))
    acquired = slice(int(inside[0]), int(inside[-1]) + 1)
    return SliceProfile(n_out, centres[acquired], spacing, tau), acquired


def compared_slices(slices: np.ndarray, centres: np.ndarray) -> slice:
    """Slices from the second to the last but one acquired centre; both in the same unit, rising."""
    inside = np.flatnonzero((slices >= centres[1] - _ROUNDING) & (slices <= centres[-2] + _ROUNDING))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def ratio_text(ratio: float) -> str:
    """A ratio as people write it: 3, 3.5, 5/3."""
    if math.isclose(ratio, round(ratio, 3), abs_tol=_ROUNDING):
        return f"{ratio:g}"
    return str(Fraction(ratio).limit_denominator(60))


def parse_ratio(text: str) -> float:
    """A ratio from text such as "3", "3.5" or "5/3".

    Raises:
        RequestError: The text is no positive number or fraction.
    """
    ratio = parse_number(text, "ratio")
    if not 0 < ratio < math.inf:
        raise RequestError(f"The ratio {text!r} is not positive. Give one such as 3, 3.5 or 5/3.")
    return ratio


def _lowres(fine: Volume, profile: SliceProfile) -> Volume:
    affine = subgrid_affine(fine.ijk_to_ras, (0, 0, profile.centres[0]), (1, 1, profile.spacing))
    thickness_mm = profile.tau * profile.spacing * fine.spacing_ijk_mm[2]
    volume = fine.with_array(acquire(fine.array, profile), affine)
    return replace(volume, slice_thickness_mm=thickness_mm)


def _check_request(fine: Volume, condition: str, ratio: float) -> None:
    if condition not in CONDITIONS:
        raise RequestError(f"The condition is {condition!r}; give one of {', '.join(CONDITIONS)}.")
    if not (math.isfinite(ratio) and ratio > 1):
        raise RequestError(f"The ratio is {ratio}; give one above 1, such as 2, 3.5 or 5/3.")
    if fine.modality is None:
        raise RequestError(f"The modality of {fine.name or 'the volume'} is unknown. Set it to 'CT' or 'MR' first.")
