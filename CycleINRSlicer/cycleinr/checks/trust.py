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
from ..resampling import smoothed
from ..volume import Volume
from ..windows import DisplayWindow

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


@dataclass(frozen=True, eq=False)
class Trust:
    """The expected error of a result in words, which count slices from 1, and numbers, which count them from 0.

    Attributes:
        window: What the errors are held against.
        typical: Median of the expected error over the window's tissue, in the scan's units.
        marked_share: Share of that tissue whose expected error is a quarter of the window's width or more.
        slices: First and last of the least certain slices; None where hardly anything is marked.
        place: Where most of what is marked lies: "at bone", "at air", or empty.
    """

    window: DisplayWindow
    typical: float
    marked_share: float
    slices: tuple[int, int] | None
    place: str

    def words(self, unit: str) -> str:
        """For a reader, for example "Least certain: slices 28 to 32, at bone. Brain tissue: typically within 4 HU."."""
        typical = f"{self.window.tissue}: typically within {self.typical:.2g} {unit}."
        if self.slices is None:
            return f"No place stands out. {typical}"
        first, last = (n + 1 for n in self.slices)
        where = f"slice {first}" if first == last else f"slices {first} to {last}"
        return f"Least certain: {where}{', ' if self.place else ''}{self.place}. {typical}"


def expected_error(error_map: Volume, scan: Volume, modality: str, axis: str) -> Volume:
    """The absolute error to expect, on the grid of the self-check's error map, float32 in the scan's units."""
    factor, power = _CT if modality == "CT" else _MR
    unit = unit_of(scan, modality)
    local = local_rms(error_map, scan, axis)
    expected = local.array
    # In place, and a slice at a time: the map may be large
    for slice_ in expected:
        slice_[:] = unit * factor * (np.square(slice_ / unit) + _FLOOR_SQUARED) ** (power / 2)
    return local


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
    expected = to_axis_first(expected_error.array, axis)
    acquired = to_axis_first(scan.array, axis)
    marked_from = MARKED_SHARE * window.width
    tissue, marked = np.zeros(len(expected)), np.zeros(len(expected))
    at_bone = at_air = 0
    values = []
    for n, slice_ in enumerate(slices):
        inside = (acquired[slice_] > window.low) & (acquired[slice_] < window.high)
        if scan.valid is not None:
            inside &= to_axis_first(scan.valid, axis)[slice_]
        here = inside & (expected[n] >= marked_from)
        tissue[n], marked[n] = inside.sum(), here.sum()
        values.append(expected[n][inside])
        if modality == "CT" and here.any():
            around = acquired[max(0, slice_ - 1) : slice_ + 2]
            at_bone += int((here & _near((around > _BONE_HU).any(axis=0), scan, axis)).sum())
            at_air += int((here & _near((around < _AIR_HU).any(axis=0), scan, axis)).sum())
    total = max(1.0, marked.sum())
    share = marked.sum() / max(1.0, tissue.sum())
    place = "at bone" if at_bone > total / 2 else "at air" if at_air > total / 2 else ""
    typical = float(np.median(np.concatenate(values))) if tissue.sum() else 0.0
    worst = _worst(slices, marked) if share > _FEW else None
    return Trust(window, typical, float(share), worst, place if worst else "")


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
