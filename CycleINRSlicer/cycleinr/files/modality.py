"""Telling CT from MR where the file does not say."""

from __future__ import annotations

import numpy as np

from ..volume import Volume

AIR_HU = -500
SURELY_AIR_HU = -900
AIR_SHARE = 0.01


def guess_modality(volume: Volume) -> tuple[str, str]:
    """Guess the modality from the values: only CT in HU has air far below zero.

    :returns: "CT" or "MR", and one sentence that says why.
    """
    array = volume.array
    share = np.count_nonzero(array <= AIR_HU) / array.size
    if share > AIR_SHARE:
        return "CT", f"{share:.0%} of the values are {AIR_HU} or lower, as air is in CT."
    if np.any(array <= SURELY_AIR_HU):
        return "CT", f"The lowest value is {np.nanmin(array):g}, as air is in CT; MR has no such values."
    return "MR", (
        f"The lowest value is {np.nanmin(array):g} and only {share:.2%} are {AIR_HU} or lower, "
        "so this is no CT in Hounsfield units."
    )
