"""All checks of one result."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import numpy as np

from .. import NonFiniteError, RequestError
from ..grid import from_axis_first, stacks_of, to_axis_first
from ..inference.noise import slice_sigmas
from ..inference.plan import Plan, plan
from ..inspection import inspect
from ..intensity import filled, unit_of, valid_in_result
from ..request import UpsampleOptions
from ..resampling import Agreement, agreement, digits
from ..result import Monitor
from ..volume import Volume
from ..windows import DisplayWindow, window_for
from .self_check import SelfCheck, self_check
from .trust import Trust, expected_error, trust

_FOREIGN_SHARE = 0.5
"""Of what neighbouring slices differ by, results leave up to 0.12, with noise added 0.35; those of another scan, or of
this one a slice or some pixels off, 0.59 and more."""


@dataclass(frozen=True, eq=False)
class Check:
    """What was found out about a result.

    Attributes:
        scan, result: What was compared; of a CT in HU.
        work: What the run's options came to.
        residual: What re-slicing the result leaves of the acquired slices.
        apart: Root mean square of what neighbouring acquired slices differ by.
        noise_before, noise_after: Immerkaer's sigma of every acquired slice, (n_in,), and of the result's, (n_out,).
        window: The display window that errors are held against.
        self_check: None where there is none; ``left_out`` says why.
        expected_error: The absolute error to expect, on the self-check's grid; None without one.
        trust: The same summed up; None without a self-check.
    """

    scan: Volume
    result: Volume
    work: Plan
    residual: Agreement
    apart: float
    noise_before: np.ndarray
    noise_after: np.ndarray
    window: DisplayWindow
    self_check: SelfCheck | None
    expected_error: Volume | None = None
    trust: Trust | None = None
    left_out: str = ""

    @property
    def unit(self) -> str:
        """The unit of all intensities in the report."""
        return "HU" if self.work.modality == "CT" else "MR units"

    @property
    def verdict(self) -> str:
        """For the reader, in one or two sentences."""
        left = math.sqrt(np.square(self.residual.rms).mean())
        if left > max(self.residual.limit, _FOREIGN_SHARE * self.apart):
            return (
                f"This is no result of this scan: re-sliced, it differs from the acquired slices by {digits(left)} "
                f"{self.unit} RMS, and these from one another by {digits(self.apart)}. Give the scan that it was made "
                "of."
            )
        return self.trust.words(self.window, self.unit) if self.trust else f"Not checked. {self.left_out}"


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
    offset = options.intensity_offset
    compared = _in_hounsfield_units(volume, offset), _in_hounsfield_units(result, offset)
    options = replace(options, intensity_offset=0.0)
    seen = inspect(compared[0])
    work = plan(compared[0], options, seen)
    _check_place(compared[1], work)
    volume, result = _without_padding(*compared, work, seen.valid)
    axis, shown = work.grid.axis, window_for(volume, work.modality, window)
    monitor = monitor or Monitor()
    comparing, measuring, checking = monitor.stages([0.05, 0.05, 0.9])
    comparing.tell("Comparing with the acquired slices", 0.0)
    (acquired, valid), (fine, fine_valid) = (stacks_of(each, axis) for each in (volume, result))
    limit = unit_of(volume, work.modality)
    left = agreement(fine, acquired, work.grid.profile(work.slice_tau), limit, valid, monitor=monitor)
    apart = _apart(acquired, valid)
    measuring.tell("Measuring noise", 0.0)
    noise = slice_sigmas(acquired, valid), slice_sigmas(fine, fine_valid)
    found = self_check(volume, result, work, options, checking)
    monitor.tell("Checked", 1.0, 0.0)
    if isinstance(found, str):
        return Check(*compared, work, left, apart, *noise, shown, None, left_out=found)
    expected = expected_error(found, volume, work.modality, axis)
    told = trust(expected, found.slices, volume, work.modality, axis, shown)
    return Check(*compared, work, left, apart, *noise, shown, found, expected, told)


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


def _apart(slices: np.ndarray, valid: np.ndarray | None) -> float:
    """Root mean square of what neighbouring slices differ by; of the pixels in ``valid`` unless it is None."""
    total = count = 0.0
    for n in range(1, len(slices)):
        steps = np.subtract(slices[n], slices[n - 1], dtype=np.float64)
        steps = steps if valid is None else steps[valid[n] & valid[n - 1]]
        total, count = total + np.square(steps).sum(), count + steps.size
    return math.sqrt(total / max(1, count))


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

    Raises:
        NonFiniteError: Some number is none that JSON knows.
    """
    grid, found, left = check.work.grid, check.self_check, check.residual
    noise = {"before": check.noise_before, "after": check.noise_after}
    told = {
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
        "verdict": check.verdict,
        "warnings": list(check.work.warnings),
        "trust": check.trust and vars(check.trust),
        "self_check": {"left_out": check.left_out} if found is None else {
            **{name: getattr(found, name).tolist() for name in ("slices", "mean_absolute", "rms")},
            "slices_left_out": _others(grid.n_in, found.slices),
            "mean_absolute_of_all": float(found.mean_absolute.mean()),
            "rms_of_all": float(np.sqrt(np.square(found.rms).mean())),
            "worst_slice": int(found.slices[found.rms.argmax()]),
            "new_slices_offset": found.new_slices_offset,
            "new_slices_from": found.new_slices_from,
        },
        "residual": {
            "slices_left_out": _others(grid.n_in, left.slices),
            **{name: value for name, value in vars(left).items() if isinstance(value, float)},
        },
        "noise": {
            **{f"sigma_{when}": sigmas.tolist() for when, sigmas in noise.items()},
            **{f"mean_sigma_{when}": float(sigmas.mean()) for when, sigmas in noise.items()},
            # Slice-wise noise level inconsistency
            **{f"snli_{when}": float(sigmas.std()) for when, sigmas in noise.items()},
        },
    }  # fmt: skip
    try:
        json.dumps(told, allow_nan=False)
    except ValueError as error:
        raise NonFiniteError("The check's numbers are not finite, as with absurd values. Check the scan.") from error
    return told


def _others(count: int, slices: np.ndarray) -> list[int]:
    return np.setdiff1d(np.arange(count), slices).tolist()
