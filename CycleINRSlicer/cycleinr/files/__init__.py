"""Scans in and out of files. Patient coordinates are RAS everywhere else; LPS exists only inside this package.

The modules that read DICOM are imported when a scan may be DICOM, so that an image file is open sooner.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .. import GeometryError, InputError
from ..volume import Volume
from .atomic import check_scan_name, remove_leftovers, sidecar
from .images import IMAGE_SUFFIXES, image_format, image_frames, image_header, image_suffix, read_image, write_volume
from .zipped import is_zip, unpacked

if TYPE_CHECKING:
    from .dicom_series import Listing

__all__ = [
    "IMAGE_SUFFIXES",
    "image_suffix",
    "is_dicom",
    "list_series",
    "opened_scan",
    "read_frames",
    "read_volume",
    "remove_leftovers",
    "sidecar",
    "write_volume",
]


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
            from .dicom import volume_of_series
            from .dicom_series import chosen_series

            return volume_of_series(chosen_series(found, series, frame), header_only)
        if series:
            raise InputError(f"{Path(path).name} is an image file and has no series {series}. Leave the series away.")
        return read_image(found, header_only, frame)


def read_frames(path: str | os.PathLike[str], series: str = "") -> tuple[list[Volume], float]:
    """All volumes of the image, or of the series that is meant; arguments and errors as in ``read_volume``.

    Returns:
        The volumes, and the time between them in seconds; 1 where it is not known.

    Raises:
        GeometryError: They do not all lie in the same place.
    """
    with opened_scan(path) as found, _opening(path):
        if not is_dicom(found):
            header = image_header(found)
            return image_frames(found, header, 1, header.frames), header.frame_s
        from .dicom import volume_of_series
        from .dicom_series import phases_of, series_at

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


@contextmanager
def opened_scan(name: str | os.PathLike[str]) -> Iterator[Path]:
    """The scan's path; while the block runs, a folder or an image file in place of a zip archive.

    Raises:
        InputError: There is no such file or folder, or the archive cannot be unpacked.
    """
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
