"""Image files: NIfTI and MGH by readers of our own, NRRD and MetaImage through SimpleITK."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..computer import check_room, out_of_memory
from ..errors import InputError, OutputError
from ..geometry import check_even
from ..straighten import rectangular
from ..volume import Volume
from . import mgh, nifti
from .atomic import check_target, publish, staging_folder
from .bridges import (
    check_size,
    check_values,
    index_to_lps,
    ras_from_lps,
    storable,
    to_simpleitk,
    unread,
    without_itk_warnings,
)
from .headers import check_length, find_data
from .samples import ImageHeader, unpacked_start

if TYPE_CHECKING:
    import SimpleITK

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_DETACHED = {".nhdr": ".raw.gz", ".mhd": ".zraw"}
"""Header suffix -> suffix that ITK gives to the compressed data file beside it."""

_SUFFIXES = {
    "nifti": (*nifti.SUFFIXES, *nifti.PAIR_SUFFIXES),
    "mgh": mgh.SUFFIXES,
    "nrrd": (".nrrd", ".nhdr"),
    "meta": (".mha", ".mhd"),
}
_READERS = {"nrrd": "NrrdImageIO", "meta": "MetaImageIO"}
"""Left to choose, ITK asks each reader in turn, and the NIfTI one takes scan.nrrd.nii for a scan.nrrd."""

_FIELD_CHARACTERS = 1000
_FIELD_PREFIX = "CycleINR_"


def image_suffix(path: str | Path) -> str:
    """The supported suffix that a file name ends with, in lower case; "" if it has none."""
    name = Path(path).name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def image_kind(path: Path) -> str:
    """Which format a file has: "nifti", "mgh", "nrrd" or "meta"; "" for none of these.

    By its content; the name decides where that is damaged, or is the data file of a pair.

    Raises:
        OSError: It cannot be opened.
    """
    start = unpacked_start(path)
    if start[128:132] == b"DICM":
        return ""
    if start.startswith(b"NRRD000"):
        return "nrrd"
    if nifti.looks_like_nifti(start):
        return "nifti"
    if mgh.looks_like_mgh(start):
        return "mgh"
    if re.match(rb"\s*(ObjectType|NDims|Comment)\s*=", start):
        return "meta"
    name = path.name.lower()
    return next((kind for kind, suffixes in _SUFFIXES.items() if name.endswith(suffixes)), "")


def image_header(path: Path) -> ImageHeader:
    """The header of an image file.

    Raises:
        InputError: The file is damaged, or is no image of three dimensions or more with one value per voxel.
    """
    kind = image_kind(path)
    if not kind:
        raise InputError(
            f"{path.name} is of no format that can be read. Give one of {', '.join(IMAGE_SUFFIXES)}, .hdr and .img, "
            ".mgz, a DICOM folder, one file of a DICOM series, or a zip archive of these."
        )
    if kind == "nifti":
        return nifti.nifti_header(path)
    return mgh.mgh_header(path) if kind == "mgh" else _itk_header(path, kind)


def read_image(path: Path, header_only: bool = False, frame: int | None = None) -> Volume:
    """Read one 3-D image, or its header; arguments and errors as in ``read_volume``."""
    found = image_header(path)
    if found.frames > 1 and frame is None:
        raise InputError(
            f"{path.name} is {len(found.sizes)}-dimensional with size {' x '.join(map(str, found.sizes))}: "
            f"{found.frames} frames of a time series or the like. Choose one with --frame N, or take all of them with "
            "--all-frames."
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
    endings = sorted((end for suffixes in _SUFFIXES.values() for end in suffixes), key=len, reverse=True)
    ending = next((end for end in endings if path.name.lower().endswith(end)), "")
    return path.name[: len(path.name) - len(ending)]


def _itk_header(path: Path, kind: str) -> ImageHeader:
    """NRRD and MetaImage."""
    import SimpleITK as sitk

    data = find_data(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READERS[kind])
    reader.SetFileName(str(path))
    with _itk_errors(path):
        reader.ReadImageInformation()
    check_values(path.name, reader.GetNumberOfComponents())
    sizes = reader.GetSize()
    check_size(path.name, sizes[:3])
    # SimpleITK tells the NumPy type of an image, not that of a reader
    dtype = sitk.GetArrayViewFromImage(sitk.Image([1, 1], reader.GetPixelID())).dtype

    check_length(path, data, math.prod(sizes) * dtype.itemsize)

    def voxels(first: int, count: int) -> np.ndarray:
        with _itk_errors(path):
            array = sitk.GetArrayFromImage(reader.Execute())
        return array.reshape(-1, *sizes[2::-1])[first : first + count]

    return ImageHeader(sizes, dtype, ras_from_lps(index_to_lps(reader)), voxels)


@contextmanager
def _itk_errors(path: Path) -> Iterator[None]:
    # Warnings are ITK's own, in C++ and with the places of its sources
    try:
        with without_itk_warnings():
            yield
    except RuntimeError as error:
        # The last line that is no number, without the place in memory
        lines = [line for line in str(error).splitlines() if re.search("[a-z]{3}", line)]
        reason = re.sub(r".*\(0x\w+\): ", "", lines[-1])
        if "allocat" in reason or "bad_alloc" in reason:
            raise out_of_memory(path.name) from error
        raise InputError(
            f"{path.name} cannot be read: {reason} Check that the file is complete, or export it again."
        ) from error


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
            staged = folder / f"image{suffix}"
            _write(image, staged, path)
            publish(staged, path, overwrite)


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
    stem, end = path.name[: -len(suffix)], _DETACHED[suffix]
    candidates = (path.with_name(f"{stem}{f'-{n}' if n > 1 else ''}{end}") for n in count(1))
    data = next(candidate for candidate in candidates if not candidate.exists())
    ours = rf"^(?:ElementDataFile = |data file: )({re.escape(stem)}(?:-\d+)?{re.escape(end)})\s*$"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    header = folder / (data.name[: -len(end)] + suffix)
    _write(image, header, path)
    publish(folder / data.name, data, overwrite=False)
    try:
        publish(header, path, overwrite)
    except BaseException:
        data.unlink(missing_ok=True)
        raise
    for replaced in re.findall(ours, text, re.MULTILINE):
        if replaced != data.name:
            path.with_name(replaced).unlink(missing_ok=True)
