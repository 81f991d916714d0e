"""16-bit stored values that give a volume's values back, exactly wherever that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..volume import Volume

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

    @property
    def dtype(self) -> np.dtype:
        """Little endian, 16 bits."""
        return np.dtype("<i2" if self.signed else "<u2")

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Stored values of any array of values."""
        limits = np.iinfo(self.dtype)
        steps = np.rint((values.astype(np.float64) - self.intercept) / self.slope)
        return np.clip(steps, limits.min, limits.max).astype(self.dtype)

    def stored_exactly(self, value: float) -> int | None:
        """Stored value of one value, None if there is none that means exactly it."""
        step = (value - self.intercept) / self.slope
        limits = np.iinfo(self.dtype)
        return int(step) if step == int(step) and limits.min <= step <= limits.max else None


def choose_storage(volume: Volume, rescales: Sequence[tuple[float, float]], signed: bool) -> Storage:
    """Choose slope, intercept and sign.

    The source's own come first, then whole numbers, then whole numbers from the lowest value on. Only values that fit
    none of these are rounded to 65,536 levels between the lowest and the highest.

    Args:
        rescales: (slope, intercept) that the source uses.
        signed: Whether the source's stored values are signed; kept where both would do.

    Raises:
        InputError: The volume holds values that are no finite numbers.
    """
    array = volume.array
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise InputError(
            "The volume holds values that are no finite numbers, which DICOM cannot store. "
            "Replace them (for example by the value of air) first."
        )
    for slope, intercept in (*rescales, (1.0, 0.0), (1.0, low)):
        fit = _exact(array, float(decimal_string(slope)), float(decimal_string(intercept)), signed)
        if fit is not None:
            return fit
    slope = float(decimal_string((high - low) / _LEVELS)) or 1.0
    levels = Storage(slope, float(decimal_string(low)), signed=False)
    return replace(levels, max_error=max(_error(values, levels) for values in array))


def decimal_string(number: float) -> pydicom.valuerep.DSfloat:
    """A number as a decimal string (DS) of at most 16 characters."""
    from pydicom.valuerep import DSfloat, format_number_as_ds

    return DSfloat(format_number_as_ds(float(number)).removesuffix(".0"))


def _exact(array: np.ndarray, slope: float, intercept: float, signed: bool) -> Storage | None:
    """The storage with this slope and intercept if every value survives in the array's own type, else None."""
    if not slope > 0:
        return None
    bounds = (np.array([array.min(), array.max()], np.float64) - intercept) / slope
    low, high = np.rint(bounds)
    unsigned_fits, signed_fits = low >= 0 and high <= _LEVELS, low >= -32768 and high <= 32767
    if not (unsigned_fits or signed_fits):
        return None
    storage = Storage(slope, intercept, signed_fits and (signed or not unsigned_fits))
    return storage if all(_error(values, storage) == 0 for values in array) else None


def _error(values: np.ndarray, storage: Storage) -> float:
    """Largest difference after a round trip, as the array's type can tell it."""
    back = storage.stored(values) * storage.slope + storage.intercept
    if values.dtype.kind == "f":
        back = back.astype(values.dtype).astype(np.float64)
    return float(np.abs(back - values).max())
