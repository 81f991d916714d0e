"""What needs no ground truth: agreement with the acquired slices, and how noise jumps from slice to slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..grid import SliceGrid, to_axis_first
from ..intensity import robust_maximum
from ..monitor import Monitor
from ..noise import slice_sigmas
from ..resampling import SliceProfile, profile_matrix
from ..volume import Volume

_ROUNDING = 1e-6


def whole_windows(profile: SliceProfile) -> np.ndarray:
    """Indices of the slices whose averaging window lies inside the fine stack, rising."""
    low = profile.centres - profile.width / 2
    high = profile.centres + profile.width / 2
    inside = (low >= -0.5 - _ROUNDING) & (high <= profile.n_fine - 0.5 + _ROUNDING)
    return np.flatnonzero(inside)


def resliced(fine: np.ndarray, profile: SliceProfile, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """Re-acquire some slices: rows ``wanted`` of A x, as ``cycleinr.resampling.acquire`` computes all of them.

    Only the few fine slices under one window are held as floating point at a time.

    Args:
        fine: (n_fine, rows, columns), any real type.
        wanted: Indices into the profile's slices.

    Yields:
        (rows, columns) float32, in the order of ``wanted``.
    """
    matrix = profile_matrix(profile.of(wanted)).astype(np.float32)
    for weights in matrix:
        under = np.flatnonzero(weights)
        slice_ = np.zeros(fine.shape[1:], np.float32)
        for n in under:
            slice_ += weights[n] * np.asarray(fine[n], dtype=np.float32)
        yield slice_


CT_LIMIT_HU = 1.0
MR_LIMIT_SHARE = 0.001
_PERCENTILES = 99.9, 50, 99


@dataclass(frozen=True, eq=False)
class Residual:
    """Absolute difference between the re-sliced result and the acquired slices, over all their voxels.

    Attributes:
        slices: Indices of the compared acquired slices; the others reach beyond the result's ends.
        largest, percentile_99_9, median, percentile_99: In the scan's units; None where no acquired slice lies inside
            the result.
        limit: 1 HU for CT; for MR 0.1 % of the range from the minimum to the 99.9th percentile.
        share_within_limit: 0 to 1.
    """

    slices: np.ndarray
    largest: float | None
    percentile_99_9: float | None
    limit: float
    share_within_limit: float | None
    median: float | None = None
    percentile_99: float | None = None


def residual(
    volume: Volume,
    result: Volume,
    grid: SliceGrid,
    tau: float | np.ndarray,
    modality: str,
    monitor: Monitor,
) -> Residual:
    """Compare all acquired slices whose averaging window lies inside the result; holds one float copy of the scan.

    Pixels that the scan's mask calls padding are left out.

    Raises:
        Cancelled: ``monitor`` said so.
    """
    profile = grid.profile(tau)
    wanted = whole_windows(profile)
    limit = CT_LIMIT_HU if modality == "CT" else MR_LIMIT_SHARE * robust_maximum(volume.array)
    if not len(wanted):
        return Residual(wanted, None, None, limit, None)
    acquired = to_axis_first(volume.array, grid.axis)
    errors = np.empty((len(wanted), *acquired.shape[1:]), np.float32)
    for n, slice_ in enumerate(resliced(to_axis_first(result.array, grid.axis), profile, wanted)):
        monitor.check()
        np.abs(slice_ - acquired[wanted[n]], out=errors[n])
    if volume.valid is not None:
        errors = errors[to_axis_first(volume.valid, grid.axis)[wanted]]
        if not errors.size:
            return Residual(wanted[:0], None, None, limit, None)
    within = np.count_nonzero(errors <= limit) / errors.size
    largest = float(errors.max())
    high, median, percentile_99 = map(float, np.percentile(errors.reshape(-1), _PERCENTILES, overwrite_input=True))
    return Residual(wanted, largest, high, limit, within, median, percentile_99)


@dataclass(frozen=True, eq=False)
class Noise:
    """Immerkaer's sigma of every slice across the through-plane axis, in the scan's units.

    Attributes:
        before: Of the acquired slices, (n_in,).
        after: Of the result's slices, (n_out,).
    """

    before: np.ndarray
    after: np.ndarray

    @property
    def snli_before(self) -> float:
        """Slice-wise noise level inconsistency of the scan: standard deviation of its slices' sigma."""
        return float(np.std(self.before))

    @property
    def snli_after(self) -> float:
        """The same of the result."""
        return float(np.std(self.after))


def noise(volume: Volume, result: Volume, axis: str) -> Noise:
    """Measure both volumes along ``axis``; see ``cycleinr.noise.slice_sigmas`` for what is measured."""
    levels = [
        slice_sigmas(
            to_axis_first(each.array, axis), None if each.valid is None else to_axis_first(each.valid, axis)
        )
        for each in (volume, result)
    ]
    return Noise(*levels)
