"""All numbers of a check in one form that JSON can hold: for the report, and for Slicer."""

from __future__ import annotations

import numpy as np

from ..agreement import Agreement
from .run import Check, Noise
from .self_check import SelfCheck
from .trust import MARKED_SHARE, Trust


def numbers(check: Check) -> dict:
    """A check as nested dicts and lists of plain numbers; docs/check.md has the meaning of each.

    Slices are counted from 0 along the through-plane axis, in sentences from 1. Intensities are in ``unit``.
    """
    grid = check.work.grid
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
        "verdict": _verdict(check),
        "warnings": list(check.work.warnings),
        "trust": _trust(check.trust) if check.trust else None,
        "self_check": _self_check(check.self_check, check) if check.self_check else {"left_out": check.left_out},
        "residual": _residual(check.residual, grid.n_in),
        "noise": _noise(check.noise),
    }


def _verdict(check: Check) -> str:
    return check.trust.words(check.unit) if check.trust else f"Not checked. {check.left_out}"


def _trust(told: Trust) -> dict:
    return {
        "typical": told.typical,
        "marked_from": MARKED_SHARE * told.window.width,
        "marked_share": told.marked_share,
        "least_certain_slices": told.slices,
        "place": told.place,
    }


def _self_check(found: SelfCheck, check: Check) -> dict:
    return {
        "slices": found.slices.tolist(),
        "slices_left_out": _others(found.slices, check.work.grid.n_in),
        "mean_absolute": found.mean_absolute.tolist(),
        "rms": found.rms.tolist(),
        "mean_absolute_of_all": float(found.mean_absolute.mean()),
        "rms_of_all": float(np.sqrt(np.square(found.rms).mean())),
        "worst_slice": int(found.slices[found.rms.argmax()]),
        "new_slices_offset": found.offset,
        "new_slices_from": "result" if found.from_result else "second pass",
    }


def _residual(left: Agreement, slices: int) -> dict:
    return {
        "slices_left_out": _others(left.slices, slices),
        "largest": left.largest,
        "median": left.median,
        "percentile_99": left.percentile_99,
        "percentile_99_9": left.percentile_99_9,
        "limit": left.limit,
        "share_within_limit": left.share_within_limit,
    }


def _noise(levels: Noise) -> dict:
    return {
        "sigma_before": levels.before.tolist(),
        "sigma_after": levels.after.tolist(),
        "mean_sigma_before": float(levels.before.mean()),
        "mean_sigma_after": float(levels.after.mean()),
        "snli_before": levels.snli_before,
        "snli_after": levels.snli_after,
    }


def _others(slices: np.ndarray, count: int) -> list[int]:
    return sorted(set(range(count)) - set(slices.tolist()))
