"""Scans in and out of files. Patient coordinates are RAS everywhere else; LPS exists only inside this package.

The modules that read DICOM are imported when a scan may be DICOM, so that an image file is open sooner.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from .. import GeometryError, InputError, OutputError
from ..computer import check_room, out_of_memory
from ..geometry import check_even
from ..straighten import rectangular
from ..volume import Volume
from . import nifti
from .atomic import check_scan_name, check_target, publish, staging_folder
from .bridges import itk_files, to_simpleitk, unread
from .itk_images import FIELD_PREFIX, itk_header
from .samples import CHOOSE_FRAME, ImageHeader, unpacked_start
from .zipped import is_zip, unpacked

if TYPE_CHECKING:
    import SimpleITK

    from .dicom_series import Listing

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


def read_volume(
    path: str | os.PathLike[str], series: str = "", frame: int | None = None, header_only: bool = False
) -> Volume:
    """Read a scan from an image file, a DICOM folder, or any one file of a DICOM series.

    Args:
        path: .nii, .nii.gz, .hdr and .img, .mgz, .nrrd, .nhdr, .mha or .mhd, whatever its name; a folder with DICOM
            series, searched with its subfolders, or its DICOMDIR; or one DICOM file, which stands for its series in its
            folder. Or a zip archive of one of these.
        series: The number of the DICOM series that is meant, as the message that asks for it lists them; "" where only
            one can be meant.
        frame: Which volume of a series or an image that holds several, counted from 1.
        header_only: Zeros that take no memory stand for the voxels.

    Returns:
        The volume in RAS. `modality` and `slice_thickness_mm` are known for DICOM only; `notes` say what was left out.

    Raises:
        InputError: Missing, damaged, of another format, or no single 3-D volume.
        GeometryError: Sheared otherwise than by a tilted gantry, or DICOM slices that form no stack.
        OutOfMemoryError: It does not fit into the memory.
    """
    with opened_scan(path) as found, _opening(path):
        if is_dicom(found):
            from .dicom_series import chosen_series
            from .dicom_slices import volume_of_series

            return volume_of_series(chosen_series(found, series, frame), header_only)
        if series:
            raise InputError(f"{Path(path).name} is an image file and has no series {series}. Leave the series away.")
        header = image_header(found)
        if header.frames > 1 and frame is None:
            raise InputError(
                f"{found.name} is {len(header.sizes)}-dimensional with size {' x '.join(map(str, header.sizes))}: "
                f"{header.frames} frames of a time series or the like. {CHOOSE_FRAME}"
            )
        if frame is not None and not 1 <= frame <= header.frames:
            raise InputError(f"There is no frame {frame}: {found.name} has {header.frames}. Give a number from 1.")
        return _image_frames(found, header, frame or 1, 1, header_only)[0]


def read_frames(path: str | os.PathLike[str], series: str = "") -> tuple[list[Volume], float]:
    """All volumes of the image, or of the series that is meant, and the seconds between them (1 where not known).

    Arguments and errors as in ``read_volume``; also a GeometryError where they do not all lie in the same place.
    """
    with opened_scan(path) as found, _opening(path):
        if not is_dicom(found):
            header = image_header(found)
            return _image_frames(found, header, 1, header.frames), header.frame_s
        from .dicom_series import phases_of, series_at
        from .dicom_slices import volume_of_series

        volumes = [volume_of_series(one) for one in phases_of(series_at(found), series)]
    if not all(volume.geometry_equal(volumes[0]) for volume in volumes):
        raise GeometryError(
            f"The {len(volumes)} volumes of the series do not lie in the same place, so that they are no frames of one "
            "image. Take them one by one with --frame N."
        )
    return volumes, 1.0


def list_series(path: str | os.PathLike[str]) -> Listing | None:
    """All series in a folder, an archive or beside a DICOM file; None for an image file. Errors as in `read_volume`."""
    with opened_scan(path) as found, _opening(path):
        if not is_dicom(found):
            return None
        from .dicom_series import series_at

        return series_at(found)


def _image_frames(path: Path, found: ImageHeader, first: int, count: int, header_only: bool = False) -> list[Volume]:
    """Several frames of an image at once, from ``first``, counted from 1."""
    shape = (count, *found.sizes[2::-1])
    check_room(path.name, shape, found.type.itemsize)
    try:
        frames = unread(shape, found.type) if header_only else found.voxels(first - 1, count)
    except MemoryError as error:
        raise out_of_memory(path.name) from error
    return [rectangular(array, found.ijk_to_ras, name=stem(path), **found.known) for array in frames]


@contextmanager
def opened_scan(name: str | os.PathLike[str]) -> Iterator[Path]:
    """The scan's path, for a zip archive what it holds while the block runs; an InputError where there is none."""
    path = Path(name)
    check_scan_name(path)
    # pathlib would raise for a name that is too long.
    if not os.path.exists(path):
        raise InputError(f"There is no file or folder {path}. Check the path.")
    # Opening a pipe waits until somebody writes into it.
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path} is a pipe or a device, and no file. Save the scan as a file first.")
    with _opening(path):
        packed = path.is_file() and is_zip(path)
    if not packed:
        yield path
        return
    with unpacked(path) as folder:
        yield _only_scan(folder, path.name)


@contextmanager
def _opening(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}). Check its permissions and the disk.") from error


def _only_scan(folder: Path, archive: str) -> Path:
    """What an archive holds: its folder where there is DICOM in it, else the only image file."""
    from .dicom_header import looks_like_dicom
    from .dicom_series import files_below

    files = files_below(folder)
    if any(looks_like_dicom(file) for file in files):
        return folder
    images = [file for file in files if image_format(file) and not file.name.lower().endswith((".img", ".img.gz"))]
    if len(images) == 1:
        return images[0]
    raise InputError(
        f"{archive} holds {len(images)} image files and no DICOM, where one scan is needed. Unpack it and give the "
        "file that is meant."
    )


def is_dicom(path: str | Path) -> bool:
    """Whether ``read_volume`` would read this path as a DICOM series; of an archive, whether it may."""
    path = Path(path)
    if not path.is_file() or image_format(path):
        return path.is_dir()
    from .dicom_header import looks_like_dicom

    return looks_like_dicom(path) or is_zip(path)


def image_suffix(path: str | Path) -> str:
    """The supported suffix that a file name ends with, in lower case; "" if it has none."""
    name = Path(path).name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def image_format(path: Path) -> Callable[[Path], ImageHeader] | None:
    """What reads the header of an image file; None for what is none; OSError where it cannot be opened.

    By its content; the name decides where that is damaged, or is the data file of a pair.
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
    """The header of an image file; an InputError for what is damaged, or no scalar image of three dimensions."""
    header = image_format(path)
    if header is None:
        raise InputError(
            f"{path.name} is of no format that can be read. Give one of {', '.join(IMAGE_SUFFIXES)}, .hdr and .img, "
            ".mgz, a DICOM folder, one file of a DICOM series, or a zip archive of these."
        )
    return header(path)


def says_made_by_cycleinr(path: Path) -> bool:
    """Whether an image file that another program has read says in its header's texts that it is a result."""
    try:
        with open(path, "rb") as file:
            return f"\n{FIELD_PREFIX}software".encode() in file.read(1 << 16) or nifti.RESULT in unpacked_start(path)
    except OSError:
        # The scan was loaded before its file went out of reach
        return False


def stem(path: Path) -> str:
    """An image file's name without its ending."""
    endings = sorted((end for suffixes in _FORMATS.values() for end in suffixes), key=len, reverse=True)
    ending = next((end for end in endings if path.name.lower().endswith(end)), "")
    return path.name[: len(path.name) - len(ending)]


def write_volume(
    volume: Volume, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None, overwrite: bool = False
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
            image.SetMetaData(f"{FIELD_PREFIX}{name}", text[:_FIELD_CHARACTERS])
    with staging_folder(path) as folder:
        if suffix in _DETACHED:
            _write_detached(image, folder, path, suffix, overwrite)
        else:
            _write(image, folder / f"image{suffix}", path)
            publish(folder / f"image{suffix}", path, overwrite)


def write_frames(
    volumes: Sequence[Volume],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
    frame_s: float = 1.0,
) -> None:
    """Write volumes of one geometry as the frames of one .nii or .nii.gz file; as ``write_volume``."""
    path = Path(path)
    check_target(path, overwrite)
    note = "; ".join(f"{key}={' '.join(str(value).split())}" for key, value in (metadata or {}).items())
    with staging_folder(path) as folder:
        staged = folder / f"image{image_suffix(path)}"
        nifti.write_nifti(volumes, staged, note, frame_s)
        publish(staged, path, overwrite)


def _write(image: SimpleITK.Image, staged: Path, path: Path) -> None:
    """Write one staged image; ``path`` is its final name, for the messages."""
    import SimpleITK as sitk

    try:
        with itk_files():
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
