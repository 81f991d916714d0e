"""The self-check: drop what was acquired, predict it from the new slices in between, and compare.

It is the cycle of the network's loss (research's ``training.losses``) at run time, for any slice thickness:

1. Y: one slice between each two acquired ones, re-sliced from the result with the scan's own slice profile, so that Y
   looks like a second scan of the same thickness and spacing, half a spacing on.
2. Y alone is made finer, with the same model and settings.
3. X^: slices at the acquired positions, re-sliced from that with the same profile, are compared with the acquired X.

The first and the last acquired slice have one neighbour in Y only, so they are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import warnings_told_elsewhere
from ..geometry import subgrid_affine
from ..grid import AXIS_OF_ARRAY, COLUMN_OF_AXIS, MIN_SLICES, ROUNDING, SliceGrid, Target, plan_grid, to_axis_first
from ..inference.options import UpsampleOptions
from ..inference.plan import Plan
from ..intensity import ValueRange
from ..monitor import Monitor
from ..resampling import resliced, whole_windows
from ..volume import Volume

_FRESH_RATIO = 2.0
_THICK_WINDOW = 2.0
"""Fine slices under a window from which on a mean over it blurs nothing worth mentioning."""


@dataclass(frozen=True, eq=False)
class SelfCheck:
    """How well the new slices alone lead back to the acquired ones.

    Attributes:
        slices: Indices of the compared acquired slices along the through-plane axis, 0 is the first, (n,).
        mean_absolute, rms: Mean and root mean square of |X^ - X| over each slice, in the scan's units, (n,).
        error_map: |X^ - X| as float32, on the grid of the compared acquired slices.
        offset: How far Y lay behind each acquired slice, as a share of the slice spacing.
        from_result: Whether Y was taken from the result; False: from the same network, at half the spacing.
    """

    slices: np.ndarray
    mean_absolute: np.ndarray
    rms: np.ndarray
    error_map: Volume
    offset: float
    from_result: bool


def why_not(volume: Volume, work: Plan, options: UpsampleOptions) -> str:
    """Why this result allows no self-check, in one sentence; empty where it does."""
    if work.grid.is_identity:
        return "The result has the scan's own slices, so there are no new ones to check."
    if work.grid.acquisition is not None:
        return "The scan's slices jitter; the self-check compares slices that lie equally far apart."
    available = len(_Between(volume, work, options).wanted)
    if available < MIN_SLICES:
        return (
            f"The scan's {work.grid.n_in} slices leave {available} whole ones of its thickness between them; the "
            f"self-check needs at least {MIN_SLICES}."
        )
    return ""


def self_check(
    volume: Volume,
    result: Volume | None,
    work: Plan,
    options: UpsampleOptions,
    monitor: Monitor,
) -> SelfCheck:
    """Run the self-check; takes about as long as the result took, and twice its memory.

    Args:
        volume, result: Input and output of one run, for which ``why_not`` is empty; without the output it is made.
        work, options: What ``plan`` made of that run's options, and these options.

    Raises:
        Cancelled: ``monitor`` said so.
        CycleinrError: As ``upsample``.
    """
    from ..inference.upsample import upsample

    between = _Between(volume, work, options)
    given = result if between.from_result else None
    *first, last = monitor.stages([1, 1] if given is None else [1], "Checking the result with itself")
    scan, again = replace(volume, modality=work.modality), _options(work, options)
    with warnings_told_elsewhere():
        fine = upsample(scan, again, *first).volume if given is None else given
        second_scan = between.scan(scan, fine, monitor)
        back = upsample(second_scan, again, last).volume
    found = between.compare(scan, back, _grid(second_scan, again), monitor)
    return replace(found, from_result=given is not None)


def _has_slices_between(grid: SliceGrid, tau: float) -> bool:
    """Whether a result can be re-sliced between the acquired positions without blurring it by interpolation.

    Windows of two fine slices or more are means in any case; thinner ones need a fine slice just there, in every
    interval at the same place.
    """
    if grid.ratio < _FRESH_RATIO - ROUNDING:
        return False
    whole = abs(grid.ratio - round(grid.ratio)) <= ROUNDING * grid.ratio and grid.first_mm == 0
    return whole or _is_thick(grid, tau)


def _is_thick(grid: SliceGrid, tau: float) -> bool:
    return tau * grid.ratio >= _THICK_WINDOW - ROUNDING


def _options(work: Plan, options: UpsampleOptions) -> UpsampleOptions:
    """The run's own options with all that was found out automatically written down; the ratio is that of the check."""
    grid = work.grid
    own = _has_slices_between(grid, work.tau)
    return replace(
        options,
        target=Target(ratio=grid.ratio if own else _FRESH_RATIO),
        axis=grid.axis,
        extent="edges" if own and grid.first_mm != 0 else "centres",
        thickness_mm=work.tau * grid.spacing_in_mm,
    )


def _grid(volume: Volume, options: UpsampleOptions) -> SliceGrid:
    return plan_grid(volume, options.target, options.axis, options.extent)


class _Between:
    """Y: where its slices lie on a fine grid, and Y as a scan of its own.

    Attributes:
        axis: "i", "j" or "k".
        from_result: Whether the fine grid is the result's, or that of a fresh pass.
        offset: Distance of each Y behind an acquired slice, as a share of the slice spacing.
        wanted: Indices of the acquired slices that a whole Y lies behind.
    """

    def __init__(self, volume: Volume, work: Plan, options: UpsampleOptions):
        self.from_result = _has_slices_between(work.grid, work.tau)
        grid = work.grid if self.from_result else _grid(volume, _options(work, options))
        # Thin slices: a fine slice itself, the one before the middle where none lies on it
        middle = grid.ratio / 2 if _is_thick(grid, work.tau) else round(grid.ratio) // 2
        profile = grid.profile(work.tau)
        self._profile = replace(profile, centres=profile.centres[:-1] + middle)
        self.axis, self.offset, self.wanted = grid.axis, float(middle / grid.ratio), whole_windows(self._profile)

    def scan(self, scan: Volume, fine: Volume, monitor: Monitor) -> Volume:
        """Y, in the scan's own type."""
        array = _slices_like(scan, self.axis, len(self.wanted), scan.array.dtype)
        stack, integer, values = to_axis_first(array, self.axis), array.dtype.kind in "iu", ValueRange.of(fine.array)
        for n, slice_ in enumerate(resliced(to_axis_first(fine.array, self.axis), self._profile, self.wanted)):
            monitor.check()
            values.write(np.rint(slice_, out=slice_) if integer else slice_, stack[n])
        return scan.with_array(array, _moved(scan, self.axis, self.wanted[0] + self.offset))

    def compare(self, scan: Volume, back: Volume, grid: SliceGrid, monitor: Monitor) -> SelfCheck:
        """X^ against X for all acquired slices that can be re-sliced whole from what was made of Y, on its grid."""
        profile, axis = grid.profile(self._profile.tau), self.axis
        profile = replace(profile, centres=profile.centres[:-1] + grid.ratio * (1 - self.offset))
        wanted = whole_windows(profile)
        slices, acquired = wanted + self.wanted[0] + 1, to_axis_first(scan.array, axis)
        error_map = _slices_like(scan, axis, len(slices), np.dtype(np.float32))
        stack = to_axis_first(error_map, axis)
        mean_absolute, rms = np.empty(len(slices)), np.empty(len(slices))
        valid = None if scan.valid is None else to_axis_first(scan.valid, axis)
        for n, slice_ in enumerate(resliced(to_axis_first(back.array, axis), profile, wanted)):
            monitor.check()
            slice_ -= acquired[slices[n]]
            measured = slice_.size
            if valid is not None:
                slice_ *= valid[slices[n]]
                measured = max(1, np.count_nonzero(valid[slices[n]]))
            stack[n] = np.abs(slice_, out=slice_)
            mean_absolute[n] = slice_.sum(dtype=np.float64) / measured
            rms[n] = np.sqrt(np.square(slice_, dtype=np.float64).sum() / measured)
        placed = scan.with_array(error_map, _moved(scan, axis, slices[0]))
        return SelfCheck(slices, mean_absolute, rms, placed, self.offset, self.from_result)


def _slices_like(scan: Volume, axis: str, count: int, dtype: np.dtype) -> np.ndarray:
    shape = list(scan.shape_kji)
    shape[AXIS_OF_ARRAY[axis]] = count
    return np.empty(shape, dtype)


def _moved(scan: Volume, axis: str, slices: float) -> np.ndarray:
    """The scan's ijk_to_ras, begun some slices later."""
    first = np.zeros(3)
    first[COLUMN_OF_AXIS[axis]] = slices
    return subgrid_affine(scan.ijk_to_ras, first)
