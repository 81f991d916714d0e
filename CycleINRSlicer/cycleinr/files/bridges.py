"""Volumes from and to the image objects of SimpleITK and nibabel; neither is imported before it is asked for.

ITK and DICOM place images in LPS, where both axes that differ from RAS change their sign. ITK takes (i, j, k) sizes;
nibabel is RAS like the engine, with arrays in (I, J, K) order.
"""

from __future__ import annotations

import ctypes
import locale
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from .. import InputError, RequestError
from ..geometry import check_even
from ..straighten import rectangular
from ..volume import Volume

if TYPE_CHECKING:
    import nibabel
    import SimpleITK

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_from_lps(affine: np.ndarray) -> np.ndarray:
    """4x4 matrix from index to RAS mm, of one from index to LPS mm."""
    return np.asarray(_FLIP @ affine)


lps_from_ras = ras_from_lps
"""The other way, which is the same."""


def from_simpleitk(image: SimpleITK.Image) -> Volume:
    """A SimpleITK image as a volume; errors as of ``check_size`` and ``rectangular``."""
    import SimpleITK as sitk

    # Asked for the components of a label map, SimpleITK ends the process
    if not isinstance(image, sitk.Image) or "label" in image.GetPixelIDTypeAsString():
        raise InputError(f"The image is {type(image).__name__} without intensities. Give a scalar SimpleITK.Image.")
    check_size("The image", image.GetSize(), image.GetNumberOfComponentsPerPixel())
    array = sitk.GetArrayFromImage(image)
    return rectangular(array.reshape(array.shape[-3:]), ijk_to_ras_of(image))


def to_simpleitk(volume: Volume) -> SimpleITK.Image:
    """A volume as a SimpleITK image with a copy of its samples; a GeometryError if its slices are not even."""
    import SimpleITK as sitk

    check_even(volume.acquisition, "An image of SimpleITK's")
    array = storable(volume.array)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
    lps = lps_from_ras(volume.ijk_to_ras)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def from_nibabel(image: nibabel.spatialimages.SpatialImage) -> Volume:
    """A nibabel image as a volume; errors as of ``check_size`` and ``rectangular``."""
    if not hasattr(image, "dataobj"):
        raise InputError(f"The image is {type(image).__name__}, no image of nibabel's. Give what nibabel.load returns.")
    check_size("The image", image.shape)
    array = np.asanyarray(image.dataobj)
    return rectangular(array.reshape(array.shape[:3]).T, np.asarray(image.affine))


def to_nibabel(volume: Volume) -> nibabel.Nifti1Image:
    """A volume as a NIfTI image that shares its samples.

    Raises:
        RequestError: nibabel is not installed.
        GeometryError: Its slices are not evenly spaced.
    """
    check_even(volume.acquisition, "A NIfTI image")
    try:
        import nibabel
    except ImportError as error:
        raise RequestError(
            "An image of nibabel's was asked for, and nibabel is not installed. Install it with: pip install nibabel"
        ) from error
    array = storable(volume.array)
    # Without a type, nibabel takes no 64-bit integers; the placement says "scanner", as the files that we write do
    image = nibabel.Nifti1Image(array.T, volume.ijk_to_ras, dtype=array.dtype)
    image.set_sform(volume.ijk_to_ras, code=1)
    image.set_qform(volume.ijk_to_ras, code=1)
    image.header.set_xyzt_units("mm")
    return image


_PER_THREAD_LOCALE = 1


@contextmanager
def itk_files() -> Iterator[None]:
    """For what ITK reads and writes: names in any language, and no warnings on the console.

    The warnings name the places of ITK's sources on another computer. On Windows SimpleITK hands names in UTF-8 to C
    functions which expect the code page of the system, unless the thread's locale says otherwise.
    """
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    if sys.platform == "win32":
        runtime = ctypes.CDLL("ucrtbase")
        kind, usual = runtime._configthreadlocale(_PER_THREAD_LOCALE), locale.setlocale(locale.LC_CTYPE)
        # Windows before 2018 knows no such locale
        with suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, ".UTF-8")
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        if sys.platform == "win32":
            locale.setlocale(locale.LC_CTYPE, usual)
            runtime._configthreadlocale(kind)


def check_size(name: str, size: tuple[int, ...], values: int = 1) -> None:
    """Check that an image is one volume of three dimensions, (i, j, k, ...), with one value a voxel, or InputError."""
    text = " x ".join(map(str, size))
    if values != 1:
        raise InputError(
            f"{name} has {values} values per voxel (colour, vectors or a transform). "
            "Extract one component as a scalar volume first."
        )
    if len(size) < 3:
        raise InputError(
            f"{name} is a {len(size)}-D image of {text} pixels. "
            "Super-resolution between slices needs a 3-D volume; load the whole series."
        )
    if any(n != 1 for n in size[3:]):
        raise InputError(
            f"{name} is {len(size)}-dimensional with size {text}, perhaps a time series. "
            "Extract one 3-D volume from it first."
        )


def ijk_to_ras_of(image: SimpleITK.Image | SimpleITK.ImageFileReader) -> np.ndarray:
    """4x4 index-to-RAS matrix of the first three axes of an image, or of a reader that knows its header."""
    dimension = image.GetDimension()
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine[:3, :3] = directions * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return ras_from_lps(affine)


def storable(array: np.ndarray) -> np.ndarray:
    """Neither ITK nor NIfTI knows half precision, nor ITK extended; each goes to the nearest type that holds it."""
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        return array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    return array


def unread(shape: Sequence[int], dtype: np.dtype | type) -> np.ndarray:
    """What stands for voxels that are not read: zeros of this shape and type that take no memory."""
    return np.broadcast_to(np.zeros((), dtype), tuple(shape))
