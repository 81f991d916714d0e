"""How nearly a result, re-acquired with the scan's slice profile, gives the acquired slices back.

A slice is compared where its whole averaging window lies inside the result: half a slab is another slice than the slab.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .intensity import robust_maximum
from .monitor import Monitor
from .resampling import SliceProfile, profile_matrix
from .volume import Volume

_ROUNDING = 1e-6
_MR_RANGE = 1000.0


def unit_of(scan: Volume, modality: str) -> float:
    """What errors are counted in: 1 HU, or a thousandth of an MR scan's range up to its 99.9th percentile."""
    return 1.0 if modality == "CT" else robust_maximum(scan.array, scan.valid) / _MR_RANGE


def whole_windows(profile: SliceProfile) -> np.ndarray:
    """Indices of the slices whose averaging window lies inside the fine stack, rising."""
    return np.flatnonzero(_covered(profile) >= 1 - _ROUNDING)


def _covered(profile: SliceProfile) -> np.ndarray:
    """Share of each averaging window that lies inside the fine stack."""
    half = profile.width / 2
    low, high = (np.clip(profile.centres + reach, -0.5, profile.n_fine - 0.5) for reach in (-half, half))
    return (high - low) / profile.width


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
        slice_ = np.zeros(fine.shape[1:], np.float32)
        for n in np.flatnonzero(weights):
            slice_ += weights[n] * np.asarray(fine[n], dtype=np.float32)
        yield slice_


@dataclass(frozen=True, eq=False)
class Agreement:
    """Absolute difference between the re-sliced result and the acquired slices, in the scan's units.

    Attributes:
        slices: Indices of the compared acquired slices, counted from 0: of whole windows, or, where there is none (as
            in a small region), of those that are covered most.
        rms: Root mean square of each of these slices.
        median, percentile_99, percentile_99_9, largest: Over all compared pixels.
        limit: What counts as equal; see ``unit_of``.
        share_within_limit: Share of the pixels that differ by no more, 0 to 1.
    """

    slices: np.ndarray
    rms: np.ndarray
    median: float
    percentile_99: float
    percentile_99_9: float
    largest: float
    limit: float
    share_within_limit: float

    def text(self, unit: str, first: int = 0) -> str:
        """In words; slices are counted from 1, of a part of a scan that begins with slice ``first``."""
        worst = int(self.rms.argmax())
        return (
            f"Re-sliced, the result differs from the acquired slices by {self.median:.2g} {unit} (median) and "
            f"{self.percentile_99:.3g} {unit} (99th percentile); {100 * self.share_within_limit:.0f} % are within "
            f"{self.limit:.2g} {unit}. Largest in slice {first + self.slices[worst] + 1}, counted from 1: "
            f"{self.rms[worst]:.3g} {unit} RMS."
        )


def agreement(
    result: np.ndarray,
    acquired: np.ndarray,
    profile: SliceProfile,
    limit: float,
    valid: np.ndarray | None = None,
    most_pixels: int | None = None,
    monitor: Monitor | None = None,
) -> Agreement:
    """Measure a result; holds one float copy of the pixels that are compared.

    Args:
        result: (n_out, rows, columns), in the scan's units.
        acquired: (n_in, rows, columns).
        profile: Where the acquired slices lie among the result's.
        limit: What counts as equal.
        valid: Which pixels of the acquired slices are no padding; None for all.
        most_pixels: Compare an even sample of about as many; None for all.

    Raises:
        Cancelled: ``monitor`` said so.
    """
    step = 1 if most_pixels is None else max(1, round((acquired.size / most_pixels) ** 0.5))
    result, acquired = result[:, ::step, ::step], acquired[:, ::step, ::step]
    covered = _covered(profile)
    slices = np.flatnonzero(covered >= covered.max() - _ROUNDING)
    counted = None if valid is None else valid[slices, ::step, ::step]
    errors, rms = np.empty((len(slices), *acquired.shape[1:]), np.float32), np.zeros(len(slices))
    for n, slice_ in enumerate(resliced(result, profile, slices)):
        if monitor is not None:
            monitor.check()
        seen = np.abs(slice_ - acquired[slices[n]], out=errors[n])
        seen = seen if counted is None else seen[counted[n]]
        rms[n] = np.sqrt(np.square(seen, dtype=np.float64).sum() / max(1, seen.size))
    errors = errors.reshape(-1) if counted is None or not counted.any() else errors[counted]
    within, largest = np.count_nonzero(errors <= limit) / errors.size, float(errors.max())
    median, high, highest = map(float, np.percentile(errors, (50, 99, 99.9), overwrite_input=True))
    return Agreement(slices, rms, median, high, highest, largest, limit, within)
