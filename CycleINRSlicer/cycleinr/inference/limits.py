"""What a reader should know of a request that can be done but is outside what the weights were trained for."""

from __future__ import annotations

from collections.abc import Mapping

from ..grid import ISOTROPY_TOLERANCE, ROUNDING, SliceGrid
from ..profile import TRAINED_TAU_MAX


def limit_warnings(grid: SliceGrid, tau: float, card: Mapping) -> tuple[str, ...]:
    """Sentences for a person, none where all is well.

    Args:
        grid: The output slices.
        tau: Slice thickness / slice spacing of the acquired slices.
        card: The weights' model card; without ``training.ratios`` nothing is said of the ratio.
    """
    if grid.n_in == grid.n_out and abs(grid.ratio - 1) <= ISOTROPY_TOLERANCE:
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
