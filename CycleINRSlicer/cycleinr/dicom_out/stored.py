"""16-bit stored values that give a volume's values back, exactly wherever that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .. import InputError

if TYPE_CHECKING:
    import pydicom

_LEVELS = 65535


@dataclass(frozen=True)
class Storage:
    """How values become stored values: value = slope * stored + intercept.

    Attributes:
        slope: Rescale Slope (0028,1053), exactly as its decimal string reads.
        intercept: Rescale Intercept (0028,1052), likewise.
        signed: Pixel Representation (0028,0103).
        max_error: Largest difference between a value and what its stored value means, in the volume's units.
    """

    slope: float
    intercept: float
    signed: bool
    max_error: float = 0.0

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Stored values of any array of values: little endian, 16 bits."""
        dtype = np.dtype("<i2" if self.signed else "<u2")
        steps = np.rint((values.astype(np.float64) - self.intercept) / self.slope)
        return np.clip(steps, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)

    def error(self, values: np.ndarray) -> float:
        """Largest difference after a round trip, as the array's type can tell it."""
        back = self.stored(values) * self.slope + self.intercept
        if values.dtype.kind == "f":
            back = back.astype(values.dtype).astype(np.float64)
        return float(np.abs(back - values).max())

    def stored_exactly(self, value: float) -> int | None:
        """Stored value of one value, None if there is none that means exactly it."""
        values = np.array([value], np.float64)
        return None if self.error(values) else int(self.stored(values)[0])


def choose_storage(array: np.ndarray, rescales: Sequence[tuple[float, float]], signed: bool) -> Storage:
    """Choose slope, intercept and sign.

    The source's own come first, then whole numbers, then whole numbers from the lowest value on. Only values that fit
    none of these are rounded to 65,536 levels between the lowest and the highest.

    Args:
        array: (K, J, I) values.
        rescales: (slope, intercept) that the source uses.
        signed: Whether the source's stored values are signed; kept where both would do.

    Raises:
        InputError: The volume holds values that are no finite numbers.
    """
    ends = np.array([array.min(), array.max()])
    low, high = map(float, ends)
    if not np.isfinite(ends).all():
        raise InputError(
            "The volume holds values that are no finite numbers, which DICOM cannot store. "
            "Replace them (for example by the value of air) first."
        )
    for slope, intercept in (*rescales, (1.0, 0.0), (1.0, low)):
        for kind in (signed, not signed):
            tried = Storage(float(decimal_string(slope)), float(decimal_string(intercept)), kind)
            if tried.slope > 0 and all(tried.error(values) == 0 for values in (ends, *array)):
                return tried
    slope = float(decimal_string((high - low) / _LEVELS)) or 1.0
    levels = Storage(slope, float(decimal_string(low)), signed=False)
    return replace(levels, max_error=max(map(levels.error, array)))


def decimal_string(number: float) -> pydicom.valuerep.DSfloat:
    """A number as a decimal string (DS) of at most 16 characters."""
    from pydicom.valuerep import DSfloat, format_number_as_ds

    return DSfloat(format_number_as_ds(float(number)).removesuffix(".0"))
