"""Intensities between the scanner's units and the network's, about [-1, 1.7], and back into the scan's own type.

CT uses one fixed map for all scans, since HU are absolute. MR has no unit: its 99.9th percentile becomes the top of
the range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CT_CENTRE_HU, _CT_SCALE_HU = 484.0, 1512.0
_MR_CENTRE, _MR_SCALE = 0.3, 0.5
_PERCENTILE = 99.9
_PERCENTILE_SAMPLES = 2_000_000


@dataclass(frozen=True)
class IntensityScale:
    """Network value = (intensity - centre) / scale."""

    centre: float
    scale: float

    @property
    def hu(self) -> float:
        """One Hounsfield unit in the volume's units; for MR what is as much to the network."""
        return self.scale / _CT_SCALE_HU

    def to_network(self, values: np.ndarray) -> np.ndarray:
        """Intensities of any type -> float32 network values."""
        return (np.asarray(values, dtype=np.float32) - np.float32(self.centre)) * np.float32(1 / self.scale)

    def from_network(self, values: np.ndarray) -> np.ndarray:
        return values * np.float32(self.scale) + np.float32(self.centre)


@dataclass(frozen=True)
class ValueRange:
    """Lowest and highest value of a scan, in its own type; no value of a result lies outside.

    The network computes in float32, which rounds wide integers: the largest one of 32 bits becomes 2147483648, which
    that type wraps round to its smallest.
    """

    low: np.generic
    high: np.generic

    @classmethod
    def of(cls, array: np.ndarray) -> ValueRange:
        return cls(array.min(), array.max())

    def write(self, values: np.ndarray, target: np.ndarray) -> None:
        """Put float32 ``values``, rounded if ``target`` is of integers, into ``target`` of the scan's type."""
        if np.can_cast(target.dtype, np.float32):
            np.copyto(target, np.clip(values, np.float32(self.low), np.float32(self.high)), casting="unsafe")
            return
        if target.dtype.kind in "iu":
            values = np.clip(values, *_float32_limits(target.dtype))
        np.clip(values.astype(target.dtype), self.low, self.high, out=target)


def _float32_limits(dtype: np.dtype) -> tuple[np.float32, np.float32]:
    """The lowest and the highest float32 that an integer type holds."""
    limits = np.iinfo(dtype)
    high = np.float32(limits.max)
    return np.float32(limits.min), np.nextafter(high, np.float32(0)) if int(high) > limits.max else high


def robust_maximum(array: np.ndarray, valid: np.ndarray | None = None) -> float:
    """99.9th percentile above the minimum, from an even sample of at most 2 million voxels; never 0.

    Args:
        array: Any shape.
        valid: Mask of that shape, of the voxels that count; None for all.
    """
    some = slice(None, None, max(1, array.size // _PERCENTILE_SAMPLES))
    sample = array.reshape(-1)[some]
    if valid is not None and valid.any():
        sample = sample[valid.reshape(-1)[some]] if valid.reshape(-1)[some].any() else array[valid]
    low = float(sample.min())
    return max(float(np.percentile(sample, _PERCENTILE)) - low, 1e-6)


def intensity_scale(
    array: np.ndarray, modality: str, valid: np.ndarray | None = None, offset: float = 0.0
) -> IntensityScale:
    """The map for one volume: fixed for ``"CT"``, from the volume's own range for ``"MR"``.

    Args:
        array: Without padding, or with values in its place that lie between those of the others.
        modality: ``"CT"`` or ``"MR"``.
        valid: Which voxels are no padding; None for all.
        offset: What makes HU of a CT's values when it is added.
    """
    if modality == "CT":
        return IntensityScale(_CT_CENTRE_HU - offset, _CT_SCALE_HU)
    top, low = robust_maximum(array, valid), float(array.min())
    return IntensityScale(low + _MR_CENTRE * top, _MR_SCALE * top)
