"""One DICOM series as a volume: which files belong to it, and their pixels.

Headers are read with pydicom without the pixels; GDCM, through SimpleITK, decodes the pixels in every transfer syntax
it knows. Messages name files and series numbers, never anything about the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..volume import MODALITIES, Volume
from .dicom_frames import ENHANCED_CLASSES, frames_of, read_frames
from .dicom_header import modality_of, opened, photometric_of, quiet
from .dicom_length import is_truncated
from .dicom_slices import SliceHeader, stack, thickness_of
from .names import check_scan_name
from .room import check_room, out_of_memory, unread

if TYPE_CHECKING:
    import pydicom

_TAGS = [
    "SOPClassUID",
    "ImageType",
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "RescaleIntercept",
    "RescaleSlope",
]
_DECODER = "GDCMImageIO"
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# CT and MR Image Storage: a file of these classes without position or size must be damaged, not another kind of image.
_SLICE_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4")


def looks_like_dicom(path: Path) -> bool:
    """Whether a file has the DICOM mark, or a name that DICOM files have."""
    return _has_mark(path) or path.suffix.lower() in _DICOM_SUFFIXES


def read_dicom(path: Path, header_only: bool = False) -> Volume:
    """Read one DICOM series, or its headers, with zeros that take no memory for voxels.

    :param path: a folder that holds one series of CT or MR slices, or one file, which stands for its series in its
        folder. A file holds one slice or, as an enhanced image, several. Subfolders are not searched; scout images
        and objects that are no images are left out.
    :returns: (K, J, I) with k along the slice normal; integers stay integers (HU for CT) where the rescale values are
        whole numbers, and are float32 otherwise.
    :raises InputError: no series, several, a damaged file, or images that are no CT or MR slices.
    :raises GeometryError: the slices do not form one rectangular stack.
    :raises OutOfMemoryError: the series does not fit into the memory.
    """
    slices = _series_at(Path(path))
    _check_kind(slices)
    ordered, ijk_to_ras = stack([frame for s in slices for frame in ([s] if s.frames is None else frames_of(s))])
    first = ordered[0]
    shape = len(ordered), *first.rows_columns
    return Volume(
        unread(shape, _type_of(ordered)) if header_only else _pixels_of(ordered),
        ijk_to_ras,
        modality=first.modality,
        slice_thickness_mm=thickness_of(ordered),
        # The series description may hold anything that was typed at the scanner, so it stays out of the name.
        name=f"{first.modality} series {first.series_number}",
    )


def series_files(path: Path) -> list[Path]:
    """The files of one series of single slices, without the scouts; `path` and errors as in `read_dicom`.

    :raises InputError: also for an enhanced image.
    """
    slices = _series_at(Path(path))
    _check_single(slices)
    return [s.path for s in slices]


@dataclass(frozen=True)
class SeriesFiles:
    """Which files form one series, without the scouts; `uid` is its Series Instance UID (0020,000E)."""

    uid: str
    files: tuple[Path, ...]
    is_ct_or_mr: bool
    multi_frame: bool


def series_by_uid(files: Sequence[Path]) -> tuple[list[SeriesFiles], list[Path]]:
    """The series among some files, and the DICOM files that are damaged; for finding scans before they are read.

    Files that are not DICOM, and objects without an image that has a place in the patient, are passed over.
    """
    headers: dict[str, list[SliceHeader]] = {}
    damaged = []
    for file in files:
        try:
            header = _header_of(file) if looks_like_dicom(file) else None
        except (InputError, OSError):
            damaged.append(file)
            continue
        if header is not None:
            headers.setdefault(header.series_uid, []).append(header)
    return [_series_of(uid, found) for uid, found in headers.items()], damaged


def _series_of(uid: str, found: list[SliceHeader]) -> SeriesFiles:
    multi_frame = any(header.frames is not None for header in found)
    return SeriesFiles(uid, tuple(h.path for h in found), found[0].modality in MODALITIES, multi_frame)


def slices_of_files(files: Sequence[Path]) -> list[SliceHeader]:
    """Headers of the slices among some files of one slice each; scouts and objects that are no images are left out.

    :raises InputError: a file is missing, damaged or no DICOM file; no slice is left; or they are of several series,
        multi-frame, or no grey CT or MR images.
    """
    for file in files:
        if not Path(file).is_file() or not _has_mark(Path(file)):
            raise InputError(f"{Path(file).name} is missing or no DICOM file. Export the series again.")
    slices = [header for file in files if (header := _header_of(Path(file))) is not None]
    if not slices:
        raise InputError(f"None of the {len(files)} files is a slice of a CT or MR series. Check the files.")
    slices = _only_series(slices, "The source")
    _check_kind(slices)
    _check_single(slices)
    return slices


def _series_at(path: Path) -> list[SliceHeader]:
    """Headers of the series that a folder holds, or that a file belongs to."""
    if path.is_dir():
        return _only_series(_slices_in(path), "The folder")
    wanted = _header_of(path)
    if wanted is None:
        raise InputError(
            f"{path.name} is a scout, or a DICOM object without an image that has a place in the patient. "
            "Give a CT or MR slice of the scan itself."
        )
    return _slices_in(path.parent, of_series=wanted.series_uid)


def _slices_in(folder: Path, of_series: str | None = None) -> list[SliceHeader]:
    """Headers of all images in a folder, or of those of one series, without the scouts.

    Images that are neither CT nor MR are left out where there are CT or MR images.
    """
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    marked = [f for f in files if _has_mark(f)]
    suffixes = {_kind_of_suffix(f) for f in marked}
    for file in sorted(set(files) - set(marked)):
        if file.suffix.lower() in _DICOM_SUFFIXES or (_kind_of_suffix(file) in suffixes and _is_binary(file)):
            raise InputError(
                f"{file.name} is empty, damaged or no DICOM file. Export the series again, or remove that file."
            )
    slices = [header for file in marked if (header := _header_of(file)) is not None]
    if not slices:
        inside = " Subfolders are not searched; give the one with the images." if _has_subfolder(folder) else ""
        raise InputError(f"There are no DICOM images of a CT or MR series in {folder}.{inside} Check the path.")
    if of_series is not None:
        return [s for s in slices if s.series_uid == of_series]
    return [s for s in slices if s.modality in MODALITIES] or slices


def _only_series(slices: list[SliceHeader], where: str) -> list[SliceHeader]:
    series: dict[str, list[SliceHeader]] = {}
    for header in slices:
        series.setdefault(header.series_uid, []).append(header)
    if len(series) > 1:
        listed = "; ".join(
            f"series {s[0].series_number}: {len(s)} {s[0].modality} image{'s' if len(s) > 1 else ''}, "
            f"for example {s[0].path.name}"
            for s in series.values()
        )
        raise InputError(
            f"{where} holds {len(series)} DICOM series ({listed}). Give one file of the series you want instead."
        )
    return slices


def _header_of(path: Path) -> SliceHeader | None:
    """Header of one image, None if the object has no image with a place in the patient, or is a scout.

    :raises InputError: the file is damaged, or of a name that GDCM cannot open.
    """
    check_scan_name(path)
    try:
        with quiet():
            return _image_header(path)
    except (InputError, PermissionError):
        raise
    # A damaged header makes pydicom raise nearly anything, and all of it means the same to the reader.
    except Exception as error:
        raise _damaged(path) from error


def _image_header(path: Path) -> SliceHeader | None:
    import pydicom

    with opened(path) as file:
        data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
        syntax = data.file_meta.TransferSyntaxUID
        # A deflated file's elements have no places in it.
        if not syntax.is_deflated and is_truncated(file, syntax.is_little_endian, syntax.is_compressed):
            raise _undecodable(path)
    sop_class = str(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID", ""))
    if "LOCALIZER" in (data.get("ImageType") or []):
        return None
    frames = int(data.get("NumberOfFrames") or 1)
    if sop_class in ENHANCED_CLASSES or frames > 1:
        return _header(path, data, frames) if data.get("Rows") else None
    header = _header(path, data)
    complete = header.series_uid and header.position_lps_mm is not None and min(header.rows_columns) > 0
    if not complete and sop_class in _SLICE_CLASSES:
        raise _damaged(path)
    return header if complete else None


def _header(path: Path, data: pydicom.Dataset, frames: int | None = None) -> SliceHeader:
    def numbers(key: str, count: int) -> np.ndarray | None:
        value = data.get(key)
        if value is None or value == "":
            return None
        array = np.asarray(value, dtype=np.float64)
        if array.shape != (count,) or not np.isfinite(array).all():
            raise _damaged(path)
        return array

    orientation = numbers("ImageOrientationPatient", 6)
    pixel = numbers("PixelSpacing", 2)
    position = numbers("ImagePositionPatient", 3)
    placed = position is not None and orientation is not None and pixel is not None
    if placed and (pixel.min() <= 0 or not np.allclose(_lengths(orientation), 1, atol=1e-2)):
        raise _damaged(path)
    thickness = data.get("SliceThickness")
    slope, intercept = data.get("RescaleSlope"), data.get("RescaleIntercept")
    return SliceHeader(
        path=path,
        series_uid=str(data.get("SeriesInstanceUID") or ""),
        series_number=str(data.get("SeriesNumber") or "without number"),
        modality=modality_of(data),
        position_lps_mm=position if placed else None,
        along_row_lps=orientation[:3] / _lengths(orientation)[0] if placed else None,
        along_column_lps=orientation[3:] / _lengths(orientation)[1] if placed else None,
        pixel_mm=(float(pixel[0]), float(pixel[1])) if placed else None,
        rows_columns=(int(data.get("Rows") or 0), int(data.get("Columns") or 0)),
        thickness_mm=None if thickness in (None, "") else float(thickness),
        slope=1.0 if slope in (None, "") else float(slope),
        intercept=0.0 if intercept in (None, "") else float(intercept),
        allocated_bits=int(data.get("BitsAllocated") or 16),
        samples_per_pixel=int(data.get("SamplesPerPixel") or 1),
        photometric=photometric_of(data),
        frames=frames,
    )


def _check_kind(slices: list[SliceHeader]) -> None:
    """:raises InputError: the images are no grey CT or MR images."""
    for s in slices:
        if s.modality not in MODALITIES:
            raise InputError(f"The series is of modality {s.modality}. Only CT and MR can be processed.")
        if s.samples_per_pixel != 1 or s.photometric != "MONOCHROME2":
            raise InputError(
                f"{s.path.name} holds pixels of kind {s.photometric} with {s.samples_per_pixel} value(s) "
                "each; only grey images with bright as high (MONOCHROME2) can be read. Convert the series first."
            )


def _check_single(slices: list[SliceHeader]) -> None:
    """:raises InputError: the slices are frames of an enhanced image."""
    for s in slices:
        if s.frames is not None:
            raise InputError(
                f"{s.path.name} is an enhanced (multi-frame) DICOM image, to whose study a series of single slices "
                "cannot be added. Write the result as NIfTI, NRRD or MetaImage instead."
            )


def _pixels_of(ordered: list[SliceHeader]) -> np.ndarray:
    """Rescaled pixels (K, J, I) of slices in order."""
    whole = _is_whole(ordered)
    read = _read_slices if ordered[0].frame is None else read_frames
    check_room("The series", (len(ordered), *ordered[0].rows_columns), "32-bit")
    try:
        array = read(ordered, np.int32 if whole else np.float32)
    except MemoryError as error:
        raise out_of_memory("the series") from error
    except InputError:
        raise
    # What pydicom and GDCM raise for pixels that they cannot decode is of every kind.
    except Exception as error:
        raise (out_of_memory("the series") if "allocat" in str(error) else _first_undecodable(ordered)) from error
    return _smallest_integers(array) if whole else array


def _type_of(ordered: list[SliceHeader]) -> type:
    """What most series of this kind come to; the values of those of 16 bits may need 32."""
    return np.int16 if _is_whole(ordered) else np.float32


def _is_whole(ordered: list[SliceHeader]) -> bool:
    return all(s.slope.is_integer() and s.intercept.is_integer() and s.allocated_bits <= 16 for s in ordered)


def _read_slices(ordered: list[SliceHeader], dtype: type) -> np.ndarray:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetImageIO(_DECODER)
    reader.SetFileNames([str(s.path) for s in ordered])
    # Left alone, the reader would cut the values of all slices to the type that the first one needs.
    reader.SetOutputPixelType(sitk.sitkInt32 if np.dtype(dtype) == np.int32 else sitk.sitkFloat32)
    return sitk.GetArrayFromImage(reader.Execute())


def _first_undecodable(ordered: list[SliceHeader]) -> InputError:
    import SimpleITK as sitk

    for s in ordered:
        try:
            sitk.ReadImage(str(s.path), imageIO=_DECODER)
        except RuntimeError:
            return _undecodable(s.path)
    return InputError("The pixels of the series cannot be decoded. Export the series again, uncompressed if possible.")


def _undecodable(path: Path) -> InputError:
    return InputError(
        f"The pixels of {path.name} cannot be decoded: the file is truncated or damaged, or its compression is not "
        "supported. Export the series again, uncompressed if possible."
    )


def _smallest_integers(array: np.ndarray) -> np.ndarray:
    low, high = int(array.min()), int(array.max())
    for kind in (np.int16, np.uint16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind)
    return array


def _damaged(path: Path) -> InputError:
    return InputError(
        f"The header of {path.name} is damaged or incomplete. Export the series again, or remove that file."
    )


def _has_mark(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _is_binary(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(512)
    return not start or b"\0" in start


def _kind_of_suffix(path: Path) -> str:
    # Slices are often numbered in place of a suffix, as in IM.0001 or in UIDs.
    suffix = path.suffix.lower()
    return "number" if suffix[1:].isdigit() else suffix


def _has_subfolder(folder: Path) -> bool:
    return any(entry.is_dir() for entry in folder.iterdir())


def _lengths(orientation: np.ndarray) -> np.ndarray:
    return np.linalg.norm(orientation.reshape(2, 3), axis=1)
