"""Voxel values on their way through the network: padding filled and put back, slices' brightness evened and put back,
and intensities to the network's units, about [-1, 1.7], and back into the scan's own type.

CT uses one fixed map for all scans, since HU are absolute. MR has no unit: its 99.9th percentile becomes the top of
the range. Padding, outside the reconstructed field, would be an edge that no scan has and bleed as far as the network
looks. So it is filled with values that continue the slice, and put back into the result as it was.

Each slice of a 2D MR acquisition has a gain of its own (cross-talk, interleaved order, receiver). Anatomy and coils
change the brightness too, but slowly, so a slice's gain is what its brightness has beyond the smooth course along the
slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .grid import from_axis_first, to_axis_first
from .volume import Volume

_CT_CENTRE_HU, _CT_SCALE_HU = 484.0, 1512.0
_MR_CENTRE, _MR_SCALE = 0.3, 0.5
_PERCENTILE = 99.9
_PERCENTILE_SAMPLES = 2_000_000
_MR_RANGE = 1000.0


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
        """Put float32 ``values`` into ``target`` of the scan's type, rounded where that is of integers."""
        values = np.rint(values) if target.dtype.kind in "iu" else values
        if np.can_cast(target.dtype, np.float32):
            np.copyto(target, np.clip(values, np.float32(self.low), np.float32(self.high)), casting="unsafe")
            return
        if target.dtype.kind in "iu":
            limits = np.iinfo(target.dtype)
            top = np.float32(limits.max)
            # The highest float32 that the type holds
            top = np.nextafter(top, np.float32(0)) if int(top) > limits.max else top
            values = np.clip(values, np.float32(limits.min), top)
        np.clip(values.astype(target.dtype), self.low, self.high, out=target)


def robust_maximum(array: np.ndarray, valid: np.ndarray | None = None) -> float:
    """99.9th percentile above the minimum, from an even sample of at most 2 million valid voxels; never 0."""
    some = slice(None, None, max(1, array.size // _PERCENTILE_SAMPLES))
    sample = array.reshape(-1)[some]
    if valid is not None and valid.any():
        sample = sample[valid.reshape(-1)[some]] if valid.reshape(-1)[some].any() else array[valid]
    low = float(sample.min())
    return max(float(np.percentile(sample, _PERCENTILE)) - low, 1e-6)


def unit_of(scan: Volume, modality: str) -> float:
    """What errors are counted in: 1 HU, or a thousandth of an MR scan's range up to its 99.9th percentile."""
    return 1.0 if modality == "CT" else robust_maximum(scan.array, scan.valid) / _MR_RANGE


def intensity_scale(
    array: np.ndarray, modality: str, valid: np.ndarray | None = None, offset: float = 0.0
) -> IntensityScale:
    """The map for one volume: fixed for ``"CT"``, from the volume's own range for ``"MR"``.

    Args:
        array: Without padding, or with it filled.
        modality: ``"CT"`` or ``"MR"``.
        valid: Which voxels are no padding; None for all.
        offset: What makes HU of a CT's values when it is added.
    """
    if modality == "CT":
        return IntensityScale(_CT_CENTRE_HU - offset, _CT_SCALE_HU)
    top, low = robust_maximum(array, valid), float(array.min())
    return IntensityScale(low + _MR_CENTRE * top, _MR_SCALE * top)


def filled(volume: Volume, axis: str) -> Volume:
    """The scan with values that make no edge in the place of its padding; itself without padding, or if it is all.

    Slices across ``axis`` are filled each for its own. The ``valid`` mask stays.
    """
    if volume.valid is None or not volume.valid.any():
        return volume
    stack, valid = (to_axis_first(each, axis) for each in (volume.array, volume.valid))
    out = np.array(stack, order="C")
    recipes, made_for = [], None
    for image, mask in zip(out, valid, strict=True):
        # Most scans have one field for all slices
        if made_for is None or not np.array_equal(mask, made_for):
            recipes, made_for = _recipes(mask), mask
        flat = image.reshape(-1)
        for targets, sources, weights in recipes:
            values = (weights * flat[sources]).sum(axis=0)
            flat[targets] = np.rint(values) if out.dtype.kind in "iu" else values
    seen = valid.any(axis=(1, 2))
    whole = np.flatnonzero(seen)
    for n in np.flatnonzero(~seen):
        out[n] = out[whole[np.abs(whole - n).argmin()]]
    return replace(volume, array=from_axis_first(out, axis))


def valid_in_result(valid: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Which voxels of a result are no padding, (n_out, rows, columns) of bool.

    The nearest acquired slice decides, since a slice stands for what lies nearer to it than to any other: beyond that
    a voxel would be made of filled values alone. In the middle between two, one that is measured is enough.

    Args:
        valid: (n_in, rows, columns) of bool, of the acquired slices.
        positions: (n_out,) in units of acquired slices.
    """
    below, above = _nearest(positions, len(valid))
    return valid[below] | valid[above]


def put_padding_back(result: np.ndarray, acquired: Volume, axis: str, positions: np.ndarray) -> np.ndarray | None:
    """Write the padding of the nearest acquired slice into a result (K, J, I), in place.

    Returns:
        Which of its voxels are no padding; None for all.
    """
    if acquired.valid is None:
        return None
    fine, stack = (to_axis_first(each, axis) for each in (result, acquired.array))
    measured = valid_in_result(to_axis_first(acquired.valid, axis), positions)
    for image, here, n in zip(fine, measured, _nearest(positions, len(stack))[0], strict=True):
        image[~here] = stack[n][~here]
    return from_axis_first(measured, axis)


def _nearest(positions: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the acquired slices nearest to each position; they differ in the middle between two."""
    below, above = np.ceil(positions - 0.5 - 1e-6), np.floor(positions + 0.5 + 1e-6)
    return tuple(np.clip(each, 0, count - 1).astype(int) for each in (np.minimum(below, above), above))


def _recipes(valid: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """How padding is made of measured pixels: flat indices of both, (n,) and (4, n), and weights (4, n) that sum to 1.

    Each invalid pixel is the mean of the nearest valid ones along its row and column, weighted by 1 / distance^2. Of
    ten ways that were tried this one changes the pixels inside least against a scan that goes on outside. Pixels
    without a valid one in row and column are made of those that are made first.
    """
    found, known, width = [], valid.copy(), valid.shape[1]
    while known.any() and not known.all():
        rows, columns = np.nonzero(~known)
        sources, weights = [], []
        for others, line, here, strides in ((known, rows, columns, (width, 1)), (known.T, columns, rows, (1, width))):
            index = np.arange(others.shape[1], dtype=np.int32)
            before = np.maximum.accumulate(np.where(others, index, -1), axis=1)[line, here]
            after = np.minimum.accumulate(np.where(others, index, len(index))[:, ::-1], axis=1)[:, ::-1][line, here]
            for source, there in ((before, before >= 0), (after, after < len(index))):
                # What is nowhere has no weight; any valid pixel may stand for it
                weights.append(there / np.maximum(np.abs(here - source), 1).astype(np.float64) ** 2)
                sources.append(np.where(there, line * strides[0] + source * strides[1], known.argmax()))
        weight = np.stack(weights)
        reached = weight.any(axis=0)
        targets = (rows * width + columns)[reached]
        found.append((targets, np.stack(sources)[:, reached], weight[:, reached] / weight[:, reached].sum(axis=0)))
        known.reshape(-1)[targets] = True
    return found


_TISSUE_SHARE = 0.15
_FEW_PIXELS = 2000
"""With fewer pixels of tissue, differences of the anatomy look like gains."""

_PIXELS_ACROSS = 160
_SMOOTH_COURSE = np.array([1, 4, 6, 4, 1]) / 16
"""Binomial weights; a gain that alternates from slice to slice is wholly outside of what they let through."""


def log_gains(stack: np.ndarray) -> np.ndarray:
    """Natural logarithm of each slice's gain against the smooth course, (slices,) float64.

    Args:
        stack: (slices, rows, columns), intensities whose zero means no signal.
    """
    course = np.concatenate([[0.0], np.cumsum(_log_ratios(stack))])
    reach = len(_SMOOTH_COURSE) // 2
    # Odd reflection: a course that rises at an end goes on rising
    padded = np.pad(course, reach, mode="reflect", reflect_type="odd")
    return course - np.convolve(padded, _SMOOTH_COURSE, mode="valid")


def step_across(stack: np.ndarray) -> int:
    """Every so-manieth row and column of slices tells enough of their brightness and place."""
    return max(1, min(stack.shape[1:]) // _PIXELS_ACROSS)


def _log_ratios(stack: np.ndarray) -> np.ndarray:
    """Logarithm of the median ratio of each slice to the one before, over the tissue that both show."""
    step = step_across(stack)
    small = stack[:, ::step, ::step].astype(np.float32)
    limit = _TISSUE_SHARE * robust_maximum(small) + max(0.0, float(small.min()))
    ratios = np.zeros(len(small) - 1)
    for n, (before, after) in enumerate(zip(small[:-1], small[1:], strict=True)):
        tissue = (before > limit) & (after > limit)
        if np.count_nonzero(tissue) >= _FEW_PIXELS:
            ratios[n] = np.median(np.log(after[tissue] / before[tissue]))
    return ratios
