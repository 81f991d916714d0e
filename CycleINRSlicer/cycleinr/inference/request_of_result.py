"""The request that a result answers, from how it was made. Imports no torch."""

from __future__ import annotations

from ..errors import ModelError, RequestError
from ..grid import COLUMN_OF_AXIS, Target, acquired_spacings, uneven_slices
from ..network.weights import read_card
from ..result import Provenance, Result
from ..volume import Volume
from .models import BUNDLED, find_weights
from .options import Region, UpsampleOptions


def options_of_result(scan: Volume, result: Result, model: str = "auto") -> UpsampleOptions:
    """The options with which ``upsample`` makes this result of this scan again.

    Args:
        scan: The acquired scan.
        result: What was made of it.
        model: The weights file, where they do not come with CycleINR.

    Raises:
        RequestError: The provenance names no axis.
        ModelError: The weights are not there, or are others than those that the result was made with.
    """
    how = result.provenance
    if how.axis not in COLUMN_OF_AXIS:
        raise RequestError(f"The result's provenance names the axis {how.axis!r}. Make the result again.")
    column = COLUMN_OF_AXIS[how.axis]
    spacing_mm = min(acquired_spacings(scan, how.axis))
    return UpsampleOptions(
        target=Target(ratio=max(1.0, spacing_mm / result.volume.spacing_ijk_mm[column])),
        axis=how.axis,
        extent=how.extent,
        thickness_mm=_thickness_mm(scan, how),
        model=_model_of(result, model),
        intensity_offset=float(how.more.get("intensity_offset", 0)),
        equalize_slices=how.more.get("equalized_slices") == "yes",
        fill_gaps="gaps" in how.more,
        region=Region.of(how.more["region"]) if "region" in how.more else None,
    )


def _thickness_mm(scan: Volume, how: Provenance) -> float | None:
    """What gives the result's relative thickness again; one number does not say it of slices that are not even."""
    if uneven_slices(scan) is None:
        return how.tau * scan.spacing_ijk_mm[COLUMN_OF_AXIS[how.axis]]
    asked = how.more.get("thickness_mm")
    return None if asked is None else float(asked)


def _model_of(result: Result, model: str) -> str:
    how = result.provenance
    for name in BUNDLED if model == "auto" else (model,):
        if read_card(find_weights(name))["sha256"] == how.weights_sha256:
            return name
    given = "which do not come with this version" if model == "auto" else f"and {model} are others"
    raise ModelError(
        f"The result was made with the weights {how.model}, {given}. Make the result again, or give the file of its "
        "weights as the model."
    )
