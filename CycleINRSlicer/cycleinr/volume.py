"""The one in-memory form of a scan: an array in (K, J, I) order and the affine that places it in the patient (RAS)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from . import GeometryError, InputError, RequestError, checked_call, flag, number, path_text
from .geometry import Acquisition, as_affine, check_affine, nearest_ras, same_places, spacing_of, subgrid_affine

if TYPE_CHECKING:
    from os import PathLike

    import nibabel
    import SimpleITK

MODALITIES = ("CT", "MR")

_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """A CT or MR scan with its place in the patient.

    Indexing with slices, in the array's own order, gives a part of the scan in its place:

    >>> import cycleinr as ci
    >>> scan = ci.Volume.read("ct_head_5mm.nii.gz")
    >>> scan
    Volume(358 x 422 x 34, 0.488 x 0.488 x 5 mm, LPS, modality unknown, -1024 to 2170, int16)
    >>> scan[10:20, :, ::2]
    Volume(179 x 422 x 10, 0.977 x 0.488 x 5 mm, LPS, modality unknown, -1024 to 1938, int16)

    Args:
        array: Samples of shape (K, J, I), any integer or floating type; HU for CT.
        ijk_to_ras: 4x4 matrix that takes the column (i, j, k, 1) of a sample's centre to RAS millimetres.
        modality: "CT", "MR", or None where it is unknown.
        slice_thickness_mm: Thickness of one acquired slice, None where it is unknown; 0 means infinitely thin.
        name: A label for people; never holds a patient's identity.
        notes: What was chosen, left out or corrected while the scan was read, a sentence each.
        acquisition: Where the slices lie, if they are not evenly spaced and all alike; ``ijk_to_ras`` is then the
            nominal grid, with the first slice in its true place and the median spacing. None for even slices.
            Parts and turned views follow. Image files and other libraries' images cannot hold it: they are refused.
        nifti_codes: Codes of qform and sform that it was read with, to be written again; None for other files.
        valid: (K, J, I) of bool, False where a sample is padding; None if none is but what is no finite number.
        made_by_cycleinr: It is a result of CycleINR, not acquired; it, and parts of it.

    Raises:
        InputError: The array is no non-empty 3-D array of real numbers, or modality or thickness make no sense.
        GeometryError: The affine is not finite, is singular, or its axes are not perpendicular; or ``acquisition`` or
            ``valid`` do not fit the array.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray = None  # type: ignore[assignment]  # refused in words that say what to give
    modality: str | None = None
    slice_thickness_mm: float | None = None
    name: str = ""
    notes: tuple[str, ...] = ()
    acquisition: Acquisition | None = None
    valid: np.ndarray | None = None
    nifti_codes: tuple[int, int] | None = None
    made_by_cycleinr: bool = False

    def __post_init__(self) -> None:
        array, affine = np.asarray(self.array), as_affine(self.ijk_to_ras)
        _check_array(array)
        check_affine(affine)
        if self.modality is not None and self.modality not in MODALITIES:
            raise InputError(
                f"The modality is {self.modality!r}, but only 'CT' and 'MR' volumes can be processed. "
                "Choose one of these, or leave it open if it is unknown."
            )
        thickness = number("slice_thickness_mm", self.slice_thickness_mm)
        own, valid = self.acquisition, None if self.valid is None else np.asarray(self.valid)
        if thickness is not None and not (math.isfinite(thickness) and thickness >= 0):
            raise InputError(
                f"The slice thickness is {thickness} mm, which no scan can have. "
                "Give a thickness of 0 mm or more, or leave it open if it is unknown."
            )
        if own is not None and not isinstance(own, Acquisition):
            raise GeometryError(f"The acquisition is {own!r:.80}. Give that of a cycleinr.Volume, or leave it away.")
        if own is not None and len(own) != array.shape["kji".index(own.axis)]:
            raise GeometryError(
                f"The acquisition has {len(own)} slice positions along {own.axis} and the array has shape "
                f"{array.shape} (K, J, I). Give one position a slice."
            )
        if valid is not None and (valid.shape != array.shape or valid.dtype != bool):
            raise GeometryError(
                f"The mask of valid samples is {valid.dtype} of shape {valid.shape}; the array of shape {array.shape} "
                "needs one of bool of the same shape."
            )
        # The affine is shared between copies of the volume, so it must not change under any of them.
        affine.flags.writeable = False
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "ijk_to_ras", affine)
        object.__setattr__(self, "valid", valid)

    def __repr__(self) -> str:
        """Size and spacing along i, j, k, orientation, modality, range and type; never the name or the voxels."""
        size = " x ".join(map(str, self.shape_kji[::-1]))
        spacing = " x ".join(f"{mm:.3g}" for mm in self.spacing_ijk_mm)
        # fmin and fmax pass over NaN and, unlike nanmin, take no copy
        low, high = np.fmin.reduce(self.array, axis=None), np.fmax.reduce(self.array, axis=None)
        values = f"{self.modality or 'modality unknown'}, {low:g} to {high:g}, {self.array.dtype.name}"
        told = "" if self.acquisition is None or self.acquisition.is_evenly_spaced else " (slices not even)"
        return f"Volume({size}, {spacing} mm{told}, {self.orientation}, {values})"

    def __getitem__(self, key: slice | Any) -> Volume:
        """The part ``[k, j, i]`` of the volume, in its place; a view of the same samples.

        Args:
            key: A slice for each of k, j and i, in this order; missing ones and ``...`` mean everything. A step above 1
                takes every so-manieth sample, a negative step turns the axis around.

        Raises:
            RequestError: An index that is no slice, or a part that holds no samples.
        """
        slices = tuple(_slices_of(key))
        try:
            ranges = [range(*part.indices(size)) for part, size in zip(slices, self.shape_kji, strict=True)]
        except (TypeError, ValueError) as error:
            raise RequestError(f"A volume cannot be indexed with {key!r:.80} ({error}). Give whole numbers.") from error
        for letter, part, taken, size in zip("kji", slices, ranges, self.shape_kji, strict=True):
            if not taken:
                raise RequestError(
                    f"The part {_text_of(part)} along {letter} holds none of the volume's {size} samples. "
                    f"Give a part of 0:{size}."
                )
        starts, steps = ([float(getattr(each, name)) for each in ranges] for name in ("start", "step"))
        acquisition, thickness = self.acquisition, self.slice_thickness_mm
        if acquisition is not None:
            n = "kji".index(acquisition.axis)
            nominal, first_mm = self.spacing_ijk_mm[2 - n], acquisition.positions_mm[ranges[n][0]]
            acquisition = acquisition.taken(ranges[n])
            starts[n] = first_mm / nominal
            if len(acquisition) > 1:
                steps[n] = math.copysign(acquisition.spacing_mm / nominal, steps[n])
            if acquisition.is_even and acquisition.shift_ras_mm is None:
                # The affine and one thickness say as much
                if acquisition.thickness_mm is not None:
                    thickness = float(acquisition.thickness_mm.mean())
                acquisition = None
        return replace(
            self,
            array=self.array[slices],
            ijk_to_ras=subgrid_affine(self.ijk_to_ras, starts[::-1], steps[::-1]),
            slice_thickness_mm=thickness,
            acquisition=acquisition,
            valid=None if self.valid is None else self.valid[slices],
        )

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        """Number of samples along k, j and i."""
        return cast("tuple[int, int, int]", self.array.shape)

    @property
    def spacing_ijk_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring samples along i, j and k, in mm."""
        return spacing_of(self.ijk_to_ras)

    @property
    def directions(self) -> np.ndarray:
        """3x3 matrix whose columns are the unit vectors of i, j and k in RAS."""
        return np.asarray(self.ijk_to_ras[:3, :3] / np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0))

    @property
    def orientation(self) -> str:
        """Where i, j and k point to, each to the nearest of Right, Left, Anterior, Posterior, Superior, Inferior."""
        directions = self.directions
        towards = (("RAS" if directions[row, n] >= 0 else "LPI")[row] for n, row in enumerate(nearest_ras(directions)))
        return "".join(towards)

    def with_array(self, array: np.ndarray, ijk_to_ras: np.ndarray | None = None) -> Volume:
        """The same scan with other samples.

        Args:
            array: Samples (K, J, I).
            ijk_to_ras: The affine that belongs to ``array``, where it differs; slices are then even, all measured.

        Raises:
            GeometryError: The shape changed and no affine came with it, so the place would be a guess.
        """
        if ijk_to_ras is not None:
            return replace(self, array=array, ijk_to_ras=ijk_to_ras, acquisition=None, valid=None)
        if np.shape(array) != self.array.shape:
            raise GeometryError(
                f"The new array has shape {np.shape(array)} and the volume has {self.array.shape} (K, J, I), "
                "so its place in the patient is unknown. Pass the affine of the new array as ijk_to_ras."
            )
        return replace(self, array=array)

    def ras_of_ijk(self, points: np.ndarray | Sequence[float]) -> np.ndarray:
        """RAS mm, (..., 3), of index positions (i, j, k), (..., 3); these may be fractions, and outside the array."""
        points = np.array(points, dtype=np.float64)
        if own := self.acquisition:
            n = "ijk".index(own.axis)
            points[..., n] = own.mm_of(points[..., n]) / self.spacing_ijk_mm[n]
        return np.asarray(points @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3])

    def reorient(self, orientation: str = "RAS") -> Volume:
        """The same samples in the same places, with other axes called i, j and k; nothing is interpolated.

        >>> import cycleinr as ci
        >>> scan = ci.read("ct_head_5mm.nii.gz")
        >>> scan.orientation, scan.reorient("RAS").orientation
        ('LPS', 'RAS')

        Args:
            orientation: Where i, j and k are to point to, for example "RAS" (nibabel, MONAI, TorchIO) or "LPS"
                (ITK, DICOM). Oblique axes count as the direction that they are nearest to.

        Returns:
            A volume whose array is a view of this one's.

        Raises:
            RequestError: The letters do not name one direction along each of the patient's three axes.
        """
        wanted, own = str(orientation).upper(), self.orientation
        columns = [next((n for n, letter in enumerate(own) if letter in (to, _OPPOSITE.get(to))), -1) for to in wanted]
        if sorted(columns) != [0, 1, 2]:
            raise RequestError(
                f"The orientation is {orientation!r}. Give three letters for i, j and k, one each of R or L, A or P, "
                "S or I, for example 'RAS' or 'LPS'."
            )
        affine = self.ijk_to_ras.copy()
        affine[:, :3] = self.ijk_to_ras[:, columns]
        # Columns are i, j, k and array dimensions k, j, i
        order = [2 - column for column in reversed(columns)]
        acquisition = self.acquisition
        if acquisition is not None:
            acquisition = replace(acquisition, axis="ijk"[columns.index("ijk".index(acquisition.axis))])
        valid = None if self.valid is None else self.valid.transpose(order)
        moved = replace(
            self, array=self.array.transpose(order), ijk_to_ras=affine, acquisition=acquisition, valid=valid
        )
        turned = [own[column] != to for column, to in zip(columns, wanted, strict=True)]
        return moved[tuple(slice(None, None, -1 if turn else 1) for turn in reversed(turned))]

    def geometry_equal(self, other: Any, tolerance_voxels: float = 1e-3) -> bool:
        """Whether another volume has as many samples as this one, each in the same place.

        >>> import cycleinr as ci
        >>> scan = ci.read("ct_head_5mm.nii.gz")
        >>> scan.geometry_equal(scan.with_array(scan.array * 0)), scan.geometry_equal(scan[1:])
        (True, False)

        Args:
            other: A ``Volume``, or anything with ``shape_kji`` and ``ijk_to_ras``.
            tolerance_voxels: How far apart two samples may lie, as a share of the spacing; headers are rounded.
        """
        if not hasattr(other, "ijk_to_ras"):
            raise RequestError(f"{other!r:.80} has no geometry to compare. Give a cycleinr.Volume.")
        if tuple(self.shape_kji) != tuple(other.shape_kji):
            return False
        if not same_places(self.acquisition, getattr(other, "acquisition", None), tolerance_voxels):
            return False
        to_voxels = np.linalg.inv(other.ijk_to_ras) @ self.ijk_to_ras - np.eye(4)
        # No sample differs by more than the sum of what its index, the offset and the others' would
        return bool((np.abs(to_voxels) @ np.append(self.shape_kji[::-1], 1.0)).max() <= tolerance_voxels)

    @classmethod
    @checked_call
    def read(cls, path: str | PathLike[str], *, series: int | str | None = None, frame: int | None = None) -> Volume:
        """Read an image file, a DICOM folder, or the series of one DICOM file; see ``cycleinr.read``."""
        from .request import read_scan

        return read_scan(path, series, frame)

    @checked_call
    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write an image file, whole or not at all; see ``cycleinr.write``."""
        from .files import write_volume

        write_volume(self, path_text("path", path), overwrite=flag("overwrite", overwrite))

    @classmethod
    def from_simpleitk(cls, image: SimpleITK.Image, **known: Any) -> Volume:
        """A SimpleITK image as a volume; its samples are copied.

        >>> import cycleinr as ci, SimpleITK as sitk
        >>> ci.Volume.from_simpleitk(sitk.ReadImage("ct_head_5mm.nii.gz"), modality="CT")
        Volume(358 x 422 x 34, 0.488 x 0.488 x 5 mm, LPS, CT, -1024 to 2170, int16)

        Args:
            image: 3-D, one value a voxel.
            known: ``modality``, ``slice_thickness_mm`` and ``name``, which an image does not say.

        Raises:
            InputError: The image has another number of dimensions, or several values a voxel.
            GeometryError: As for ``Volume``.
        """
        from .files.bridges import from_simpleitk

        return replace(from_simpleitk(image), **known)

    def to_simpleitk(self) -> SimpleITK.Image:
        """The volume as a SimpleITK image, with a copy of the samples.

        >>> import cycleinr as ci
        >>> ci.read("ct_head_5mm.nii.gz").to_simpleitk().GetSize()
        (358, 422, 34)
        """
        from .files.bridges import to_simpleitk

        return to_simpleitk(self)

    @classmethod
    def from_nibabel(cls, image: nibabel.spatialimages.SpatialImage, **known: Any) -> Volume:
        """A nibabel image as a volume; nibabel's (I, J, K) array becomes (K, J, I).

        >>> import cycleinr as ci, nibabel
        >>> ci.Volume.from_nibabel(nibabel.load("ct_head_5mm.nii.gz"), modality="CT")
        Volume(358 x 422 x 34, 0.488 x 0.488 x 5 mm, LPS, CT, -1024 to 2170, int16)

        Args:
            image: 3-D, or 4-D with one frame.
            known: ``modality``, ``slice_thickness_mm`` and ``name``, which an image does not say.

        Raises:
            InputError: The image has another number of dimensions, or values that are no intensities.
            GeometryError: As for ``Volume``.
        """
        from .files.bridges import from_nibabel

        return replace(from_nibabel(image), **known)

    def to_nibabel(self) -> nibabel.Nifti1Image:
        """The volume as a NIfTI image of nibabel's, which shares the samples; its array is (I, J, K).

        >>> import cycleinr as ci
        >>> ci.read("ct_head_5mm.nii.gz").to_nibabel().shape
        (358, 422, 34)

        Raises:
            RequestError: nibabel is not installed.
        """
        from .files.bridges import to_nibabel

        return to_nibabel(self)


Volume.__init__ = checked_call(Volume.__init__)  # type: ignore[method-assign]


def _slices_of(key: Any) -> list[slice]:
    """A slice for each of k, j and i."""
    parts = list(key) if isinstance(key, tuple) else [key]
    at = next((n for n, part in enumerate(parts) if part is ...), len(parts))
    parts[at : at + 1] = [slice(None)] * (3 - len(parts) + (at < len(parts)))
    if len(parts) != 3 or not all(isinstance(part, slice) for part in parts):
        raise RequestError(
            f"A volume cannot be indexed with {key!r:.80}: a part needs a range along each of k, j and i, for example "
            "scan[10:40, :, 100:200], or scan[7:8] for slice 7. Samples are in scan.array."
        )
    return parts


def _text_of(part: slice) -> str:
    ends = (part.start, part.stop) if part.step is None else (part.start, part.stop, part.step)
    return ":".join("" if end is None else str(end) for end in ends)


def _check_array(array: np.ndarray) -> None:
    if array.ndim != 3:
        raise InputError(
            f"The image has {array.ndim} dimensions with shape {array.shape}, but a volume has 3 (K, J, I). "
            "Extract one 3-D volume (one time point, one component) first."
        )
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"The image holds {array.dtype} values, which are no intensities. Convert it to integers or floats first."
        )
    if array.size == 0:
        raise InputError(f"The image is empty: its shape is {array.shape} (K, J, I). Check the file it comes from.")
