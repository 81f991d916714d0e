"""NIfTI, NRRD and MetaImage files through SimpleITK."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..acquisition import check_even
from ..errors import CycleinrError, GeometryError, InputError, OutputError
from ..straighten import rectangular
from ..volume import Volume
from . import headers, nifti
from .atomic import check_target, publish, staging_folder
from .bridges import to_simpleitk
from .lps import ras_from_lps
from .room import check_room, out_of_memory, type_of, unread

if TYPE_CHECKING:
    import SimpleITK

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_NIFTI = (".nii.gz", ".nii")
_DETACHED = {".nhdr": ".raw.gz", ".mhd": ".zraw"}
"""Header suffix -> suffix that ITK gives to the compressed data file beside it."""

_READERS = {
    **dict.fromkeys((".nii.gz", ".nii"), "NiftiImageIO"),
    **dict.fromkeys((".nrrd", ".nhdr"), "NrrdImageIO"),
    **dict.fromkeys((".mha", ".mhd"), "MetaImageIO"),
}
"""Left to choose, ITK asks each reader in turn, and the NIfTI one takes scan.nrrd.nii for a scan.nrrd."""

_NIFTI_NOTE_BYTES = 79
_FIELD_CHARACTERS = 1000
_FIELD_PREFIX = "CycleINR_"


def image_suffix(path: str | Path) -> str:
    """The supported suffix that a file name ends with, in lower case; "" if it has none."""
    name = Path(path).name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def read_image(path: Path, header_only: bool = False) -> Volume:
    """Read one 3-D image file, or its header, with zeros that take no memory for voxels.

    A NIfTI file without qform and sform is placed as ITK and 3D Slicer place it.

    :raises InputError: the file is damaged, or is no 3-D image with one value per voxel.
    :raises GeometryError: the image is sheared otherwise than by a tilted gantry, or its axes are degenerate.
    :raises OutOfMemoryError: it does not fit into the memory.
    """
    import SimpleITK as sitk

    path = Path(path)
    suffix = image_suffix(path)
    damage = nifti.find_damage(path, header_only) if suffix in _NIFTI else headers.find_damage(path)
    if damage:
        raise InputError(f"{path.name} is damaged: {damage}. Copy or export the file again.")
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READERS[suffix])
    sheared = nifti.sheared_affine(path) if suffix in _NIFTI else None
    with nifti.alone(path, placed=sheared is None) if suffix in _NIFTI else nullcontext(path) as named:
        reader.SetFileName(str(named))
        try:
            reader.ReadImageInformation()
            _check_content(path, reader)
            kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
            check_room(path.name, reader.GetSize(), kind)
            image = reader if header_only else reader.Execute()
            array = unread(image.GetSize()[::-1], type_of(kind)) if header_only else sitk.GetArrayFromImage(image)
        except MemoryError as error:
            raise out_of_memory(path.name) from error
        except RuntimeError as error:
            raise _reading_error(path, str(error).replace(str(named), path.name)) from error
    affine = ras_from_lps(_affine_of(image)) if sheared is None else sheared
    return rectangular(array.reshape(array.shape[-3:]), affine, name=path.name[: -len(suffix)])


def write_volume(
    volume: Volume, path: str | PathLike[str], metadata: Mapping[str, str] | None = None, overwrite: bool = False
) -> None:
    """Write a volume so that the file appears complete or not at all.

    :param path: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd. The last two of each pair put their data beside the header.
    :param metadata: short texts about the result. NRRD and MetaImage carry each as a header field with the prefix
        "CycleINR_"; NIfTI carries the first 79 characters of them in `descrip`. `sidecar` keeps all of it.
    :param overwrite: replace an existing file.
    :raises OutputError: the format is not supported, the folder is missing or full, or the file exists already.
    :raises GeometryError: its slices are not evenly spaced.
    """
    path = Path(path)
    check_even(volume.acquisition, "An image file")
    suffix = image_suffix(path)
    if not suffix:
        raise OutputError(
            f"{path.name} ends in no supported format. Give a name that ends in one of {', '.join(IMAGE_SUFFIXES)}."
        )
    check_target(path, overwrite)
    image = to_simpleitk(volume)
    for key, value in _header_fields(metadata or {}, suffix).items():
        image.SetMetaData(key, value)
    with staging_folder(path) as folder:
        if suffix in _DETACHED:
            _write_detached(image, folder, path, suffix, overwrite)
        else:
            staged = folder / f"image{suffix}"
            _write(image, staged, path)
            publish(staged, path, overwrite)


def _check_content(path: Path, reader: SimpleITK.ImageFileReader) -> None:
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if components != 1:
        raise InputError(
            f"{path.name} has {components} values per voxel (colour, vectors or a transform). "
            "Extract one component as a scalar volume first."
        )
    if len(size) > 3 and any(n != 1 for n in size[3:]):
        raise InputError(
            f"{path.name} is {len(size)}-dimensional with size {' x '.join(map(str, size))}, perhaps a time series. "
            "Extract one 3-D volume from it first."
        )
    if len(size) < 3:
        raise InputError(
            f"{path.name} is a {len(size)}-D image of {' x '.join(map(str, size))} pixels. "
            "Super-resolution between slices needs a 3-D volume; load the whole series."
        )


def _reading_error(path: Path, text: str) -> CycleinrError:
    if "allocat" in text or "bad_alloc" in text:
        return out_of_memory(path.name)
    if "orthonormal direction" in text or "determinant is 0" in text.lower():
        return GeometryError(
            f"{path.name} has axes that lie in one plane or have no length. Its geometry is damaged; export it again."
        )
    reason = text.strip().splitlines()[-1]
    return InputError(f"{path.name} cannot be read: {reason} Check that the file is complete, or export it again.")


def _affine_of(image: SimpleITK.Image) -> np.ndarray:
    """4x4 index-to-LPS matrix of the first three axes."""
    dimension = image.GetDimension()
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine[:3, :3] = directions * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return affine


def _header_fields(metadata: Mapping[str, str], suffix: str) -> dict[str, str]:
    # Line breaks would end a field early, so that its rest were read as a field of the format's own.
    texts = {str(key): " ".join(str(value).split()) for key, value in metadata.items()}
    if suffix in _NIFTI:
        note = "; ".join(f"{key}={value}" for key, value in texts.items()).encode("ascii", "replace").decode()
        return {"ITK_FileNotes": note[:_NIFTI_NOTE_BYTES]} if note else {}
    return {
        _FIELD_PREFIX + re.sub(r"\W", "_", key, flags=re.ASCII): value[:_FIELD_CHARACTERS]
        for key, value in texts.items()
        if value
    }


def _write(image: SimpleITK.Image, staged: Path, path: Path) -> None:
    """Write one staged image; `path` is its final name, for the messages."""
    import SimpleITK as sitk

    try:
        sitk.WriteImage(image, str(staged), useCompression=image_suffix(staged) != ".nii")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise OutputError(f"{path} could not be written: {reason} Check the free space on that disk.") from error
    if image_suffix(staged) in _NIFTI and (damage := nifti.find_damage(staged)):
        raise OutputError(f"{path} could not be written: {damage}. Check the free space on that disk.")


def _write_detached(image: SimpleITK.Image, folder: Path, path: Path, suffix: str, overwrite: bool) -> None:
    """Write header and data file so that a header on disk always belongs to its data.

    The data get a name that nothing has yet and are moved first; the rename of the header switches over.
    """
    stem = path.name[: -len(suffix)]
    names = (f"{stem}-{n}" if n > 1 else stem for n in range(1, 1_000_000))
    data_stem = next(name for name in names if not (path.parent / (name + _DETACHED[suffix])).exists())
    replaced = _data_file_of(path, stem)
    header = folder / (data_stem + suffix)
    _write(image, header, path)
    data = path.parent / (data_stem + _DETACHED[suffix])
    publish(folder / data.name, data, overwrite=False)
    try:
        publish(header, path, overwrite)
    except BaseException:
        data.unlink(missing_ok=True)
        raise
    if replaced is not None and replaced != data:
        replaced.unlink(missing_ok=True)


def _data_file_of(path: Path, stem: str) -> Path | None:
    """The data file of a header that is about to be replaced, if surely nothing else uses it; else None."""
    siblings = [path.with_name(stem + suffix) for suffix in _DETACHED]
    if not path.is_file() or sum(sibling.exists() for sibling in siblings) > 1:
        return None
    match = re.search(
        rf"^(?:ElementDataFile = |data file: )({re.escape(stem)}(?:-\d+)?\.(?:zraw|raw\.gz))\s*$",
        path.read_text(encoding="utf-8", errors="replace"),
        re.MULTILINE,
    )
    return path.with_name(match.group(1)) if match else None
