"""What error a reader has to expect where, from the self-check, and the same in words.

The self-check's error at one voxel is mostly chance; its root mean square over a millimetre around is not. From that
the expected absolute error follows by a power law whose two coefficients were fitted once per modality, on slabs and
thin slices simulated from training scans, against the true error (research/docs/check.md: how well it does elsewhere).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..grid import pixel_mm_of, to_axis_first
from ..intensity import unit_of
from ..resampling import digits, smoothed
from ..volume import Volume
from ..windows import DisplayWindow
from .self_check import SelfCheck

SHOWN_SHARE, MARKED_SHARE, FULL_SHARE = 0.1, 0.25, 0.5
"""The map's scale, as shares of the display window's width: coloured from, least certain from, colours end at."""

_SMOOTHING_MM = 1.0
_FLOOR_SQUARED = 4.0
_CT = (1.86, 0.92)
_MR = (1.46, 0.94)
"""Expected error = a (root mean square)^b, in HU, and in MR in thousandths of the scan's range."""

_BONE_HU, _AIR_HU = 300.0, -500.0
_REACH_MM = 3.0
_WORST_SHARE = 0.75
_FEW = 1e-3
"""Below this share of marked tissue no place is called uncertain."""


@dataclass(frozen=True)
class Trust:
    """The expected error of a result summed up over the tissue that the display window shows.

    Attributes:
        typical: Median of the expected error, in the scan's units.
        marked_from: A quarter of the window's width.
        marked_share: Share of the tissue whose expected error is that or more.
        least_certain_slices: First and last of them, counted from 0; None where hardly anything is marked.
        place: Where most of what is marked lies: "at bone", "at air", or empty.
    """

    typical: float
    marked_from: float
    marked_share: float
    least_certain_slices: tuple[int, int] | None
    place: str

    def words(self, window: DisplayWindow, unit: str) -> str:
        """For a reader, for example "Least certain: slices 28 to 32, at bone. Brain tissue: typically within 4 HU."."""
        typical = f"{window.tissue}: typically within {digits(self.typical, 2)} {unit}."
        if self.least_certain_slices is None:
            return f"No place stands out. {typical}"
        first, last = (n + 1 for n in self.least_certain_slices)
        where = f"slice {first}" if first == last else f"slices {first} to {last}"
        return f"Least certain: {where}{', ' if self.place else ''}{self.place}. {typical}"


def expected_error(found: SelfCheck, scan: Volume, modality: str, axis: str) -> Volume:
    """The absolute error to expect, on the grid of the self-check's error map, float32 in the scan's units."""
    factor, power = _CT if modality == "CT" else _MR
    unit = unit_of(scan, modality)
    expected = local_rms(found.error_map, scan, axis)
    # In place, and a slice at a time: the map may be large
    for n, slice_ in enumerate(to_axis_first(expected.array, axis)):
        slice_[:] = unit * factor * (np.square(slice_ / unit) + _FLOOR_SQUARED) ** (power / 2)
        if scan.valid is not None:
            slice_ *= to_axis_first(scan.valid, axis)[found.slices[n]]
    return expected


def local_rms(error_map: Volume, scan: Volume, axis: str) -> Volume:
    """Root mean square of the self-check's error over about a millimetre in the slice around each voxel."""
    rms = np.empty_like(error_map.array)
    stack, sigma = to_axis_first(rms, axis), [_SMOOTHING_MM / mm for mm in pixel_mm_of(scan, axis)]
    for n, error in enumerate(to_axis_first(error_map.array, axis)):
        stack[n] = np.sqrt(smoothed(np.square(error), sigma, reach_sigmas=3))
    return error_map.with_array(rms)


def trust(
    expected_error: Volume, slices: np.ndarray, scan: Volume, modality: str, axis: str, window: DisplayWindow
) -> Trust:
    """Sum the expected error of the acquired ``slices`` up over the tissue that ``window`` shows."""
    expected, acquired = (to_axis_first(each.array, axis) for each in (expected_error, scan))
    marked_from = MARKED_SHARE * window.width
    values, marked, near = [], np.zeros(len(slices)), {"at bone": 0, "at air": 0}
    for n, k in enumerate(slices):
        inside = (acquired[k] > window.low) & (acquired[k] < window.high)
        if scan.valid is not None:
            inside &= to_axis_first(scan.valid, axis)[k]
        here = inside & (expected[n] >= marked_from)
        marked[n] = np.count_nonzero(here)
        values.append(expected[n][inside])
        if modality == "CT" and marked[n]:
            around = acquired[max(0, k - 1) : k + 2]
            for place, dense in (("at bone", around > _BONE_HU), ("at air", around < _AIR_HU)):
                near[place] += np.count_nonzero(here & _near(dense.any(axis=0), scan, axis))
    tissue = np.concatenate(values)
    share = float(marked.sum()) / max(1, tissue.size)
    typical = float(np.median(tissue)) if tissue.size else 0.0
    if share <= _FEW:
        return Trust(typical, marked_from, share, None, "")
    place = next((place for place, count in near.items() if count > marked.sum() / 2), "")
    return Trust(typical, marked_from, share, _worst(slices, marked), place)


def _worst(slices: np.ndarray, marked: np.ndarray) -> tuple[int, int]:
    """The run of slices around the one with most marked voxels that have nearly as many."""
    much = marked >= _WORST_SHARE * marked.max()
    first = last = int(marked.argmax())
    while first > 0 and much[first - 1]:
        first -= 1
    while last < len(much) - 1 and much[last + 1]:
        last += 1
    return int(slices[first]), int(slices[last])


def _near(mask: np.ndarray, scan: Volume, axis: str) -> np.ndarray:
    """Whether a voxel of the mask (rows, columns) lies within reach, along both."""
    for n, mm in enumerate(pixel_mm_of(scan, axis)):
        reach = max(1, round(_REACH_MM / mm))
        wide = np.pad(mask, [(reach, reach) if a == n else (0, 0) for a in (0, 1)])
        mask = sliding_window_view(wide, 2 * reach + 1, axis=n).any(axis=-1)
    return mask
