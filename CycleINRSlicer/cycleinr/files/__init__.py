"""Scans in and out of files. Patient coordinates are RAS everywhere else; LPS exists only inside this package."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError
from ..volume import Volume
from .atomic import remove_leftovers, sidecar
from .images import IMAGE_SUFFIXES, image_kind, image_suffix, read_image, write_volume
from .names import check_scan_name

__all__ = [
    "IMAGE_SUFFIXES",
    "image_suffix",
    "is_dicom",
    "read_header",
    "read_volume",
    "remove_leftovers",
    "sidecar",
    "write_volume",
]


def read_volume(path: str | os.PathLike[str], series: str = "", frame: int | None = None) -> Volume:
    """Read a scan from an image file, a DICOM folder, or any one file of a DICOM series.

    :param path: .nii, .nii.gz, .hdr and .img, .mgz, .nrrd, .nhdr, .mha or .mhd, whatever its name; a folder with DICOM
        series, searched with its subfolders, or its DICOMDIR; or one DICOM file, which stands for its series in its
        folder.
    :param series: the number of the DICOM series that is meant, as the message that asks for it lists them; "" where
        only one can be meant.
    :param frame: which volume of a series or an image that holds several, counted from 1.
    :returns: the volume in RAS. `modality` and `slice_thickness_mm` are known for DICOM only; `notes` say what was left
        out.
    :raises InputError: missing, damaged, of another format, or no single 3-D volume.
    :raises GeometryError: sheared otherwise than by a tilted gantry, or DICOM slices that form no stack.
    :raises OutOfMemoryError: it does not fit into the memory.
    """
    return _found(path, False, series, frame)


def read_header(path: str | os.PathLike[str], series: str = "", frame: int | None = None) -> Volume:
    """What the headers say of a scan: as `read_volume`, but with zeros that take no memory for voxels."""
    return _found(path, True, series, frame)


def _found(name: str | os.PathLike[str], header_only: bool, series: str, frame: int | None) -> Volume:
    path = Path(name)
    check_scan_name(path)
    # pathlib would raise for a name that is too long.
    if not os.path.exists(path):
        raise InputError(f"There is no file or folder {path}. Check the path.")
    # Opening a pipe waits until somebody writes into it.
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path} is a pipe or a device, and no file. Save the scan as a file first.")
    try:
        return _read(path, header_only, series, frame)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}). Check its permissions and the disk.") from error


def is_dicom(path: str | Path) -> bool:
    """Whether `read_volume` would read this path as a DICOM series."""
    from .dicom_header import looks_like_dicom

    path = Path(path)
    return path.is_dir() or (path.is_file() and not image_kind(path) and looks_like_dicom(path))


def _read(path: Path, header_only: bool, series: str, frame: int | None) -> Volume:
    from .dicom import read_dicom

    if is_dicom(path):
        return read_dicom(path, header_only, series, frame)
    if image_kind(path):
        return read_image(path, header_only, frame)
    raise InputError(
        f"{path.name} is of no format that can be read. Give one of {', '.join(IMAGE_SUFFIXES)}, .hdr and .img, .mgz, "
        "a DICOM folder, or one file of a DICOM series."
    )
