"""Image files: which format each has, and reading and writing them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from .. import InputError, OutputError
from ..computer import check_room, out_of_memory
from ..geometry import check_even
from ..straighten import rectangular
from ..volume import Volume
from . import nifti
from .atomic import check_target, publish, staging_folder
from .bridges import storable, to_simpleitk, unread, without_itk_warnings
from .itk_images import itk_header
from .samples import ImageHeader, unpacked_start

if TYPE_CHECKING:
    import SimpleITK

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_DETACHED = {".nhdr": ".raw.gz", ".mhd": ".zraw"}
"""Header suffix -> suffix that ITK gives to the compressed data file beside it."""

_FORMATS = {
    itk_header: (".nrrd", ".nhdr", ".mha", ".mhd"),
    nifti.nifti_header: (*nifti.SUFFIXES, ".hdr", ".img", ".hdr.gz", ".img.gz"),
    nifti.mgh_header: (".mgz", ".mgh"),
}
"""What reads the header of a format -> how its files' names end."""

_FIELD_CHARACTERS = 1000
_FIELD_PREFIX = "CycleINR_"


def image_suffix(path: str | Path) -> str:
    """The supported suffix that a file name ends with, in lower case; "" if it has none."""
    name = Path(path).name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def image_format(path: Path) -> Callable[[Path], ImageHeader] | None:
    """What reads the header of an image file; None for what is none.

    By its content; the name decides where that is damaged, or is the data file of a pair.

    Raises:
        OSError: It cannot be opened.
    """
    start = unpacked_start(path)
    if start[128:132] == b"DICM":
        return None
    if re.match(rb"NRRD000|\s*(ObjectType|NDims|Comment)\s*=", start):
        return itk_header
    if nifti.looks_like_nifti(start):
        return nifti.nifti_header
    if nifti.looks_like_mgh(start):
        return nifti.mgh_header
    name = path.name.lower()
    return next((header for header, suffixes in _FORMATS.items() if name.endswith(suffixes)), None)


def image_header(path: Path) -> ImageHeader:
    """The header of an image file.

    Raises:
        InputError: The file is damaged, or is no image of three dimensions or more with one value per voxel.
    """
    header = image_format(path)
    if header is None:
        raise InputError(
            f"{path.name} is of no format that can be read. Give one of {', '.join(IMAGE_SUFFIXES)}, .hdr and .img, "
            ".mgz, a DICOM folder, one file of a DICOM series, or a zip archive of these."
        )
    return header(path)


def read_image(path: Path, header_only: bool = False, frame: int | None = None) -> Volume:
    """Read one 3-D image, or its header; arguments and errors as in ``read_volume``."""
    found = image_header(path)
    if found.frames > 1 and frame is None:
        raise InputError(
            f"{path.name} is {len(found.sizes)}-dimensional with size {' x '.join(map(str, found.sizes))}: "
            f"{found.frames} frames of a time series or the like. Choose one with --frame N (in Python frame=N), "
            "or take all of them with --all-frames."
        )
    if frame is not None and not 1 <= frame <= found.frames:
        raise InputError(f"There is no frame {frame}: {path.name} has {found.frames}. Give a number from 1.")
    return image_frames(path, found, frame or 1, 1, header_only)[0]


def image_frames(path: Path, found: ImageHeader, first: int, count: int, header_only: bool = False) -> list[Volume]:
    """Several frames of an image at once, from ``first``, counted from 1."""
    shape = (count, *found.sizes[2::-1])
    check_room(path.name, shape, f"{found.type.itemsize * 8}-bit")
    try:
        frames = unread(shape, found.type) if header_only else found.voxels(first - 1, count)
    except MemoryError as error:
        raise out_of_memory(path.name) from error
    return [rectangular(array, found.ijk_to_ras, name=stem(path), **found.known) for array in frames]


def stem(path: Path) -> str:
    """An image file's name without its ending."""
    endings = sorted((end for suffixes in _FORMATS.values() for end in suffixes), key=len, reverse=True)
    ending = next((end for end in endings if path.name.lower().endswith(end)), "")
    return path.name[: len(path.name) - len(ending)]


def write_volume(
    volume: Volume, path: str | PathLike[str], metadata: Mapping[str, str] | None = None, overwrite: bool = False
) -> None:
    """Write a volume so that the file appears complete or not at all.

    Args:
        path: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd. The last two of each pair put their data beside the header.
        metadata: Short texts about the result. NRRD and MetaImage carry each as a header field with the prefix
            "CycleINR_"; NIfTI carries the first 79 characters of them in ``descrip``. ``sidecar`` keeps all of it.
        overwrite: Replace an existing file.

    Raises:
        OutputError: The format is not supported, the folder is missing or full, or the file exists already.
        GeometryError: Its slices are not evenly spaced.
    """
    path = Path(path)
    check_even(volume.acquisition, "An image file")
    suffix = image_suffix(path)
    if not suffix:
        raise OutputError(
            f"{path.name} ends in no supported format. Give a name that ends in one of {', '.join(IMAGE_SUFFIXES)}."
        )
    if suffix in nifti.SUFFIXES:
        write_frames([volume], path, metadata, overwrite)
        return
    check_target(path, overwrite)
    image = to_simpleitk(volume)
    for key, value in (metadata or {}).items():
        # Line breaks would end a field early, so that its rest were read as a field of the format's own
        if text := " ".join(str(value).split()):
            name = re.sub(r"\W", "_", str(key), flags=re.ASCII)
            image.SetMetaData(f"{_FIELD_PREFIX}{name}", text[:_FIELD_CHARACTERS])
    with staging_folder(path) as folder:
        if suffix in _DETACHED:
            _write_detached(image, folder, path, suffix, overwrite)
        else:
            _write(image, folder / f"image{suffix}", path)
            publish(folder / f"image{suffix}", path, overwrite)


def write_frames(
    volumes: Sequence[Volume],
    path: str | PathLike[str],
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
    frame_s: float = 1.0,
) -> None:
    """Write volumes of one geometry as the frames of one .nii or .nii.gz file; as ``write_volume``."""
    path = Path(path)
    check_target(path, overwrite)
    first = volumes[0]
    note = "; ".join(f"{key}={' '.join(str(value).split())}" for key, value in (metadata or {}).items())
    arrays = [storable(volume.array) for volume in volumes]
    with staging_folder(path) as folder:
        staged = folder / f"image{image_suffix(path)}"
        nifti.write_nifti(arrays, first.ijk_to_ras, first.nifti_codes or (1, 1), staged, note, frame_s)
        publish(staged, path, overwrite)


def _write(image: SimpleITK.Image, staged: Path, path: Path) -> None:
    """Write one staged image; ``path`` is its final name, for the messages."""
    import SimpleITK as sitk

    try:
        with without_itk_warnings():
            sitk.WriteImage(image, str(staged), useCompression=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise OutputError(f"{path} could not be written: {reason} Check the free space on that disk.") from error


def _write_detached(image: SimpleITK.Image, folder: Path, path: Path, suffix: str, overwrite: bool) -> None:
    """Write header and data file so that a header on disk always belongs to its data.

    The data get a name that nothing has yet and are moved first; the rename of the header switches over. Data that the
    replaced header named, in our way, go.
    """
    name, end = path.name[: -len(suffix)], _DETACHED[suffix]
    names = (f"{name}-{n}" if n > 1 else name for n in count(1))
    free = next(each for each in names if not path.with_name(each + end).exists())
    data, header = path.with_name(free + end), folder / (free + suffix)
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    _write(image, header, path)
    publish(folder / data.name, data, overwrite=False)
    try:
        publish(header, path, overwrite)
    except BaseException:
        data.unlink(missing_ok=True)
        raise
    ours = rf"^(?:ElementDataFile = |data file: )({re.escape(name)}(?:-\d+)?{re.escape(end)})\s*$"
    for replaced in set(re.findall(ours, text, re.MULTILINE)) - {data.name}:
        path.with_name(replaced).unlink(missing_ok=True)
