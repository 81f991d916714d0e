"""What 2D MR acquisitions do to a stack of slices: brightness that jumps, and motion between interleaved halves.

Each slice of a 2D acquisition has a gain of its own (cross-talk, interleaved order, receiver). Anatomy and coils change
the brightness too, but slowly, so a slice's gain is what its brightness has beyond the smooth course along the slices.
It can be evened out for the network and put back. In an interleaved acquisition that the patient moved in, odd slices
lie beside even ones; that is only told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .grid import AXIS_OF_ARRAY, SliceGrid, pixel_mm_of, to_axis_first
from .intensity import filled, robust_maximum
from .resampling import smoothed
from .volume import Volume

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


def typical_step(gains: np.ndarray) -> float:
    """How much brighter or darker a slice typically is than the mean of its two neighbours, as a share."""
    return float(np.median(np.abs(gains[1:-1] - (gains[:-2] + gains[2:]) / 2)))


def evened(stack: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """The stack with each slice's gain taken out, float32."""
    return stack * np.exp(-gains).astype(np.float32)[:, None, None]


def gains_of_result(gains: np.ndarray, grid: SliceGrid) -> np.ndarray:
    """Log gain of each slice of a result, (n_out,), by which it gets the scan's own brightness back.

    At an acquired position it is that slice's gain, and between two it runs straight from one to the other: softer
    bands than those of a result that is made to give each slab's brightness back.

    Args:
        gains: Of the acquired slices, (n_in,).
        grid: The result's slices.
    """
    return np.interp(grid.positions(), np.arange(grid.n_in), gains)


def put_back(fine: np.ndarray, gains: np.ndarray, low: float, high: float, out: np.ndarray) -> None:
    """Multiply each slice by its gain into ``out``, within the scan's range, rounded where ``out`` holds integers."""
    for n, slice_ in enumerate(fine):
        image = np.clip(slice_ * np.float32(np.exp(gains[n])), low, high)
        out[n] = np.rint(image) if out.dtype.kind in "iu" else image


def _log_ratios(stack: np.ndarray) -> np.ndarray:
    """Logarithm of the median ratio of each slice to the one before, over the tissue that both show."""
    step = max(1, min(stack.shape[1:]) // _PIXELS_ACROSS)
    small = stack[:, ::step, ::step].astype(np.float32)
    limit = _TISSUE_SHARE * robust_maximum(small) + max(0.0, float(small.min()))
    ratios = np.zeros(len(small) - 1)
    for n, (before, after) in enumerate(zip(small[:-1], small[1:], strict=True)):
        tissue = (before > limit) & (after > limit)
        if np.count_nonzero(tissue) >= _FEW_PIXELS:
            ratios[n] = np.median(np.log(after[tissue] / before[tissue]))
    return ratios


_MAX_TRIPLES = 16
_BLUR_PIXELS = 1.5
_FEWEST_PIXELS = 8
"""A smaller image tells nothing of its place."""


@dataclass(frozen=True)
class Displacement:
    """How far odd slices lie from even ones in the plane.

    Attributes:
        rows, columns: Median over the slices, in pixels.
        agreement: Share of the slices that are displaced to that side; 0.5 is chance.
    """

    rows: float
    columns: float
    agreement: float


def interleaved_displacement(stack: np.ndarray) -> Displacement:
    """Least-squares displacement of each slice from its neighbours' mean; odd and even slices have opposite signs.

    Linear in the displacement (Lucas and Kanade 1981), so it finds at most about two pixels' blur.

    Args:
        stack: (slices, rows, columns), any real type, at least 4 slices.
    """
    if min(stack.shape[1:]) < _FEWEST_PIXELS:
        return Displacement(0.0, 0.0, 0.0)
    step = max(1, min(stack.shape[1:]) // _PIXELS_ACROSS)
    middles = np.arange(1, len(stack) - 1)
    if len(middles) > _MAX_TRIPLES:
        first = (len(middles) - _MAX_TRIPLES) // 2
        middles = middles[first : first + _MAX_TRIPLES]
    small = {n: _blurred(stack[n], step) for n in range(middles[0] - 1, middles[-1] + 2)}
    signs = np.where(middles % 2, 1.0, -1.0)
    found = np.array([_shift(small[n], (small[n - 1] + small[n + 1]) / 2) for n in middles]) * signs[:, None] * step
    both = np.median(found, axis=0)
    return Displacement(float(both[0]), float(both[1]), float((found @ both > 0).mean()))


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
        return cls(typical_step(log_gains(stack)), _moved_mm(volume, stack, axis))

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


def _moved_mm(volume: Volume, stack: np.ndarray, axis: str) -> float:
    found = interleaved_displacement(stack)
    if math.hypot(found.rows, found.columns) < DISPLACEMENT_PIXELS or found.agreement < AGREEMENT:
        return 0.0
    rows_mm, columns_mm = pixel_mm_of(volume, axis)
    return math.hypot(found.rows * rows_mm, found.columns * columns_mm)
