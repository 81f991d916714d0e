"""All checks of one result."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..agreement import Agreement, agreement, unit_of
from ..errors import RequestError
from ..grid import AXIS_OF_ARRAY, MIN_SLICES, Target, from_axis_first, to_axis_first
from ..inference.options import UpsampleOptions
from ..inference.plan import Plan, plan
from ..inspection import inspect
from ..intensity import filled, valid_in_result
from ..monitor import Monitor
from ..noise import slice_sigmas
from ..volume import Volume
from ..windows import DisplayWindow, window_for
from .self_check import SelfCheck, self_check, why_not
from .trust import Trust, expected_error, trust


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


@dataclass(frozen=True, eq=False)
class Check:
    """What was found out about a result.

    Attributes:
        work: What the run's options came to.
        window: The display window that errors are held against.
        self_check: None where there is none; ``left_out`` says why.
        expected_error: The absolute error to expect, on the self-check's grid; None without one.
        trust: The same in words; None without a self-check.
    """

    work: Plan
    residual: Agreement
    noise: Noise
    window: DisplayWindow
    self_check: SelfCheck | None
    left_out: str = ""
    expected_error: Volume | None = None
    trust: Trust | None = None

    @property
    def unit(self) -> str:
        """The unit of all intensities in the report."""
        return "HU" if self.work.modality == "CT" else "MR units"


def check_whole(options: UpsampleOptions) -> None:
    """Refuse a result that holds a region only, with a RequestError."""
    if options.region is not None:
        raise RequestError(
            f"The result holds the region {options.region} only, and a check needs all of the scan. Make the whole "
            "result, and check that."
        )


def check_result(
    volume: Volume,
    result: Volume,
    options: UpsampleOptions,
    monitor: Monitor | None = None,
    window: str = "auto",
) -> Check:
    """Check a result without ground truth; neither volume is modified.

    Args:
        volume: The acquired scan.
        result: What ``upsample`` made of it with ``options``.
        window: What errors are held against; see ``cycleinr.windows.window_for``.

    Raises:
        RequestError: ``result`` is no result of ``volume`` with ``options``.
        Cancelled: ``monitor`` said so.
        CycleinrError: As ``upsample``.
    """
    check_whole(options)
    volume, result = (in_hounsfield_units(each, options) for each in (volume, result))
    options = replace(options, intensity_offset=0.0)
    seen = inspect(volume)
    work = plan(volume, options, seen)
    _check_place(result, work)
    volume, result = _without_padding(volume, result, work, seen.valid)
    shown = window_for(volume, work.modality, window)
    monitor = monitor or Monitor()
    comparing, measuring, checking = monitor.stages([0.05, 0.05, 0.9])
    comparing.tell("Comparing with the acquired slices", 0.0)
    left = _residual(volume, result, work, monitor)
    measuring.tell("Measuring noise", 0.0)
    levels = noise(volume, result, work.grid.axis)
    part = _EvenPart.of(volume, work, options)
    left_out = part.left_out or why_not(part.scan, part.work, part.options)
    if left_out:
        monitor.tell("Checked", 1.0, 0.0)
        return Check(work, left, levels, shown, None, left_out)
    own = result if part.scan is volume else None
    passes = self_check(part.scan, own, part.work, part.options, checking)
    passes = replace(passes, slices=passes.slices + part.first)
    expected = expected_error(passes.error_map, volume, work.modality, work.grid.axis)
    if volume.valid is not None:
        stack, valid = (to_axis_first(each, work.grid.axis) for each in (expected.array, volume.valid))
        stack[~valid[passes.slices]] = 0
    told = trust(expected, passes.slices, volume, work.modality, work.grid.axis, shown)
    monitor.tell("Checked", 1.0, 0.0)
    return Check(work, left, levels, shown, passes, "", expected, told)


def _residual(volume: Volume, result: Volume, work: Plan, monitor: Monitor) -> Agreement:
    fine, acquired = (to_axis_first(each.array, work.grid.axis) for each in (result, volume))
    valid = None if volume.valid is None else to_axis_first(volume.valid, work.grid.axis)
    limit = unit_of(volume, work.modality)
    return agreement(fine, acquired, work.grid.profile(work.slice_tau), limit, valid, monitor=monitor)


@dataclass(frozen=True)
class _EvenPart:
    """What the self-check can compare: the scan, or of slices that are not even the longest even part.

    Attributes:
        work, options: Of this part, with the result's spacing.
        first: The scan's slice that it begins with.
        left_out: Why no self-check is possible, in one sentence; else empty.
    """

    scan: Volume
    work: Plan
    options: UpsampleOptions
    first: int = 0
    left_out: str = ""

    @classmethod
    def of(cls, volume: Volume, work: Plan, options: UpsampleOptions) -> _EvenPart:
        uneven = work.grid.acquisition
        if uneven is None:
            return cls(volume, work, options)
        longest = uneven.longest_even
        if len(longest) < MIN_SLICES:
            text = f"No {MIN_SLICES} slices in a row lie equally far apart, which the self-check needs."
            return cls(volume, work, options, left_out=text)
        slices = slice(longest.start, longest.stop)
        part = volume[tuple(slices if axis == work.grid.axis else slice(None) for axis in AXIS_OF_ARRAY)]
        scan = replace(part, modality=work.modality)
        again = replace(options, target=Target(spacing_mm=work.grid.spacing_out_mm), axis=work.grid.axis)
        return cls(scan, plan(scan, again), again, longest.start)


def in_hounsfield_units(volume: Volume, options: UpsampleOptions) -> Volume:
    """A volume with the options' intensity offset added, in a type that holds it; the volume itself without one."""
    offset = options.intensity_offset
    if not offset:
        return volume
    whole = volume.array.dtype.kind in "iu" and offset.is_integer()
    kind = np.promote_types(volume.array.dtype, np.int32) if whole else np.float32
    return replace(volume, array=volume.array.astype(kind) + np.asarray(offset, kind))


def _without_padding(
    volume: Volume, result: Volume, work: Plan, valid: np.ndarray | None
) -> tuple[Volume, Volume]:
    """Scan and result with values that make no edge in the place of padding, and with their masks."""
    if valid is None:
        return replace(volume, valid=None), replace(result, valid=None)
    axis = work.grid.axis
    fine = valid_in_result(to_axis_first(valid, axis), work.grid.positions())
    fine = from_axis_first(fine, axis)
    return filled(replace(volume, valid=valid), axis), filled(replace(result, valid=fine), axis)


def _check_place(result: Volume, work: Plan) -> None:
    if result.geometry_equal(work):
        return
    same_shape = result.shape_kji == work.shape_kji
    found, expected = (" x ".join(map(str, shape[::-1])) for shape in (result.shape_kji, work.shape_kji))
    raise RequestError(
        f"The volume of {found} voxels is no result of this scan with these settings, which gives {expected} voxels"
        f"{' elsewhere' if same_shape else ''}. Check a result with the scan and the settings that it was made with."
    )
