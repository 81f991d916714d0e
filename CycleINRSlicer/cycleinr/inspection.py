"""What the voxels of a scan tell, looked at once: which are padding, their range, whether they are CT or MR, and what a
2D MR acquisition did to the stack: brightness that jumps from slice to slice, and odd slices that lie beside even ones,
as after motion between interleaved halves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from . import InputError, ModalityError
from .grid import AXIS_OF_ARRAY, pixel_mm_of, through_plane_axis, to_axis_first
from .intensity import filled, log_gains, step_across
from .resampling import smoothed
from .volume import Volume

_LOWEST_CT, _PADDING_SHARE = -1024.0, 0.001
"""HU; a lower value that so many voxels share is padding."""

_AIR_HU, _BELOW_AIR_HU, _AIR_SHARE = -500.0, -1500.0, 0.001
_SAMPLES = 500_000
_LABELS, _FLAT_SHARE = 256, 0.6
"""Label maps have few values, and most pixels have that of their neighbour: 90 % and more; 8-bit MR 10 %, CT 26 %."""

_NEGATIVE_SHARE, _NEGATIVE_DEPTH = 0.02, 0.02
_SOFT_TISSUE_HU = (10, 80)
_NORMALISED_SPAN, _BACKGROUND_SHARE = 30.0, 0.1
_WATER_WITH_OFFSET, _WATER_SHARE = (900.0, 1150.0), 0.28
"""Share of what is above 500: 32 to 86 % in CT + 1024, up to 21 % in MR (41 scans)."""

_NARROW_SHARE = 0.26
"""Soft tissue of CT in 5 % of the range: 25 to 66 %, of MR up to 23 %."""

_SOFT_TISSUE_TOP, _FEW_BACKGROUND = 150.0, 0.05
_SATURATED_SHARE = 0.005
"""Voxels at 255: 2 % and more in CT windowed to 8 bits, 0.05 % in 8-bit MR."""

_WARM_SHARE = 0.2
"""Share of the tissue that is brighter than a quarter of the range: 33 % and more in MR; PET has few hot spots."""

_CHOOSE = "Choose the model ct or mr (--model)."


@dataclass(frozen=True, eq=False)
class Inspection:
    """A scan's voxels, once looked at; values are the scan's own, without any offset.

    Attributes:
        valid: (K, J, I) of bool, False where a voxel is padding; None where all are measured.
        low, high: Range of the measured values.
        padding: How many voxels are padding.
        problem: Why nothing can be computed from these values, for people; empty where it can.
        modality: "CT" or "MR", by what the scan says or else by its values; None where they leave it open.
        reason: Why, or what else they may be, for people.
        labels: How many labels the values are those of, if they are a mask's; else 0.
    """

    valid: np.ndarray | None
    low: float
    high: float
    padding: int
    problem: str
    modality: str | None
    reason: str
    labels: int
    _artifacts: dict[str, SliceArtifacts] = field(default_factory=dict)

    def artifacts(self, volume: Volume, axis: str) -> SliceArtifacts:
        """What a 2D MR acquisition did to the same volume, measured when it is first asked for."""
        if axis not in self._artifacts:
            self._artifacts[axis] = SliceArtifacts.of(replace(volume, valid=self.valid), axis)
        return self._artifacts[axis]

    def checked_modality(self) -> str:
        """``modality``.

        Raises:
            ModalityError: The values leave it open.
        """
        if self.modality is None:
            raise ModalityError(self.reason)
        return self.modality

    @property
    def note(self) -> str:
        """How much is padding, for people; empty where nothing is."""
        if self.valid is None:
            return ""
        share = 100 * self.padding / self.valid.size
        return (
            f"{share:.2g} % of the voxels ({self.padding}) are padding outside the reconstructed field; they do not "
            "influence the others, and the result has them again."
        )


def inspect(volume: Volume, intensity_offset: float = 0.0) -> Inspection:
    """Look at all voxels of a scan.

    Padding is what ``Volume.valid`` says, values that are no finite numbers and, unless the scan says that it is MR, a
    value below -1024 HU that many voxels have.

    Args:
        volume: The acquired scan.
        intensity_offset: What makes HU of a CT's values when it is added.
    """
    valid, low, high = _measured(volume, intensity_offset)
    padding = 0 if valid is None else int(valid.size - np.count_nonzero(valid))
    problem, labels = _problem(volume.array, padding, low, high), 0
    if volume.modality is not None:
        modality, reason = volume.modality, f"the scan says that it is {volume.modality}."
    elif problem:
        modality, reason = None, problem
    else:
        values = sampled(volume.array, valid)
        whole = volume.array.dtype.kind in "iu" or bool((values == np.rint(values)).all())
        modality, reason = _modality_of(values + intensity_offset, whole)
        if modality is None and intensity_offset:
            reason += f" The intensity offset {intensity_offset:g} had been added; leave it away if they are HU."
        if labels := _labels_in(volume.array, values) if whole else 0:
            modality = None
            reason = (
                f"The values are those of a mask: {labels} whole numbers in flat areas, without detail to make finer. "
                "Give the scan that it was drawn on; if this is one, choose the model ct or mr (--model)."
            )
    return Inspection(valid, low, high, padding, problem, modality, reason, labels)


def without_padding(volume: Volume) -> Volume:
    """The scan with its modality, and with values in the place of padding that make no edge; for measurements.

    Raises:
        InputError: Nothing can be computed from its values.
        ModalityError: CT or MR is not known, and the values leave it open.
    """
    seen = inspect(volume)
    if seen.problem:
        raise InputError(seen.problem)
    told = replace(volume, modality=seen.checked_modality(), valid=seen.valid)
    return replace(filled(told, through_plane_axis(told)), valid=None)


def _measured(volume: Volume, offset: float) -> tuple[np.ndarray | None, float, float]:
    """Which voxels are measured, and their lowest and highest value."""
    array, valid = volume.array, volume.valid
    low, high = _range(array, valid)
    if not np.isfinite([low, high]).all():
        finite = np.isfinite(array)
        valid = finite if valid is None else valid & finite
        low, high = _range(array, valid)
    while low + offset < _LOWEST_CT and volume.modality != "MR":
        same, below = array == low, array < _LOWEST_CT - offset
        if valid is not None:
            same, below = same & valid, below & valid
        count = np.count_nonzero(same)
        if count < max(2, _PADDING_SHARE * array.size, np.count_nonzero(below) - count):
            break
        valid = ~same if valid is None else valid & ~same
        low, high = _range(array, valid)
    return (None if valid is None or valid.all() else valid), low, high


def _range(array: np.ndarray, valid: np.ndarray | None) -> tuple[float, float]:
    if valid is None:
        return array.min().item(), array.max().item()
    # A slice at a time: boolean indexing of the whole would copy it
    ends = [(some.min(), some.max()) for some in map(np.ndarray.__getitem__, array, valid) if some.size]
    return (min(low for low, _ in ends).item(), max(high for _, high in ends).item()) if ends else (0.0, 0.0)


def _problem(array: np.ndarray, padding: int, low: float, high: float) -> str:
    if padding == array.size:
        return "Every voxel of the volume is padding: it holds no measured value. Check the input."
    if max(abs(low), abs(high)) > float(np.finfo(np.float32).max):
        return (
            f"The volume holds values from {low:g} to {high:g}, which is more than 32-bit floating point, in which the "
            "network computes, can hold. Scale the values first."
        )
    if low == high:
        return f"Every voxel of the volume is {low:g}: there is nothing to sharpen. Check the input."
    return ""


def _modality_of(values: np.ndarray, whole: bool) -> tuple[str | None, str]:
    """ "CT", "MR" or None by a sample of the values, and why; ``whole``: they are whole numbers without offset."""
    air = float((values <= _AIR_HU).mean())
    if air > _AIR_SHARE:
        below = float((values < _BELOW_AIR_HU).mean())
        if below > _NEGATIVE_SHARE:
            return None, f"{_percent(below)} of the values are below -1500, which is less than air is in CT. {_CHOOSE}"
        return "CT", f"{_percent(air)} of the values are -500 or lower, as air is in CT."
    low, top = (float(each) for each in np.percentile(values, [0.5, 99.9]))
    span = max(top - low, 1e-6)
    why = _of_negatives(values, low, span, whole) if values.min() < 0 else ""
    why = why or _unlike_mr(values, low, span, whole)
    return (None, why) if why else ("MR", "nothing in the values speaks for CT.")


def _of_negatives(values: np.ndarray, low: float, span: float, whole: bool) -> str:
    """What values below zero tell, without air; empty for the few that interpolation leaves in MR."""
    negative = float((values < 0).mean())
    if span < _NORMALISED_SPAN and not whole:
        if (values < low + span / 20).mean() > _BACKGROUND_SHARE or (values == np.median(values)).mean() > 0.1:
            return ""
    elif negative <= _NEGATIVE_SHARE and low >= -_NEGATIVE_DEPTH * span:
        counts = np.histogram(values, np.arange(-150.5, 151.5))[0]
        if not _SOFT_TISSUE_HU[0] <= counts.argmax() - 150 <= _SOFT_TISSUE_HU[1]:
            return ""
    return (
        f"Some values ({_percent(negative)}) are negative, unlike in MR, and few or none are as low as air in CT: "
        f"it may be CT cropped to tissue, or a difference or phase image. {_CHOOSE}"
    )


def _unlike_mr(values: np.ndarray, low: float, span: float, whole: bool) -> str:
    """What values from zero on are that are not MR's, for people; empty where they may well be MR."""
    high = values[values > 500]
    water = float(((high > _WATER_WITH_OFFSET[0]) & (high < _WATER_WITH_OFFSET[1])).mean()) if high.size else 0.0
    if water > _WATER_SHARE and high.size > 0.05 * values.size:
        return (
            f"These values look like CT stored with + 1024: {_percent(water)} of those above 500 lie between 900 and "
            "1150, as water then does. Give the intensity offset -1024 (--intensity-offset -1024), or the model mr "
            "(--model mr) if this is MR."
        )
    saturated = float((values == 255).mean())
    if whole and values.max() == 255 and saturated > _SATURATED_SHARE:
        return (
            f"These values look like an image windowed to 8 bits: {_percent(saturated)} are 255, so what was brighter "
            "is lost. Give the scan as the scanner stored it, or the model mr (--model mr) if this is MR."
        )
    if whole and low + span < _SOFT_TISSUE_TOP and (values < low + span / 20).mean() < _FEW_BACKGROUND:
        return (
            f"All values lie between {values.min():.4g} and {values.max():.4g}, as soft tissue does in CT, and no "
            f"background tells more. {_CHOOSE}"
        )
    tissue = (values[values > low + 0.03 * span] - low) / span
    if not tissue.size:
        return ""
    counts = np.histogram(tissue, 100, (0, 1))[0][12:]
    if np.convolve(counts, np.ones(5)).max() > _NARROW_SHARE * tissue.size:
        return (
            f"Most of the tissue has nearly one brightness, as in CT, but the values are no Hounsfield units. {_CHOOSE}"
        )
    warm = float((tissue > 0.25).mean())
    if warm < _WARM_SHARE:
        return (
            f"These values look like PET: only {_percent(warm)} of the tissue is brighter than a quarter of the range. "
            "CT and MR can be processed; give the model mr (--model mr) if this is MR."
        )
    return ""


def _labels_in(array: np.ndarray, values: np.ndarray) -> int:
    """How many labels a mask or label map has; 0 for what is none."""
    labels, counts = np.unique(values, return_counts=True)
    if len(labels) > _LABELS:
        return 0
    some = array[:: max(1, len(array) // 16)]
    other = some[:, 1:] != labels[counts.argmax()]
    flat = np.count_nonzero((some[:, 1:] == some[:, :-1]) & other)
    return len(labels) if flat > _FLAT_SHARE * max(1, np.count_nonzero(other)) else 0


def sampled(array: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """At most about half a million measured values, float64, evenly spread; ``valid`` None for all."""
    stride = max(1, array.size // _SAMPLES)
    # A stride that shares no factor with the rows visits all columns alike
    index = np.arange(0, array.size, stride + (stride % 2 == 0))
    values = array.flat[index] if array.size < _SAMPLES else array.reshape(-1)[index]
    if valid is not None:
        values = values[valid.reshape(-1)[index]]
    return values.astype(np.float64)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def typical_step(gains: np.ndarray) -> float:
    """How much brighter or darker a slice typically is than the mean of its two neighbours, as a share."""
    return float(np.median(np.abs(gains[1:-1] - (gains[:-2] + gains[2:]) / 2)))


_MAX_TRIPLES = 16
_BLUR_PIXELS = 1.5
_FEWEST_PIXELS = 8
"""A smaller image tells nothing of its place."""


def interleaved_displacement(stack: np.ndarray) -> tuple[np.ndarray, float]:
    """How far odd slices lie from even ones in the plane: least-squares displacement of each from its neighbours' mean.

    Linear in the displacement (Lucas and Kanade 1981), so it finds at most about two pixels' blur.

    Args:
        stack: (slices, rows, columns), any real type, at least 4 slices.

    Returns:
        The median in rows and columns, and the share of the slices that are displaced to that side; 0.5 is chance.
    """
    if min(stack.shape[1:]) < _FEWEST_PIXELS:
        return np.zeros(2), 0.0
    step = step_across(stack)
    middles = np.arange(1, len(stack) - 1)
    if len(middles) > _MAX_TRIPLES:
        first = (len(middles) - _MAX_TRIPLES) // 2
        middles = middles[first : first + _MAX_TRIPLES]
    small = {n: _blurred(stack[n], step) for n in range(middles[0] - 1, middles[-1] + 2)}
    signs = np.where(middles % 2, 1.0, -1.0)
    found = np.array([_shift(small[n], (small[n - 1] + small[n + 1]) / 2) for n in middles]) * signs[:, None] * step
    both = np.median(found, axis=0)
    return both, float((found @ both > 0).mean())


def _shift(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Rows and columns by which ``image`` lies beyond ``reference``; a gain and an offset between them do not count."""
    # Squares of a sentinel are beyond float32
    image, reference = image.astype(np.float64), reference.astype(np.float64)
    down, right = np.gradient(reference)
    basis = np.stack([-down, -right, reference, np.ones_like(reference)]).reshape(4, -1)
    return np.linalg.lstsq(basis @ basis.T, basis @ image.reshape(-1), rcond=None)[0][:2]


def _blurred(image: np.ndarray, step: int) -> np.ndarray:
    rows, columns = (size // step * step for size in image.shape)
    blocks = image[:rows, :columns].reshape(rows // step, step, columns // step, step)
    return smoothed(np.nan_to_num(blocks.mean(axis=(1, 3), dtype=np.float32)), _BLUR_PIXELS)


STEP_SHARE = 0.025
"""Nine MR scans without bands: 0.3 to 0.9 %; one with bands that anyone sees: 7 %."""

DISPLACEMENT_PIXELS, AGREEMENT = 0.25, 0.8
"""Eight MR scans at rest: up to 0.11 pixels, 55 to 67 % of the slices; a fetus that moved: 0.9 pixels, all slices."""

_WATCHED_SLICES = 48
"""2D acquisitions have hardly more slices, and the panel asks on its own thread: the middle ones of a 3D scan do."""


@dataclass(frozen=True)
class SliceArtifacts:
    """What a 2D MR acquisition did to a stack.

    Attributes:
        brightness_step: See ``typical_step``.
        moved_mm: How far odd and even slices lie apart in the plane; 0 where chance explains it.
    """

    brightness_step: float
    moved_mm: float

    @classmethod
    def of(cls, volume: Volume, axis: str) -> SliceArtifacts:
        """Measure an MR scan, sliced across ``axis``; ``Volume.valid`` says what of it was measured."""
        count = volume.shape_kji[AXIS_OF_ARRAY[axis]]
        part = [slice(None)] * 3
        first = max(0, (count - _WATCHED_SLICES) // 2)
        part[AXIS_OF_ARRAY[axis]] = slice(first, first + _WATCHED_SLICES)
        stack = to_axis_first(filled(volume[tuple(part)], axis).array, axis)
        pixels, agreement = interleaved_displacement(stack)
        moved = math.hypot(*pixels) >= DISPLACEMENT_PIXELS and agreement >= AGREEMENT
        moved_mm = math.hypot(*pixels * pixel_mm_of(volume, axis)) if moved else 0.0
        return cls(typical_step(log_gains(stack)), moved_mm)

    def warnings(self, equalized: bool) -> tuple[str, ...]:
        """Sentences for a reader, none where all is well; ``equalized``: brightness is evened out for the network."""
        found = []
        if self.brightness_step > STEP_SHARE:
            said = f"The brightness jumps by {self.brightness_step:.0%} from slice to slice, as in many 2D acquisitions"
            found.append(
                f"{said}. It was evened out for the network, and the result has the acquired slices' brightness again."
                if equalized
                else f"{said}: expect bands across the slices. Equalizing the slices (--equalize-slices) softens them."
            )
        if self.moved_mm:
            found.append(
                f"Odd and even slices lie {self.moved_mm:.1f} mm apart in the plane, as after motion between "
                "interleaved acquisitions: expect double contours and ragged edges in the new slices. Nothing corrects "
                "this; compare with the acquired slices."
            )
        return tuple(found)
