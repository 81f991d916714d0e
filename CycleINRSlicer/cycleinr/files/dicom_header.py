"""DICOM headers through pydicom: without a word on the console, and with no more memory than the file has bytes.

pydicom warns of values that break the standard and prints them, patients' data included, and it takes the memory that
an element claims before it finds that the file ends earlier. GDCM takes memory for what a file's elements say, and then
reads. What one file says about its slice is a ``SliceHeader``.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import InputError
from .atomic import check_scan_name
from .dicom_slices import SliceHeader

if TYPE_CHECKING:
    import pydicom

_UNKNOWN = "unknown"
ENHANCED_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR
)

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")

TELLING = (
    *("EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "AcquisitionNumber", "DiffusionBValue"),
    *("InversionTime", "TriggerTime", "NominalPercentageOfCardiacPhase", "ImageType", "KVP"),
    *("AcquisitionTime", "ContentTime", "InstanceNumber"),
)
"""What may tell images at one place of a series from each other: phases, echoes, repetitions."""

PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")

MANUFACTURER = "CycleINR"
"""Manufacturer (0008,0070) of all that is written here; also tells our own files from a scanner's."""

_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "ImageType", "Modality", "SeriesInstanceUID", "SeriesNumber", "Manufacturer"),
    *("SliceThickness", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
    *("NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"),
    *("RescaleIntercept", "RescaleSlope", "PixelRepresentation", *PADDING, *TELLING),
]
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_OF_FRAMES = (
    ("ImagePositionPatient", "PlanePositionSequence", "ImagePositionPatient"),
    ("ImageOrientationPatient", "PlaneOrientationSequence", "ImageOrientationPatient"),
    ("PixelSpacing", "PixelMeasuresSequence", "PixelSpacing"),
    ("SliceThickness", "PixelMeasuresSequence", "SliceThickness"),
    ("RescaleSlope", "PixelValueTransformationSequence", "RescaleSlope"),
    ("RescaleIntercept", "PixelValueTransformationSequence", "RescaleIntercept"),
    ("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
    ("TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex"),
    ("AcquisitionNumber", "FrameContentSequence", "FrameAcquisitionNumber"),
    ("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue"),
    ("InversionTime", "MRModifierSequence", "InversionTimes"),
    ("TriggerTime", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("NominalPercentageOfCardiacPhase", "CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    ("ImageType", "CTImageFrameTypeSequence", "FrameType"),
    ("ImageType", "MRImageFrameTypeSequence", "FrameType"),
)
"""What a single slice says, and the functional group and attribute in which a frame says it (PS3.3, C.7.6.16)."""

# CT and MR Image Storage: a file of these classes without position or size must be damaged, not another kind of image.
_SLICE_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4")
_WORDS_IN_IMAGE_TYPE = 8
_LETTERS_IN_A_WORD = 16

_MOST_PACKED = 4096
"""Times that pixels of a scan can be compressed; more is promised by damaged headers, and memory is taken for it."""

_UNDEFINED = 0xFFFFFFFF
_LONG_FORMS = (b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"UN")
_ITEM, _END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_PIXEL_DATA = (0x7FE0, 0x0010)

_MODALITIES = {
    "AR", "ASMT", "AU", "BDUS", "BI", "BMD", "CFM", "CR", "CT", "CTPROTOCOL", "DG", "DMS", "DOC", "DX", "ECG", "EEG",
    "EMG", "EOG", "EPS", "ES", "FID", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LS", "M3D",
    "MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PA", "PLAN", "POS",
    "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD",
    "RTSEGANN", "RTSTRUCT", "RWV", "SEG", "SM", "SMR", "SR", "SRF", "STAIN", "TEXTUREMAP", "TG", "US", "VA", "XA",
    "XC", "XAPROTOCOL", "AS", "CD", "CF", "CP", "CS", "DD", "DF", "DM", "DS", "EC", "FA", "FS", "LP", "MA", "MS",
    "OPR", "ST", "TH", "VF", "VL",
}  # fmt: skip
"""DICOM PS3.3, C.7.3.1.1.1, with the retired ones."""

GREY = ("MONOCHROME1", "MONOCHROME2")
"""Whether low values are shown bright or dark; what the values are in HU or MR units is the same for both."""

_PHOTOMETRIC = {
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "YBR_FULL", "YBR_FULL_422",
    "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB",
}  # fmt: skip
"""DICOM PS3.3, C.7.6.3.1.2."""


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what pydicom has to say about values reaches the console or a log.

    The values of a dataset are decoded when they are first asked for, so this has to include that.
    """
    from pydicom.config import disable_value_validation

    logger = logging.getLogger("pydicom")
    disabled = logger.disabled
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = disabled


def read_header(path: Path, attributes: Sequence[str | int]) -> pydicom.Dataset:
    """Some attributes of a file, without its pixels; to be called, and its result to be used, in ``quiet``.

    Raises:
        Exception: Nearly any, where the file is damaged.
    """
    import pydicom

    with WithinFile(open(path, "rb", buffering=0)) as file:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(attributes))


def looks_like_dicom(path: Path) -> bool:
    """Whether a file has the DICOM mark, or a name that DICOM files have."""
    return has_mark(path) or path.suffix.lower() in DICOM_SUFFIXES


def has_mark(path: Path) -> bool:
    """Whether a file has the mark of DICOM files."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def slice_header(path: Path) -> SliceHeader | None:
    """Header of one image, None if the object has no image with a place in the patient.

    Raises:
        InputError: The file is damaged, or of a name that GDCM cannot open.
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

    with WithinFile(open(path, "rb", buffering=0)) as file:
        data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
        syntax = data.file_meta.TransferSyntaxUID
        # A deflated file's elements have no places in it.
        if not syntax.is_deflated and _is_truncated(file, syntax.is_little_endian, syntax.is_compressed):
            raise undecodable(path)
    sop_class = str(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID", ""))
    if "LOCALIZER" in (data.get("ImageType") or []):
        # Nothing of where it lies, which may be nowhere
        told = pydicom.Dataset()
        for keyword in ("Modality", "SeriesInstanceUID", "SeriesNumber"):
            if keyword in data:
                told.add(data[keyword])
        return replace(_header(path, told), is_scout=True)
    frames = int(data.get("NumberOfFrames") or 1)
    samples = [int(data.get(keyword) or 1) for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")]
    packed = _MOST_PACKED if syntax.is_compressed or syntax.is_deflated else 1
    if frames * math.prod(samples) // 8 > packed * path.stat().st_size:
        raise undecodable(path)
    if sop_class in ENHANCED_CLASSES or frames > 1:
        return _header(path, data, frames) if data.get("Rows") else None
    header = _header(path, data)
    complete = header.series_uid and header.position_lps_mm is not None and min(header.rows_columns) > 0
    if not complete and sop_class in _SLICE_CLASSES:
        raise _damaged(path)
    return header if complete else None


def frames_of(header: SliceHeader) -> list[SliceHeader]:
    """A header for each frame of the enhanced image of a header, scouts left out.

    Raises:
        InputError: The functional groups are damaged, or do not place the frames in the patient.
    """

    path = header.path
    try:
        with quiet():
            data = read_header(path, [*_TAGS, *GROUPS])
            shared, own = (data.get(keyword) or [] for keyword in GROUPS)
            for keyword in {*GROUPS, *TELLING, *(keyword for keyword, *_ in _OF_FRAMES)} & set(data.dir()):
                del data[keyword]
            found = [_frame(data, (one, *shared[:1])) for one in own]
            frames = [
                replace(_header(path, frame, header.frames), frame=n)
                for n, frame in enumerate(found)
                if "LOCALIZER" not in (frame.get("ImageType") or [])
            ]
    except Exception as error:
        raise _unplaced(path) from error
    if not frames or len(found) != header.frames or any(frame.position_lps_mm is None for frame in frames):
        raise _unplaced(path)
    return frames


def _frame(data: pydicom.Dataset, groups: Sequence[pydicom.Dataset]) -> pydicom.Dataset:
    """What a file says of one frame, as of a single slice; its own group goes before what all share."""
    import pydicom

    frame = pydicom.Dataset()
    frame.update(data)
    for keyword, sequence, name in _OF_FRAMES:
        items = [group.get(sequence) for group in groups]
        values = [item[0].get(name) for item in items if item]
        if said := [value for value in values if value not in (None, "")]:
            setattr(frame, keyword, said[0])
    return frame


def _header(path: Path, data: pydicom.Dataset, frames: int | None = None) -> SliceHeader:
    def numbers(key: str, count: int) -> np.ndarray | None:
        value = data.get(key)
        if value is None or value == "":
            return None
        array = np.asarray(value, dtype=np.float64)
        if array.shape != (count,) or not np.isfinite(array).all():
            raise _damaged(path)
        return array

    def number(key: str, otherwise: float | None) -> float | None:
        value = data.get(key)
        return otherwise if value in (None, "") else float(value)

    orientation = numbers("ImageOrientationPatient", 6)
    pixel, position = numbers("PixelSpacing", 2), numbers("ImagePositionPatient", 3)
    axes = None
    if position is None or orientation is None or pixel is None:
        position = pixel = None
    else:
        axes = orientation.reshape(2, 3) / np.linalg.norm(orientation.reshape(2, 3), axis=1, keepdims=True)
        if pixel.min() <= 0 or not np.allclose(np.linalg.norm(orientation.reshape(2, 3), axis=1), 1, atol=1e-2):
            raise _damaged(path)
    return SliceHeader(
        path=path,
        series_uid=str(data.get("SeriesInstanceUID") or ""),
        series_number=str(data.get("SeriesNumber") or "without number"),
        modality=_known(data.get("Modality"), _MODALITIES),
        position_lps_mm=position,
        along_row_lps=None if axes is None else axes[0],
        along_column_lps=None if axes is None else axes[1],
        pixel_mm=None if pixel is None else (float(pixel[0]), float(pixel[1])),
        rows_columns=(int(data.get("Rows") or 0), int(data.get("Columns") or 0)),
        thickness_mm=number("SliceThickness", None),
        slope=number("RescaleSlope", 1.0),
        intercept=number("RescaleIntercept", 0.0),
        allocated_bits=int(data.get("BitsAllocated") or 16),
        samples_per_pixel=int(data.get("SamplesPerPixel") or 1),
        photometric=_known(data.get("PhotometricInterpretation"), _PHOTOMETRIC),
        frames=frames,
        is_result=data.get("Manufacturer") == MANUFACTURER,
        uid=str(data.get("SOPInstanceUID") or ""),
        padding=_padding(data),
        tells={keyword: found for keyword in TELLING if (found := _telling(data.get(keyword))) is not None},
    )


def _padding(data: pydicom.Dataset) -> tuple[int, ...]:
    """The ends of the range of stored values that padding has; none where the header names no padding."""
    signed = data.get("PixelRepresentation") == 1
    ends = [data.get(keyword) for keyword in PADDING]
    # Without a value representation that pydicom can tell, they are bytes; others write them without their sign
    numbers = [int.from_bytes(end[:2], "little") if isinstance(end, bytes) else end for end in ends if end is not None]
    whole = [number for number in numbers if isinstance(number, int)]
    return tuple(n - 65536 if signed and n > 32767 else n + 65536 if not signed and n < 0 else n for n in whole)


def _telling(value: object) -> float | str | tuple[str, ...] | None:
    """The value of one of ``TELLING`` as something to compare, sort and show; None where there is none.

    Times of day, HHMMSS.FFFFFF, become seconds since midnight. Of texts only words as the standard's are let through.
    """
    if value is None or value == "":
        return None
    if hasattr(value, "__iter__") and not isinstance(value, str):
        words = [str(word) for word in value][:_WORDS_IN_IMAGE_TYPE]
        return tuple(word if len(word) <= _LETTERS_IN_A_WORD and word.isascii() else _UNKNOWN for word in words)
    if isinstance(value, str) and re.fullmatch(r"\d{6}(\.\d*)?", value):
        return int(value[:2]) * 3600 + int(value[2:4]) * 60 + float(value[4:])
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _known(value: object, words: set[str]) -> str:
    """A word of the standard's, else "unknown": a message must not repeat just any text."""
    return str(value) if str(value) in words else _UNKNOWN


def _damaged(path: Path) -> InputError:
    return InputError(
        f"The header of {path.name} is damaged or incomplete. Export the series again, or remove that file."
    )


def _unplaced(path: Path) -> InputError:
    return InputError(
        f"The frames of {path.name} are damaged, or do not say where they lie in the patient. Export the image again, "
        "or convert it to NIfTI with dcm2niix and give the converted volume."
    )


def undecodable(path: Path) -> InputError:
    """What to raise for pixels that cannot be decoded."""
    return InputError(
        f"The pixels of {path.name} cannot be decoded: the file is truncated or damaged, or its compression is not "
        "supported. Export the series again, uncompressed if possible."
    )


class WithinFile(io.BufferedReader):
    """A file of which nothing is read beyond its end, however much is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > 0:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def _is_truncated(file: BinaryIO, little_endian: bool, compressed: bool) -> bool:
    """Whether the pixels, or what stands before them, end after the end of the file.

    Args:
        file: At the element that holds the pixels (7FE0,0010), or behind the last element if there is none.
        little_endian, compressed: What the transfer syntax says. Compressed files whose elements come without their
            types, which the standard rules out (PS3.5, A.4), count as truncated: GDCM finds wrong lengths there.
    """
    start, size = file.tell(), os.fstat(file.fileno()).st_size
    if start > size:
        return True
    order = "<" if little_endian else ">"
    head = file.read(12)
    if len(head) < 12 or struct.unpack_from(f"{order}2H", head) != _PIXEL_DATA:
        return False
    long_form = head[4:6] in _LONG_FORMS
    if compressed and not long_form:
        return True
    length = struct.unpack_from(f"{order}I", head, 8 if long_form else 4)[0]
    start += 12 if long_form else 8
    if length != _UNDEFINED:
        return start + length > size
    # Compressed pixels are a list of items, each with its length (DICOM PS3.5, A.4)
    while start < size:
        file.seek(start)
        head = file.read(8)
        if len(head) < 8:
            return True
        group, element, length = struct.unpack(f"{order}2HI", head)
        if (group, element) == _END:
            return False
        if (group, element) != _ITEM:
            return True
        start += 8 + length
    return True
