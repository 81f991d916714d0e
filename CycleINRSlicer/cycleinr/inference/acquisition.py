"""What 2D MR acquisitions do to a stack of slices, told to the reader before the result is trusted."""

from __future__ import annotations

import math

import numpy as np

from ..grid import AXIS_OF_ARRAY, COLUMN_OF_AXIS, to_axis_first
from ..interleaved_motion import interleaved_displacement
from ..slice_brightness import log_gains, typical_step
from ..volume import Volume

STEP_SHARE = 0.025
"""Nine MR scans without bands: 0.3 to 0.9 %; one with bands that anyone sees: 7 %."""

DISPLACEMENT_PIXELS, AGREEMENT = 0.25, 0.8
"""Eight MR scans at rest: up to 0.11 pixels, 55 to 67 % of the slices; a fetus that moved: 0.9 pixels, all slices."""

_WATCHED_SLICES = 48
"""2D acquisitions have hardly more slices, and the panel asks on its own thread: the middle ones of a 3D scan do."""


def acquisition_warnings(volume: Volume, axis: str, equalized: bool) -> tuple[str, ...]:
    """Sentences on brightness steps and on interleaved motion of an MR scan, none where all is well.

    Args:
        volume: The acquired scan.
        axis: Through-plane axis.
        equalized: Whether brightness is evened out for the network.
    """
    whole = to_axis_first(volume.array, axis)
    first = max(0, (len(whole) - _WATCHED_SLICES) // 2)
    stack = whole[first : first + _WATCHED_SLICES]
    return tuple(text for text in (_of_brightness(stack, equalized), _of_motion(volume, stack, axis)) if text)


def _of_brightness(stack: np.ndarray, equalized: bool) -> str:
    step = typical_step(log_gains(stack))
    if step <= STEP_SHARE:
        return ""
    said = f"The brightness jumps by {step:.0%} from slice to slice, as in many 2D acquisitions"
    if equalized:
        return f"{said}. It was evened out for the network, and the result has the acquired slices' brightness again."
    return f"{said}: expect bands across the slices. Equalizing the slices (--equalize-slices) softens them."


def _of_motion(volume: Volume, stack: np.ndarray, axis: str) -> str:
    found = interleaved_displacement(stack)
    if math.hypot(found.rows, found.columns) < DISPLACEMENT_PIXELS or found.agreement < AGREEMENT:
        return ""
    letters = sorted((letter for letter in AXIS_OF_ARRAY if letter != axis), key=AXIS_OF_ARRAY.get)
    rows_mm, columns_mm = (volume.spacing_ijk_mm[COLUMN_OF_AXIS[letter]] for letter in letters)
    mm = math.hypot(found.rows * rows_mm, found.columns * columns_mm)
    return (
        f"Odd and even slices lie {mm:.1f} mm apart in the plane, as after motion between interleaved acquisitions: "
        "expect double contours and ragged edges in the new slices. Nothing corrects this; compare with the acquired "
        "slices."
    )
