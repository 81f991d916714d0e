"""Agreement with the acquired slices, measured: re-slice the result and compare with what was acquired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import Cancelled
from ..grid import SliceGrid, to_axis_first
from ..intensity import robust_maximum
from ..volume import Volume
from .reslice import acquired_profile, resliced, whole_windows

CT_LIMIT_HU = 1.0
MR_LIMIT_SHARE = 0.001
_PERCENTILES = 99.9, 50, 99


@dataclass(frozen=True, eq=False)
class Residual:
    """Absolute difference between the re-sliced result and the acquired slices, over all their voxels.

    :param slices: indices of the compared acquired slices; the others reach beyond the result's ends.
    :param largest, percentile_99_9, median, percentile_99: in the scan's units; None where no acquired slice lies
        inside the result.
    :param limit: 1 HU for CT; for MR 0.1 % of the range from the minimum to the 99.9th percentile.
    :param share_within_limit: 0 to 1.
    """

    slices: np.ndarray
    largest: float | None
    percentile_99_9: float | None
    limit: float
    share_within_limit: float | None
    median: float | None = None
    percentile_99: float | None = None


def residual(
    volume: Volume, result: Volume, grid: SliceGrid, tau: float, modality: str, cancelled: Callable[[], bool]
) -> Residual:
    """Compare all acquired slices whose averaging window lies inside the result; holds one float copy of the scan.

    :raises Cancelled: ``cancelled`` said so.
    """
    profile = acquired_profile(grid, tau)
    wanted = whole_windows(profile)
    limit = CT_LIMIT_HU if modality == "CT" else MR_LIMIT_SHARE * robust_maximum(volume.array)
    if not len(wanted):
        return Residual(wanted, None, None, limit, None)
    acquired = to_axis_first(volume.array, grid.axis)
    errors = np.empty((len(wanted), *acquired.shape[1:]), np.float32)
    for n, slice_ in enumerate(resliced(to_axis_first(result.array, grid.axis), profile, wanted)):
        if cancelled():
            raise Cancelled("Cancelled; nothing was written.")
        np.abs(slice_ - acquired[wanted[n]], out=errors[n])
    within = np.count_nonzero(errors <= limit) / errors.size
    largest = float(errors.max())
    high, median, percentile_99 = map(float, np.percentile(errors.reshape(-1), _PERCENTILES, overwrite_input=True))
    return Residual(wanted, largest, high, limit, within, median, percentile_99)
