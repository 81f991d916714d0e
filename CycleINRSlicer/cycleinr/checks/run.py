"""All checks of one result."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import RequestError
from ..grid import AXIS_OF_ARRAY, MIN_SLICES, Target, from_axis_first, to_axis_first
from ..inference.noise import slice_sigmas
from ..inference.options import UpsampleOptions
from ..inference.plan import Plan, plan
from ..inspection import inspect
from ..intensity import filled, unit_of, valid_in_result
from ..monitor import Monitor
from ..resampling import Agreement, agreement
from ..volume import Volume
from ..windows import DisplayWindow, window_for
from .self_check import SelfCheck, self_check, why_not
from .trust import MARKED_SHARE, Trust, expected_error, trust


@dataclass(frozen=True, eq=False)
class Noise:
    """Immerkaer's sigma of every acquired slice (n_in,) and of the result's (n_out,), in the scan's units."""

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
    """Measure both volumes along ``axis``; see ``cycleinr.inference.noise.slice_sigmas`` for what is measured."""

    def levels(own: Volume) -> np.ndarray:
        return slice_sigmas(*(to_axis_first(each, axis) for each in (own.array, own.valid) if each is not None))

    return Noise(levels(volume), levels(result))


@dataclass(frozen=True, eq=False)
class Check:
    """What was found out about a result.

    Attributes:
        scan, result: What was compared; of a CT in HU.
        work: What the run's options came to.
        window: The display window that errors are held against.
        self_check: None where there is none; ``left_out`` says why.
        expected_error: The absolute error to expect, on the self-check's grid; None without one.
        trust: The same in words; None without a self-check.
    """

    scan: Volume
    result: Volume
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
    scan, fine = (_in_hounsfield_units(each, options.intensity_offset) for each in (volume, result))
    options = replace(options, intensity_offset=0.0)
    seen = inspect(scan)
    work = plan(scan, options, seen)
    _check_place(fine, work)
    volume, result = _without_padding(scan, fine, work, seen.valid)
    shown = window_for(volume, work.modality, window)
    monitor = monitor or Monitor()
    comparing, measuring, checking = monitor.stages([0.05, 0.05, 0.9])
    comparing.tell("Comparing with the acquired slices", 0.0)
    left = _residual(volume, result, work, monitor)
    measuring.tell("Measuring noise", 0.0)
    levels = noise(volume, result, work.grid.axis)
    passes, left_out = _self_check(volume, result, work, options, checking)
    if passes is None:
        monitor.tell("Checked", 1.0, 0.0)
        return Check(scan, fine, work, left, levels, shown, None, left_out)
    expected = expected_error(passes.error_map, volume, work.modality, work.grid.axis)
    if volume.valid is not None:
        stack, valid = (to_axis_first(each, work.grid.axis) for each in (expected.array, volume.valid))
        stack[~valid[passes.slices]] = 0
    told = trust(expected, passes.slices, volume, work.modality, work.grid.axis, shown)
    monitor.tell("Checked", 1.0, 0.0)
    return Check(scan, fine, work, left, levels, shown, passes, "", expected, told)


def _residual(volume: Volume, result: Volume, work: Plan, monitor: Monitor) -> Agreement:
    fine, acquired = (to_axis_first(each.array, work.grid.axis) for each in (result, volume))
    valid = None if volume.valid is None else to_axis_first(volume.valid, work.grid.axis)
    limit = unit_of(volume, work.modality)
    return agreement(fine, acquired, work.grid.profile(work.slice_tau), limit, valid, monitor=monitor)


def _self_check(
    volume: Volume, result: Volume | None, work: Plan, options: UpsampleOptions, monitor: Monitor
) -> tuple[SelfCheck | None, str]:
    """The self-check, of slices that are not even of their longest even part; or why there is none, in one sentence."""
    uneven, first = work.grid.acquisition, 0
    if uneven is not None:
        longest = uneven.longest_even
        if len(longest) < MIN_SLICES:
            return None, f"No {MIN_SLICES} slices in a row lie equally far apart, which the self-check needs."
        first, slices = longest.start, slice(longest.start, longest.stop)
        part = volume[tuple(slices if axis == work.grid.axis else slice(None) for axis in AXIS_OF_ARRAY)]
        volume, result = replace(part, modality=work.modality), None
        options = replace(options, target=Target(spacing_mm=work.grid.spacing_out_mm), axis=work.grid.axis)
        work = plan(volume, options)
    why = why_not(volume, work, options)
    if why:
        return None, why
    found = self_check(volume, result, work, options, monitor)
    return replace(found, slices=found.slices + first), ""


def _in_hounsfield_units(volume: Volume, offset: float) -> Volume:
    """A volume with the intensity offset added, in a type that holds it; the volume itself without one."""
    if not offset:
        return volume
    whole = volume.array.dtype.kind in "iu" and offset.is_integer()
    kind = np.promote_types(volume.array.dtype, np.int32) if whole else np.float32
    return replace(volume, array=volume.array.astype(kind) + np.asarray(offset, kind))


def _without_padding(volume: Volume, result: Volume, work: Plan, valid: np.ndarray | None) -> tuple[Volume, Volume]:
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


def numbers(check: Check) -> dict:
    """A check as nested dicts and lists of plain numbers, for JSON; docs/check.md has the meaning of each.

    Slices are counted from 0 along the through-plane axis, in sentences from 1. Intensities are in ``unit``.
    """
    grid, told, left, levels = check.work.grid, check.trust, check.residual, check.noise
    return {
        "unit": check.unit,
        "modality": check.work.modality,
        "axis": grid.axis,
        "tau": check.work.tau,
        "acquired": {
            "slices": grid.n_in,
            "spacing_mm": grid.spacing_in_mm,
            "positions_mm": grid.acquired_mm().tolist(),
            "apart": f"{grid.spacing_in_mm:.4g} mm apart" if grid.acquisition is None else grid.acquisition.words,
        },
        "result": {"slices": grid.n_out, "spacing_mm": grid.spacing_out_mm, "first_mm": grid.first_mm},
        "window": {"name": check.window.name, "width": check.window.width, "level": check.window.level},
        "verdict": told.words(check.unit) if told else f"Not checked. {check.left_out}",
        "warnings": list(check.work.warnings),
        "trust": told and {
            "typical": told.typical,
            "marked_from": MARKED_SHARE * told.window.width,
            "marked_share": told.marked_share,
            "least_certain_slices": told.slices,
            "place": told.place,
        },
        "self_check": _passes(check.self_check, grid.n_in) if check.self_check else {"left_out": check.left_out},
        "residual": {
            "slices_left_out": np.setdiff1d(np.arange(grid.n_in), left.slices).tolist(),
            **{name: value for name, value in vars(left).items() if isinstance(value, float)},
        },
        "noise": {
            "sigma_before": levels.before.tolist(),
            "sigma_after": levels.after.tolist(),
            "mean_sigma_before": float(levels.before.mean()),
            "mean_sigma_after": float(levels.after.mean()),
            "snli_before": levels.snli_before,
            "snli_after": levels.snli_after,
        },
    }  # fmt: skip


def _passes(found: SelfCheck, n_in: int) -> dict:
    return {
        "slices": found.slices.tolist(),
        "slices_left_out": np.setdiff1d(np.arange(n_in), found.slices).tolist(),
        "mean_absolute": found.mean_absolute.tolist(),
        "rms": found.rms.tolist(),
        "mean_absolute_of_all": float(found.mean_absolute.mean()),
        "rms_of_all": float(np.sqrt(np.square(found.rms).mean())),
        "worst_slice": int(found.slices[found.rms.argmax()]),
        "new_slices_offset": found.offset,
        "new_slices_from": "result" if found.from_result else "second pass",
    }
