"""Thin CT slices: new slices get the noise level of the acquired ones beside them.

The network's slices are a few percent noisier or smoother than acquired ones, more so far from any acquired slice,
and a stack of them flickers. The acquired slices tell what the level should be. Thick slices do not: they are less
noisy than the thin ones inside them by an amount that depends on the scanner's kernel. For MR the same step costs 0.2
to 0.5 dB (docs/results.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..noise import matched, slice_sigmas
from ..profile import profile_matrix
from .consistency import CoveringGrid
from .plan import Plan


def match_noise(
    result: np.ndarray,
    acquired: np.ndarray,
    work: Plan,
    covering: CoveringGrid,
    check_cancel: Callable[[], None],
) -> None:
    """Scale the fine detail of the new slices in place; what data consistency ties to an acquired slice stays.

    Args:
        result: (n_out, rows, columns), in the scan's units.
        acquired: (n_in, rows, columns).
        work, covering: What was computed, and where the acquired slices lie in it.
        check_cancel: Called for every slice; may raise.
    """
    if work.modality != "CT" or work.tau > 0:
        return
    own = slice(covering.before, covering.before + work.grid.n_out)
    tied = (profile_matrix(covering.profile) > 0).any(axis=0)[own]
    wanted = np.interp(work.grid.positions(), np.arange(len(acquired)), slice_sigmas(acquired))
    low, high = acquired.min(), acquired.max()
    for index in np.flatnonzero(~tied):
        check_cancel()
        image = matched(result[index].astype(np.float32), wanted[index])
        np.clip(image, low, high, out=image)
        result[index] = image.round() if result.dtype.kind in "iu" else image
