"""What a reader should know of a request that can be done but is outside what the weights were trained for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..acquisition import Gap
from ..errors import GeometryError
from ..grid import ISOTROPY_TOLERANCE, ROUNDING, SliceGrid
from ..profile import TRAINED_TAU_MAX
from ..result import text_of_gaps


def limit_warnings(grid: SliceGrid, tau: float, card: Mapping) -> tuple[str, ...]:
    """Sentences for a person, none where all is well.

    Args:
        grid: The output slices.
        tau: Slice thickness / slice spacing of the acquired slices.
        card: The weights' model card; without ``training.ratios`` nothing is said of the ratio.
    """
    if grid.acquisition is not None:
        coarsest = max(part.spacing_mm for part in grid.acquisition.parts)
        grid = replace(grid, spacing_in_mm=coarsest)
    elif grid.n_in == grid.n_out and abs(grid.ratio - 1) <= ISOTROPY_TOLERANCE:
        return (
            f"Nothing to do: the slices are {grid.spacing_in_mm:.4g} mm apart already. Ask for less than "
            f"{grid.spacing_in_mm:.4g} mm to get finer ones.",
        )
    return tuple(text for text in (_of_ratio(grid, card), _of_thickness(tau)) if text)


def _of_ratio(grid: SliceGrid, card: Mapping) -> str:
    trained = card.get("training", {}).get("ratios")
    if not trained:
        return ""
    low, high = trained
    said = f"{grid.ratio:.3g} times as many slices; the weights were trained for {low:g} to {high:g} times"
    if grid.ratio > high * (1 + ROUNDING):
        return (
            f"{said}. Expect lost and invented detail between the acquired slices, or ask for "
            f"{grid.spacing_in_mm / high:.3g} mm or more."
        )
    if grid.ratio < low * (1 - ROUNDING):
        return (
            f"{said}. The result may be no better than interpolation; ask for {grid.spacing_in_mm / low:.3g} mm or "
            "less to stay within."
        )
    return ""


def _of_thickness(tau: float) -> str:
    if tau <= TRAINED_TAU_MAX * (1 + ROUNDING):
        return ""
    return (
        f"The slices overlap: each is {tau:.3g} times as thick as they are apart, and the weights were trained for up "
        f"to {TRAINED_TAU_MAX:g} times. Check the thickness; the result may be too smooth or too sharp."
    )


Gaps = tuple[tuple[Gap, slice], ...]
"""Gaps of the scan, each with the output slices that lie in it."""


def gaps_within(grid: SliceGrid, kept: slice) -> Gaps:
    """The gaps that a result touches.

    Args:
        grid: The slices that are computed.
        kept: Those of them that are the result; output slices are counted from its first.
    """
    own = grid.acquisition
    if own is None:
        return ()
    first, stop, _ = kept.indices(grid.n_out)
    places_mm = grid.first_mm + np.arange(first, stop) * grid.spacing_out_mm
    tolerance = ROUNDING * grid.spacing_in_mm
    found = []
    for gap in own.gaps:
        inside = slice(*np.searchsorted(places_mm, (gap.first_mm + tolerance, gap.last_mm - tolerance)).tolist())
        if inside.start < inside.stop:
            found.append((gap, inside))
    return tuple(found)


def check_gaps(gaps: Gaps, fill_gaps: bool) -> None:
    """Refuse a scan with gaps unless they were asked to be filled, or one slice is missing in all.

    Raises:
        GeometryError: More are missing.
    """
    missing = sum(gap.missing for gap, _ in gaps)
    if missing > 1 and not fill_gaps:
        where = (f"{gap.missing} after slice {gap.after + 1}, at {gap.first_mm:.4g} mm" for gap, _ in gaps)
        raise GeometryError(
            f"{missing} slices are missing, counted from the first one: {'; '.join(where)}. Load the complete series. "
            "Or fill the gaps with what the slices around them suggest: --fill-gaps on the command line, "
            "fill_gaps=True in Python, Gaps in the panel; the result says where they are."
        )


def uneven_warnings(grid: SliceGrid, gaps: Gaps) -> tuple[str, ...]:
    """Sentences on changes of spacing and on what lies in gaps; slices are counted from 1."""
    own = grid.acquisition
    if own is None:
        return ()
    found = []
    if len(own.parts) > 1:
        found.append(
            f"The distance between slices changes: {', '.join(part.words for part in own.parts)}. Each part was "
            "computed for its own, and the result is even; expect less detail where slices are thicker."
        )
    if gaps:
        missing = sum(gap.missing for gap, _ in gaps)
        after = " and ".join(str(gap.after + 1) for gap, _ in gaps)
        found.append(
            f"{'One slice is' if missing == 1 else f'{missing} slices are'} missing after slice {after}. Nothing was "
            f"acquired there: the result's {text_of_gaps(inside for _, inside in gaps)} only show what the slices "
            "around suggest."
        )
    return tuple(found)
