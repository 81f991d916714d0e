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

from ..geometry import subgrid_affine
from ..grid import AXIS_OF_ARRAY, COLUMN_OF_AXIS, MIN_SLICES, ROUNDING, SliceGrid, Target, plan_grid, to_axis_first
from ..inference.plan import Plan, plan
from ..intensity import ValueRange
from ..request import UpsampleOptions
from ..resampling import SliceProfile, counted, resliced, whole_windows
from ..result import Monitor, warnings_told_elsewhere
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
        new_slices_offset: How far Y lay behind each acquired slice, as a share of the slice spacing.
        new_slices_from: "result"; or "second pass" of the same network, at half the spacing.
    """

    slices: np.ndarray
    mean_absolute: np.ndarray
    rms: np.ndarray
    error_map: Volume
    new_slices_offset: float
    new_slices_from: str


def self_check(
    volume: Volume, result: Volume | None, work: Plan, options: UpsampleOptions, monitor: Monitor
) -> SelfCheck | str:
    """Run the self-check, of slices that are not even on their longest even part.

    It takes about as long as the result took, and twice its memory.

    Args:
        volume, result: Input and output of one run; without the output it is made.
        work, options: What ``plan`` made of that run's options, and these options.

    Returns:
        What was found; or, in one sentence, why this result allows no self-check.

    Raises:
        Cancelled: ``monitor`` said so.
        CycleinrError: As ``upsample``.
    """
    if work.grid.acquisition is not None:
        return _check_even_part(volume, work, options, monitor)
    if work.grid.is_identity:
        return "The result has the scan's own slices, so there are no new ones to check."
    scan, grid, axis = replace(volume, modality=work.modality), work.grid, work.grid.axis
    # What was found out automatically for the run is written down
    options = replace(options, axis=axis, extent="centres", thickness_mm=work.tau * grid.spacing_in_mm)
    if _has_slices_between(grid, work.tau):
        extent = "centres" if grid.first_mm == 0 else "edges"
        options = replace(options, target=Target(ratio=grid.ratio), extent=extent)
    else:
        options, result = replace(options, target=Target(ratio=_FRESH_RATIO)), None
        grid = plan_grid(scan, options.target, axis, options.extent)
    # Thin slices: a fine slice itself, the one before the middle where none lies on it
    middle = grid.ratio / 2 if _is_thick(grid, work.tau) else round(grid.ratio) // 2
    between = _behind_each(grid.profile(work.tau), middle)
    available = len(whole_windows(between))
    if available < MIN_SLICES:
        return (
            f"The scan's {grid.n_in} slices leave {counted(available, 'whole one')} of its thickness between them; "
            f"the self-check needs at least {MIN_SLICES}."
        )
    return _cycle(scan, result, between, float(middle / grid.ratio), options, monitor)


def _check_even_part(volume: Volume, work: Plan, options: UpsampleOptions, monitor: Monitor) -> SelfCheck | str:
    """The self-check of the longest even part of slices that are not even."""
    grid, axis = work.grid, work.grid.axis
    even = grid.acquisition.longest_even
    if len(even) < MIN_SLICES:
        return f"No {MIN_SLICES} slices in a row lie equally far apart, which the self-check needs."
    part = volume[tuple(slice(even.start, even.stop) if each == axis else slice(None) for each in AXIS_OF_ARRAY)]
    part = replace(part, modality=work.modality)
    options = replace(options, target=Target(spacing_mm=grid.spacing_out_mm), axis=axis)
    work = plan(part, options)
    if work.grid.acquisition is not None:
        return "The scan's slices jitter; the self-check compares slices that lie equally far apart."
    found = self_check(part, None, work, options, monitor)
    return found if isinstance(found, str) else replace(found, slices=found.slices + even.start)


def _cycle(
    scan: Volume,
    result: Volume | None,
    between: SliceProfile,
    offset: float,
    options: UpsampleOptions,
    monitor: Monitor,
) -> SelfCheck:
    """X -> Y -> X^ as above, Y ``offset`` of a spacing on; a result is made where there is none."""
    from ..inference import upsample

    axis, wanted = options.axis, whole_windows(between)
    making, returning = monitor.stages([1 if result is None else 0, 1], "Checking the result with itself")
    with warnings_told_elsewhere():
        fine = upsample(scan, options, making).volume if result is None else result
        second = _reacquired(fine, between, scan, axis, wanted[0] + offset, monitor)
        values = np.empty(second.shape_kji, scan.array.dtype)
        ValueRange.of(fine.array).write(second.array, values)
        second = second.with_array(values)
        back = upsample(second, options, returning).volume
    again = plan_grid(second, options.target, axis, options.extent)
    profile = _behind_each(again.profile(between.tau), again.ratio * (1 - offset))
    slices = whole_windows(profile) + wanted[0] + 1
    error_map = _reacquired(back, profile, scan, axis, slices[0], monitor)
    error, acquired = to_axis_first(error_map.array, axis), to_axis_first(scan.array, axis)[slices]
    np.abs(np.subtract(error, acquired, out=error, casting="same_kind"), out=error)
    measured = np.full(len(slices), error[0].size)
    if scan.valid is not None:
        valid = to_axis_first(scan.valid, axis)[slices]
        error *= valid
        measured = np.count_nonzero(valid, axis=(1, 2)).clip(1)
    mean_absolute = error.sum(axis=(1, 2), dtype=np.float64) / measured
    rms = np.sqrt(np.einsum("nij,nij->n", error, error, dtype=np.float64) / measured)
    return SelfCheck(slices, mean_absolute, rms, error_map, offset, "second pass" if result is None else "result")


def _reacquired(fine: Volume, profile: SliceProfile, scan: Volume, axis: str, first: float, monitor: Monitor) -> Volume:
    """All whole slices of a profile, float32; the first lies so many slices behind the scan's."""
    array = []
    for slice_ in resliced(to_axis_first(fine.array, axis), profile, whole_windows(profile)):
        monitor.check()
        array.append(slice_)
    begin = np.zeros(3)
    begin[COLUMN_OF_AXIS[axis]] = first
    return scan.with_array(np.stack(array, AXIS_OF_ARRAY[axis]), subgrid_affine(scan.ijk_to_ras, begin))


def _behind_each(profile: SliceProfile, distance: float) -> SliceProfile:
    """A slice of the same thickness so many fine ones behind each acquired one but the last."""
    return replace(profile, centres=profile.centres[:-1] + distance)


def _has_slices_between(grid: SliceGrid, tau: float) -> bool:
    """Whether a result can be re-sliced between the acquired positions without blurring it by interpolation.

    Windows of two fine slices or more are means in any case; thinner ones need a fine slice just there, in every
    interval at the same place.
    """
    whole = abs(grid.ratio - round(grid.ratio)) <= ROUNDING * grid.ratio and grid.first_mm == 0
    return grid.ratio >= _FRESH_RATIO - ROUNDING and (whole or _is_thick(grid, tau))


def _is_thick(grid: SliceGrid, tau: float) -> bool:
    return tau * grid.ratio >= _THICK_WINDOW - ROUNDING
