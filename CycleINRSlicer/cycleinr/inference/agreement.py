"""How well a result, re-sliced with the scan's slice thickness, agrees with the acquired slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..profile import profile_matrix
from .consistency import CoveringGrid

_SAMPLES = 2_000_000
_NEGLIGIBLE = 1e-6


@dataclass(frozen=True, eq=False)
class Agreement:
    """Absolute difference to the acquired slices, over an even sample of at most 2 million of their pixels.

    The first and the last slice count too, with the part of their thickness that the result covers.

    Attributes:
        median, percentile_99: In the scan's units.
        limit, share_within: 1 HU, or for MR what is as much to the network, and the share of pixels within, 0 to 1.
        rms: (n,) root mean square of each slice that the result covers at all, and ``slices`` which these are.
    """

    median: float
    percentile_99: float
    limit: float
    share_within: float
    rms: np.ndarray
    slices: np.ndarray

    def text(self, unit: str) -> str:
        """In words; slices are counted from 1."""
        worst = int(self.rms.argmax())
        return (
            f"Re-sliced, the result differs from the acquired slices by {self.median:.2g} {unit} (median) and "
            f"{self.percentile_99:.3g} {unit} (99th percentile); {100 * self.share_within:.0f} % are within "
            f"{self.limit:.2g} {unit}. Largest in slice {self.slices[worst] + 1}: {self.rms[worst]:.3g} {unit} RMS."
        )


def agreement(
    result: np.ndarray, acquired: np.ndarray, covering: CoveringGrid, hu: float, valid: np.ndarray | None = None
) -> Agreement:
    """Measure a result.

    Args:
        result: (n_out, rows, columns), in the scan's units.
        acquired: (n_in, rows, columns).
        covering: Where the acquired slices lie on the result's grid.
        hu: One Hounsfield unit in the scan's units; for MR what corresponds to it.
        valid: Which pixels of the acquired slices are no padding; None for all.
    """
    shares = profile_matrix(covering.profile)[:, covering.before : covering.before + len(result)]
    covered = shares.sum(axis=1)
    slices = np.flatnonzero(covered > _NEGLIGIBLE)
    step = max(1, round((acquired.size / _SAMPLES) ** 0.5))
    errors = np.empty((len(slices), *acquired[0, ::step, ::step].shape), np.float32)
    for error, n in zip(errors, slices, strict=True):
        under = np.flatnonzero(shares[n])
        weights = (shares[n, under] / covered[n]).astype(np.float32)
        again = np.tensordot(weights, result[under, ::step, ::step].astype(np.float32), 1)
        np.abs(again - acquired[n, ::step, ::step], out=error)
    counted = np.ones(errors.shape, bool) if valid is None else valid[slices, ::step, ::step]
    counts = np.maximum(counted.sum(axis=(1, 2)), 1)
    rms = np.sqrt(np.square(errors, dtype=np.float64).sum(axis=(1, 2), where=counted) / counts)
    errors = errors if valid is None or not counted.any() else errors[counted]
    median, high = np.percentile(errors, (50, 99))
    return Agreement(float(median), float(high), hu, float((errors <= hu).mean()), rms, slices)
