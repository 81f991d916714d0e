"""Which slices the result has: the through-plane axis, the requested spacing and where each new slice lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from . import GeometryError, NothingToDoError, RequestError
from .geometry import Acquisition, subgrid_affine
from .resampling import SliceProfile
from .volume import Volume

AXIS_OF_ARRAY = {"k": 0, "j": 1, "i": 2}
"""Array dimension of each axis letter, for arrays of shape (K, J, I)."""

COLUMN_OF_AXIS = {"i": 0, "j": 1, "k": 2}
"""Column of each axis letter in ijk_to_ras."""

EXTENTS = ("centres", "edges")
MIN_SLICES = 4
_MOST_SLICES = 1_000_000
"""Beyond these, a spacing is a mistake."""

OBLIQUE_DEGREES = 5
"""Slices that are further than this from axial, coronal and sagittal are called oblique."""

ROUNDING = 1e-6
"""Spacings and positions that differ by less than this share are equal; headers are often rounded to float32."""

ISOTROPY_TOLERANCE = 1e-3
"""Spacings that differ by less than this share count as the same when a volume is called isotropic."""


@dataclass(frozen=True)
class Target:
    """What was asked for along the through-plane axis: exactly one of the three.

    Attributes:
        spacing_mm: Distance between output slice centres.
        ratio: Input spacing / output spacing, 1 or more; need not be whole.
        isotropic: True asks for the mean of the two in-plane spacings.

    Raises:
        RequestError: None or several were given, or a number that makes no sense.
    """

    spacing_mm: float | None = None
    ratio: float | None = None
    isotropic: bool = False

    def __post_init__(self) -> None:
        mm, ratio = self.spacing_mm, self.ratio
        wishes = {f"spacing {mm} mm": mm is not None, f"ratio {ratio}": ratio is not None, "isotropic": self.isotropic}
        given = [text for text, there in wishes.items() if there]
        if len(given) != 1:
            raise RequestError(
                f"The target is given as {' and '.join(given) or 'nothing'}, but exactly one is needed. "
                "Give a spacing in mm, or a ratio, or ask for isotropic."
            )
        if mm is not None and not (math.isfinite(mm) and mm > 0):
            raise RequestError(
                f"The requested spacing is {mm} mm, which is no distance between slices. "
                "Give a positive number of millimetres."
            )
        if ratio is not None and not (math.isfinite(ratio) and ratio >= 1):
            raise RequestError(
                f"The requested ratio is {ratio}, but the result must not be coarser than the input. "
                "Give a ratio of 1 or more, for example 3 for three times as many slices."
            )

    def spacing_for(self, volume: Volume, axis: str) -> float:
        """Output spacing in mm along an axis; where the input's changes, the finest counts.

        Raises:
            NothingToDoError: The result would be coarser than the input, or the volume is isotropic already.
        """
        spacings = acquired_spacings(volume, axis)
        old = min(spacings)
        if self.ratio is not None:
            return old / self.ratio
        if self.spacing_mm is None:
            new = float(np.mean(pixel_mm_of(volume, axis)))
            if new >= max(spacings) * (1 - ISOTROPY_TOLERANCE):
                raise NothingToDoError(
                    f"The volume's slices are {max(spacings):g} mm apart and its pixels {new:g} mm: "
                    "it is isotropic already, there is nothing to add. Ask for a spacing in mm to go finer."
                )
            return min(old, new)
        if self.spacing_mm > old * (1 + ROUNDING):
            raise NothingToDoError(
                f"The requested spacing of {self.spacing_mm:g} mm is coarser than the input's {old:g} mm. Ask for less "
                f"than {old:g} mm."
            )
        # The header's rounding must not turn a request for the input's own spacing into a resampling.
        return old if self.spacing_mm >= old * (1 - ROUNDING) else float(self.spacing_mm)


@dataclass(frozen=True)
class SliceGrid:
    """The output slices along one axis.

    Attributes:
        n_in: Number of input slices.
        spacing_in_mm: Distance between input slice centres; the finest, where it changes.
        n_out: Number of output slices.
        spacing_out_mm: Distance between output slice centres.
        first_mm: First output centre relative to the first input centre, along the axis; negative is outside.
        axis: "i", "j" or "k", the axis that is resampled.
        acquisition: Where the input slices lie if they are not even; None if they are.
    """

    n_in: int
    spacing_in_mm: float
    n_out: int
    spacing_out_mm: float
    first_mm: float = 0.0
    axis: str = "k"
    acquisition: Acquisition | None = None

    @property
    def ratio(self) -> float:
        """Input spacing / output spacing."""
        return self.spacing_in_mm / self.spacing_out_mm

    @property
    def is_identity(self) -> bool:
        """Whether the output slices are the input slices."""
        even = self.acquisition is None
        return even and self.n_in == self.n_out and self.spacing_in_mm == self.spacing_out_mm and self.first_mm == 0

    def positions(self) -> np.ndarray:
        """Output slice centres in units of input slices, (n_out,) float64; exactly whole on an input slice."""
        return self.positions_of(np.arange(self.n_out, dtype=np.float64))

    def positions_of(self, outputs: np.ndarray) -> np.ndarray:
        """The same for output slices of any numbers, also ones before the first and behind the last."""
        if self.acquisition is not None:
            return _snapped(self.acquisition.indices_of(self.first_mm + outputs * self.spacing_out_mm))
        return _snapped(self.first_mm / self.spacing_in_mm + outputs * (self.spacing_out_mm / self.spacing_in_mm))

    def centres(self) -> np.ndarray:
        """Input slice centres in units of output slices, (n_in,); undoes ``positions``."""
        return _snapped((self.acquired_mm() - self.first_mm) / self.spacing_out_mm)

    def acquired_mm(self) -> np.ndarray:
        """Input slice centres in mm from the first, (n_in,)."""
        return np.arange(self.n_in) * self.spacing_in_mm if self.acquisition is None else self.acquisition.positions_mm

    def profile(self, tau: float | np.ndarray) -> SliceProfile:
        """Where the input slices lie among the output slices; tau is slice thickness / spacing, each slice's or all's.

        Some windows may reach beyond the output slices.
        """
        own = self.acquisition
        spacing = self.ratio if own is None else own.local_spacing_mm / self.spacing_out_mm
        return SliceProfile(self.n_out, self.centres(), spacing, tau)


def through_plane_axis(volume: Volume) -> str:
    """Axis letter with the largest spacing; of spacings that are equal to within 1e-3, k goes before j before i.

    Slices that are not even tell the axis themselves.
    """
    if uneven := uneven_slices(volume):
        return uneven.axis
    spacing_kji_mm = volume.spacing_ijk_mm[::-1]
    least = max(spacing_kji_mm) * (1 - ISOTROPY_TOLERANCE)
    return next(axis for axis, mm in zip("kji", spacing_kji_mm, strict=True) if mm >= least)


def plane_of(volume: Volume, axis: str) -> str:
    """What slices that are stacked along an axis are called, for example "axial" or "oblique coronal"."""
    direction = np.abs(volume.directions[:, COLUMN_OF_AXIS[axis]])
    plane = ("sagittal", "coronal", "axial")[int(direction.argmax())]
    return f"oblique {plane}" if direction.max() < math.cos(math.radians(OBLIQUE_DEGREES)) else plane


def plan_grid(volume: Volume, target: Target, axis: str = "auto", extent: str = "centres") -> SliceGrid:
    """Decide the output slices.

    extent "centres": the first output centre is the first input centre and the last one lies at or before the last
    input centre, so that nothing is extrapolated; n_out = floor((n_in - 1) * old / new + 1e-6) + 1.

    extent "edges": slices are slabs. Output slabs of the new spacing start at the outer face of the first input slab,
    and as many as fit before the outer face of the last are made; n_out = floor(n_in * old / new + 1e-6), and the
    first centre lies at -old / 2 + new / 2. Input centres are then on the output grid only for odd whole ratios.

    Args:
        axis: "i", "j", "k", or "auto" for the axis with the largest spacing.
        extent: "centres" or "edges".

    Raises:
        GeometryError: Fewer than 4 slices along the axis.
        RequestError: The target does not fit the volume.
    """
    letter = through_plane_axis(volume) if axis == "auto" else axis
    n_in, uneven = volume.shape_kji[AXIS_OF_ARRAY[letter]], uneven_slices(volume)
    if n_in < MIN_SLICES:
        raise GeometryError(
            f"This volume has {'one slice' if n_in == 1 else f'{n_in} slices'} along its through-plane axis; "
            f"super-resolution needs at least {MIN_SLICES}. Load the whole series, or choose another axis."
        )
    if uneven is not None and letter != uneven.axis:
        raise RequestError(
            f"The slices along axis {uneven.axis} are not even, so only that axis can be resampled, not {letter}. "
            f"Leave the axis to be found, or upsample along {uneven.axis} first."
        )
    spacings, new = acquired_spacings(volume, letter), target.spacing_for(volume, letter)
    old = min(spacings)
    if n_in * old > _MOST_SLICES * new:
        raise RequestError(
            f"Slices every {new:g} mm over {n_in} slices of {old:g} mm are more than {_MOST_SLICES}. Check the scan's "
            "spacing, or ask for a coarser one."
        )
    length_mm = (n_in - 1) * old if uneven is None else float(uneven.positions_mm[-1])
    if extent == "centres":
        n_out, first_mm = math.floor(length_mm / new + ROUNDING) + 1, 0.0
    else:
        n_out = math.floor((length_mm + (spacings[0] + spacings[-1]) / 2) / new + ROUNDING)
        first_mm = (new - spacings[0]) / 2
    return SliceGrid(n_in, old, n_out, new, first_mm, letter, uneven)


def uneven_slices(volume: Volume) -> Acquisition | None:
    """Where the slices lie, unless they are even."""
    return None if volume.acquisition is None or volume.acquisition.is_even else volume.acquisition


def acquired_spacings(volume: Volume, axis: str) -> list[float]:
    """Distance between samples along an axis in mm; where it changes, that of each part, in order."""
    uneven = uneven_slices(volume)
    if uneven is None or axis != uneven.axis:
        return [volume.spacing_ijk_mm[COLUMN_OF_AXIS[axis]]]
    return [part.spacing_mm for part in uneven.parts]


def output_ijk_to_ras(volume: Volume, grid: SliceGrid) -> np.ndarray:
    """4x4 ijk_to_ras of the result: the resampled axis has the new spacing, its origin the first output centre."""
    first, step, column = np.zeros(3), np.ones(3), COLUMN_OF_AXIS[grid.axis]
    nominal_mm = volume.spacing_ijk_mm[column]
    first[column] = grid.first_mm / nominal_mm
    step[column] = grid.spacing_out_mm / nominal_mm
    return subgrid_affine(volume.ijk_to_ras, first, step)


def output_shape_kji(volume: Volume, grid: SliceGrid) -> tuple[int, int, int]:
    """Number of samples of the result along k, j and i."""
    k, j, i = (grid.n_out if axis == grid.axis else volume.shape_kji[n] for axis, n in AXIS_OF_ARRAY.items())
    return k, j, i


def to_axis_first(array: np.ndarray, axis: str) -> np.ndarray:
    """View of a (K, J, I) array as (slices, rows, columns) with ``axis`` ("i", "j", "k") first."""
    return np.moveaxis(array, AXIS_OF_ARRAY[axis], 0)


def stacks_of(volume: Volume, axis: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Views of a volume's samples and of what of them was measured (None for all), ``axis`` first."""
    return to_axis_first(volume.array, axis), None if volume.valid is None else to_axis_first(volume.valid, axis)


def from_axis_first(array: np.ndarray, axis: str) -> np.ndarray:
    """View of a (slices, rows, columns) array as (K, J, I); undoes ``to_axis_first``."""
    return np.moveaxis(array, 0, AXIS_OF_ARRAY[axis])


def _snapped(positions: np.ndarray) -> np.ndarray:
    """Positions that are whole numbers but for rounding as whole numbers."""
    whole = np.round(positions)
    return np.where(np.abs(positions - whole) <= ROUNDING, whole, positions)


def pixel_mm_of(volume: Volume, axis: str) -> tuple[float, float]:
    """Distance between rows and between columns of a slice across an axis."""
    rows_mm, columns_mm = (mm for letter, mm in zip("kji", volume.spacing_ijk_mm[::-1], strict=True) if letter != axis)
    return rows_mm, columns_mm
