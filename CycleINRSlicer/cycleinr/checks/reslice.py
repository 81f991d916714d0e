"""Re-acquiring slices from a fine stack with the scan's slice profile, one slice at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..grid import SliceGrid
from ..profile import SliceProfile, profile_matrix

_ROUNDING = 1e-6


def acquired_profile(grid: SliceGrid, tau: float) -> SliceProfile:
    """Where the acquired slices lie on a result's grid, in result slices; some windows may reach beyond it.

    :param tau: slice thickness / slice spacing of the acquired slices.
    """
    centres = (np.arange(grid.n_in) * grid.spacing_in_mm - grid.first_mm) / grid.spacing_out_mm
    whole = np.round(centres)
    centres = np.where(np.abs(centres - whole) <= _ROUNDING, whole, centres)
    return SliceProfile(grid.n_out, centres, grid.ratio, tau)


def whole_windows(profile: SliceProfile) -> np.ndarray:
    """Indices of the slices whose averaging window lies inside the fine stack, rising."""
    low = profile.centres - profile.width / 2
    high = profile.centres + profile.width / 2
    inside = (low >= -0.5 - _ROUNDING) & (high <= profile.n_fine - 0.5 + _ROUNDING)
    return np.flatnonzero(inside)


def resliced(fine: np.ndarray, profile: SliceProfile, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """Re-acquire some slices: rows ``wanted`` of A x, as `cycleinr.profile.acquire` computes all of them.

    Only the few fine slices under one window are held as floating point at a time.

    :param fine: (n_fine, rows, columns), any real type.
    :param wanted: indices into the profile's slices.
    :yields: (rows, columns) float32, in the order of ``wanted``.
    """
    matrix = profile_matrix(replace(profile, centres=profile.centres[wanted])).astype(np.float32)
    for weights in matrix:
        under = np.flatnonzero(weights)
        slice_ = np.zeros(fine.shape[1:], np.float32)
        for n in under:
            slice_ += weights[n] * np.asarray(fine[n], dtype=np.float32)
        yield slice_
