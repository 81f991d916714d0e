"""Thin CT slices: new slices get the noise level of the acquired ones beside them.

The network's slices are a few percent noisier or smoother than acquired ones, more so far from any acquired slice,
and a stack of them flickers. The acquired slices tell what the level should be. Thick slices tell less: they are less
noisy than the thin ones inside them by an amount that depends on the scanner's kernel; ``slab_noise`` is for them. For
MR the same step costs 0.2 to 0.5 dB (research/docs/results.md).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..grid import SliceGrid
from ..intensity import ValueRange
from ..monitor import Monitor
from ..noise import matched, slice_sigmas
from ..padding import valid_in_result
from ..profile import SliceProfile, profile_matrix
from .arrays import Arrays
from .consistency import Consistency
from .plan import Plan
from .slab_noise import WholeLevels, even_out

_EPSILON = 1e-6
_COLUMN_BYTES = 32e6


def match_noise(
    result: np.ndarray,
    acquired: np.ndarray,
    work: Plan,
    values: ValueRange,
    monitor: Monitor,
    valid: np.ndarray | None = None,
    whole: WholeLevels | None = None,
) -> None:
    """Scale the fine detail of the new slices in place; re-slicing still gives acquired thin slices back.

    Args:
        result: (n_out, rows, columns), in the scan's units.
        acquired: (n_in, rows, columns).
        work: What was computed.
        values: The range of the whole scan.
        monitor: Can end the work.
        valid: Which pixels of the acquired slices are no padding; None for all.
        whole: Where only a part of the scan is computed, the noise levels of its slices.
    """
    if work.modality != "CT":
        return
    covering = work.covering
    own = slice(covering.before, covering.before + work.grid.n_out)
    profile, positions = covering.profile.of(slice(None), own), work.grid.positions()
    for slices, outputs in _parts(work.grid, positions):
        part = profile.of(slices, outputs)
        places, known = positions[outputs] - slices.start, None if valid is None else valid[slices]
        if part.is_thin:
            shares = profile_matrix(covering.profile)[slices, own][:, outputs]
            _match_thin(result[outputs], acquired[slices], places, part, shares, values, monitor, known)
        else:
            width = float(np.median(part.width))
            own_levels = whole and WholeLevels(whole.here[slices], whole.mean)
            even_out(result[outputs], acquired[slices], places, width, values, monitor, known, own_levels)


def _parts(grid: SliceGrid, positions: np.ndarray) -> list[tuple[slice, slice]]:
    """Acquired and output slices of each part with one spacing."""
    if grid.acquisition is None:
        return [(slice(0, grid.n_in), slice(0, grid.n_out))]
    parts = grid.acquisition.parts
    ends = [0, *(int(np.searchsorted(positions, part.last)) for part in parts[:-1]), grid.n_out]
    found = [(slice(part.first, part.last + 1), slice(*each)) for part, each in zip(parts, pairwise(ends), strict=True)]
    return [(slices, outputs) for slices, outputs in found if outputs.stop - outputs.start > 1]


def _match_thin(
    result: np.ndarray,
    acquired: np.ndarray,
    positions: np.ndarray,
    profile: SliceProfile,
    shares: np.ndarray,
    values: ValueRange,
    monitor: Monitor,
    valid: np.ndarray | None,
) -> None:
    """``match_noise`` of thin slices, with ``positions`` (n_out,) in units of acquired slices.

    ``shares`` (n_in, n_out) are what acquired slices see of the result, less than 1 in all where they see beyond it.
    """
    inside = shares.sum(axis=1) > 1 - _EPSILON
    new = positions != np.round(positions)
    new &= ~(shares[~inside] > 0).any(axis=0)
    wanted = np.interp(positions, np.arange(len(acquired)), slice_sigmas(acquired, valid))
    fine_valid = None if valid is None else valid_in_result(valid, positions)
    integer = result.dtype.kind in "iu"
    for index in np.flatnonzero(new):
        monitor.check()
        image = matched(
            result[index].astype(np.float32), wanted[index], valid=None if fine_valid is None else fine_valid[index]
        )
        values.write(image.round() if integer else image, result[index])
    if (shares[:, new] > 0).any():
        consistency = Consistency(profile.of(inside), float(values.low), float(values.high), integer, Arrays.numpy())
        _restore(result, acquired[inside], consistency, values, None if valid is None else valid[inside])


def _restore(
    result: np.ndarray,
    acquired: np.ndarray,
    consistency: Consistency,
    values: ValueRange,
    valid: np.ndarray | None,
) -> None:
    """Data consistency once more, where acquired slices lie between two new ones."""
    at_once = max(1, int(_COLUMN_BYTES / (4 * result.shape[0] * result.shape[2])))
    for row in range(0, result.shape[1], at_once):
        rows = slice(row, row + at_once)
        fine, known = (stack[:, rows].astype(np.float32) for stack in (result, acquired))
        consistency.apply(fine, known, valid=None if valid is None else consistency.of(valid[:, rows]))
        values.write(fine, result[:, rows])
