"""DICOM headers through pydicom: what one file says about its slice, or about each of its frames.

pydicom warns of values that break the standard and prints them, patients' data included, and it takes the memory that
an element claims before it finds that the file ends earlier. GDCM takes memory for what a file's elements say, and then
reads. Positions and orientations here are in LPS mm, as DICOM gives them.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .. import InputError
from .atomic import check_scan_name
from .bridges import ras_from_lps
from .samples import start_of

if TYPE_CHECKING:
    import pydicom

_UNKNOWN = "unknown"

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")

TELLING = (
    *("EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "AcquisitionNumber", "DiffusionBValue"),
    *("InversionTime", "TriggerTime", "NominalPercentageOfCardiacPhase", "ImageType", "KVP"),
    *("AcquisitionTime", "ContentTime", "InstanceNumber"),
)
"""What may tell images at one place of a series from each other: phases, echoes, repetitions."""

_PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
MANUFACTURER = "CycleINR"
"""Manufacturer (0008,0070) of all that is written here; also tells our own files from a scanner's."""

_TAGS = [
    *("SOPClassUID", "ImageType", "Modality", "SeriesInstanceUID", "SeriesNumber", "Manufacturer"),
    *("SliceThickness", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
    *("NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"),
    *("RescaleIntercept", "RescaleSlope", "PixelRepresentation", *_PADDING, *TELLING),
]
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_NAMES_IN_GROUPS = {
    "EffectiveEchoTime": "EchoTime", "InversionTimes": "InversionTime", "FrameType": "ImageType",
    "TemporalPositionIndex": "TemporalPositionIdentifier", "FrameAcquisitionNumber": "AcquisitionNumber",
    "NominalCardiacTriggerDelayTime": "TriggerTime", "ExposureTimeInms": "ExposureTime",
    "XRayTubeCurrentInmA": "XRayTubeCurrent", "ExposureInmAs": "Exposure",
}  # fmt: skip
"""What functional groups call otherwise than a single slice does (PS3.3, C.7.6.16)."""

_IMAGE_CLASSES = "1.2.840.10008.5.1.4.1.1"
_SLICE_CLASSES = (f"{_IMAGE_CLASSES}.2", f"{_IMAGE_CLASSES}.4")
"""CT and MR: without position or size, a file must be damaged, not another kind of image."""

_ENHANCED_CLASSES = tuple(f"{_IMAGE_CLASSES}.{end}" for end in ("2.1", "2.2", "4.1", "4.4"))
"""Enhanced CT and MR, and legacy ones converted to these."""

_WORDS_IN_IMAGE_TYPE, _LETTERS_IN_A_WORD = 8, 16
_MOST_PACKED = 4096
"""Times that pixels of a scan can be compressed; more is promised by damaged headers, and memory is taken for it."""

_UNDEFINED = 0xFFFFFFFF
_LONG_FORMS = (b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"UN")
_ITEM, _END = [0xFFFE, 0xE000], [0xFFFE, 0xE0DD]
_PIXEL_DATA = (0x7FE0, 0x0010)

GREY = ("MONOCHROME1", "MONOCHROME2")
"""Whether low values are shown bright or dark; what the values are in HU or MR units is the same for both."""

_MODALITIES = (
    *("CR", "CT", "DX", "IVOCT", "IVUS", "MG", "MR", "NM", "OPT", "OT", "PT", "RF", "RTDOSE", "RTIMAGE", "SC", "SEG"),
    *("US", "XA"),
)
_PHOTOMETRIC = (*GREY, "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
"""The usual words of PS3.3, C.7.3.1.1.1 and C.7.6.3.1.2; a message must not repeat just any text."""


@dataclass(frozen=True, eq=False)
class SliceHeader:
    """What one file says about its slice; None where it says nothing.

    Attributes:
        position_lps_mm: Centre of the first pixel, (3,); with orientation and pixel spacing, or none of the three.
        along_row_lps, along_column_lps: Unit vectors of rising column index and of rising row index, (3,).
        pixel_mm: Distance between rows, distance between columns.
        frames: Of an enhanced image; None for a file that is one slice.
        frame: Which of them this is.
        is_scout: An overview image to plan a scan on, without a place.
        is_result: It was made by CycleINR.
        padding: Ends of the range of stored values outside the field; empty for none.
        tells: What may tell it from another image at the same place, by DICOM keyword; see ``TELLING``.
    """

    path: Path
    series_uid: str
    series_number: int
    modality: str
    position_lps_mm: np.ndarray | None
    along_row_lps: np.ndarray | None
    along_column_lps: np.ndarray | None
    pixel_mm: tuple[float, float] | None
    rows_columns: tuple[int, int]
    thickness_mm: float | None
    slope: float
    intercept: float
    allocated_bits: int
    samples_per_pixel: int
    photometric: str
    frames: int | None = None
    frame: int | None = None
    is_scout: bool = False
    is_result: bool = False
    padding: tuple[int, ...] = ()
    tells: Mapping[str, float | tuple[str, ...]] = field(default_factory=dict)

    @property
    def normal_lps(self) -> np.ndarray:
        """Unit vector at right angles to the slice."""
        normal = np.cross(self.along_row_lps, self.along_column_lps)
        return normal / np.linalg.norm(normal)

    def place_ras_mm(self, column: float, row: float) -> np.ndarray:
        """Where a pixel of the slice lies, (3,) RAS mm."""
        across, down = column * self.pixel_mm[1], row * self.pixel_mm[0]
        place = self.position_lps_mm + across * self.along_row_lps + down * self.along_column_lps
        return ras_from_lps(np.eye(4))[:3, :3] @ place


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing that pydicom says about values reaches console or log; they are decoded when they are first asked for."""
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
    """Some attributes of a file, without its pixels; for use in ``quiet``. Damaged files raise nearly any exception."""
    import pydicom

    with WithinFile(open(path, "rb", buffering=0)) as file:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(attributes))


def looks_like_dicom(path: Path) -> bool:
    """Whether a file has the DICOM mark, or a name that DICOM files have."""
    return has_mark(path) or path.suffix.lower() in DICOM_SUFFIXES


def has_mark(path: Path) -> bool:
    """Whether a file has the mark of DICOM files."""
    return start_of(path)[128:132] == b"DICM"


def slice_header(path: Path) -> SliceHeader | None:
    """Header of one image, None if it has no place in the patient; an InputError where the file is damaged."""
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
        length = 0 if syntax.is_deflated else _pixel_bytes(file, syntax.is_little_endian, syntax.is_compressed)
        if length is None:
            raise undecodable(path)
    sop_class = str(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID", ""))
    header = _header(path, data, None)
    if header.is_scout:
        return header
    frames = int(data.get("NumberOfFrames") or 1)
    header = replace(header, frames=frames if frames > 1 or sop_class in _ENHANCED_CLASSES else None)
    bits = math.prod((frames, *header.rows_columns, header.samples_per_pixel, header.allocated_bits))
    if bits // 8 > path.stat().st_size * (_MOST_PACKED if syntax.is_compressed or syntax.is_deflated else 1):
        raise undecodable(path)
    is_placed = header.frames is not None or (header.series_uid and header.position_lps_mm is not None)
    if is_placed and min(header.rows_columns) > 0:
        # Behind them there may be padding, but not as much again: then the header is wrong
        if length and header.samples_per_pixel == 1 and not 0 <= 8 * length - bits < max(16, bits):
            raise undecodable(path, f"there are {length} bytes, and its header promises {bits // 8}")
        return header
    if sop_class in _SLICE_CLASSES:
        why = "does not say where its slice lies, how large it is, or of which series it is"
        raise InputError(f"{path.name} {why}. Export the series again, or remove that file.")
    return None


def frames_of(header: SliceHeader) -> list[SliceHeader]:
    """A header for each frame of an enhanced image, scouts left out; none where they are damaged, or have no place."""
    try:
        with quiet():
            data = read_header(header.path, [*_TAGS, *GROUPS])
            count = len(data.get(GROUPS[1]) or [])
            found = [_header(header.path, said_of_frame(data, n), header.frames) for n in range(count)]
    # As for a single slice
    except Exception:
        return []
    frames = [replace(each, frame=n) for n, each in enumerate(found) if not each.is_scout]
    is_sound = len(found) == header.frames and all(each.position_lps_mm is not None for each in frames)
    return frames if is_sound else []


def said_of_frame(data: pydicom.Dataset, number: int) -> dict[str, Any]:
    """What a file says of one frame, counted from 0, by the keywords of single slices; nothing that is empty.

    Its own groups go before those of all frames, and groups before the rest of the file but its UIDs.
    """
    top = [element for element in data if element.keyword not in GROUPS]
    groups = (data[GROUPS[1]].value[number], *(data.get(GROUPS[0]) or [])[:1])
    inner = [element for group in groups for element in _elements(group)]
    said: dict[str, Any] = {}
    for element in (*(each for each in top if each.VR == "UI"), *inner, *top):
        if element.value not in (None, ""):
            said.setdefault(_NAMES_IN_GROUPS.get(element.keyword, element.keyword), element.value)
    return said


def _elements(group: pydicom.Dataset) -> Iterator[pydicom.DataElement]:
    from pydicom.datadict import keyword_for_tag

    for tag in tuple(group.keys()):
        try:
            element = group[tag]
        # Real headers hold values that no reader understands; nobody misses those that are not used here
        except Exception:
            if keyword_for_tag(tag) in (*_TAGS, *_NAMES_IN_GROUPS):
                raise
            continue
        yield element
        for item in element.value if element.VR == "SQ" else ():
            yield from _elements(item)


def _header(path: Path, data: Mapping[str, Any], frames: int | None) -> SliceHeader:
    is_scout = "LOCALIZER" in (data.get("ImageType") or [])

    def numbers(keyword: str, count: int) -> np.ndarray | None:
        value = data.get(keyword)
        # A scout may lie nowhere, and nobody needs its numbers
        if is_scout or value in (None, ""):
            return None
        array = np.atleast_1d(np.asarray(value, np.float64))
        if array.shape != (count,) or not np.isfinite(array).all():
            raise _damaged(path)
        return array

    def number(keyword: str, otherwise: float) -> float:
        value = data.get(keyword)
        return otherwise if is_scout or value in (None, "") else float(value)

    position, axes = numbers("ImagePositionPatient", 3), numbers("ImageOrientationPatient", 6)
    pixel, thickness_mm = numbers("PixelSpacing", 2), number("SliceThickness", 0.0)
    if position is None or axes is None or pixel is None:
        position, axes, pixel = None, (None, None), None
    else:
        axes = axes.reshape(2, 3)
        lengths = np.linalg.norm(axes, axis=1, keepdims=True)
        if pixel.min() <= 0 or not np.allclose(lengths, 1, atol=1e-2):
            raise _damaged(path)
        axes, pixel = axes / lengths, (float(pixel[0]), float(pixel[1]))
    return SliceHeader(
        path=path,
        series_uid=str(data.get("SeriesInstanceUID") or ""),
        series_number=whole_number(data, "SeriesNumber") or 0,
        modality=_known(data.get("Modality"), _MODALITIES),
        position_lps_mm=position,
        along_row_lps=axes[0],
        along_column_lps=axes[1],
        pixel_mm=pixel,
        rows_columns=(int(data.get("Rows") or 0), int(data.get("Columns") or 0)),
        thickness_mm=thickness_mm if 0 < thickness_mm < math.inf else None,
        slope=number("RescaleSlope", 1.0),
        intercept=number("RescaleIntercept", 0.0),
        allocated_bits=int(data.get("BitsAllocated") or 16),
        samples_per_pixel=int(data.get("SamplesPerPixel") or 1),
        photometric=_known(data.get("PhotometricInterpretation"), _PHOTOMETRIC),
        frames=frames,
        is_scout=is_scout,
        is_result=data.get("Manufacturer") == MANUFACTURER,
        padding=_padding(data),
        tells={keyword: found for keyword in TELLING if (found := _telling(data.get(keyword))) is not None},
    )


def whole_number(header: Mapping[str, Any], keyword: str) -> int | None:
    """An integer attribute; None if it is missing or holds anything else."""
    text = str(header.get(keyword) or "").strip()
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else None


def _padding(data: Mapping[str, Any]) -> tuple[int, ...]:
    """The ends of the range of stored values that padding has; none where the header names no padding."""
    signed = data.get("PixelRepresentation") == 1
    ends = [data.get(keyword) for keyword in _PADDING]
    # Without a value representation that pydicom can tell, they are bytes; others write them without their sign
    ends = [int.from_bytes(end[:2], "little") if isinstance(end, bytes) else end for end in ends]
    whole = [end for end in ends if isinstance(end, int)]
    return tuple(n - 65536 if signed and n > 32767 else n + 65536 if not signed and n < 0 else n for n in whole)


def _telling(value: object) -> float | tuple[str, ...] | None:
    """The value of one of ``TELLING`` as something to compare, sort and show; None where there is none.

    Times of day, HHMMSS.FFFFFF, become seconds since midnight. Of texts only words as the standard's are let through.
    """
    if hasattr(value, "__iter__") and not isinstance(value, str):
        words = [str(word) for word in value][:_WORDS_IN_IMAGE_TYPE]
        return tuple(word if len(word) <= _LETTERS_IN_A_WORD and word.isascii() else _UNKNOWN for word in words)
    if isinstance(value, str) and re.fullmatch(r"\d{6}(\.\d*)?", value):
        return int(value[:2]) * 3600 + int(value[2:4]) * 60 + float(value[4:])
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _known(value: object, words: Sequence[str]) -> str:
    return str(value) if str(value) in words else _UNKNOWN


def _damaged(path: Path) -> InputError:
    return InputError(
        f"The header of {path.name} is damaged or incomplete. Export the series again, or remove that file."
    )


def undecodable(path: Path, why="the file is truncated or damaged, or its compression is not supported") -> InputError:
    """What to raise for pixels that cannot be decoded."""
    return InputError(
        f"The pixels of {path.name} cannot be decoded: {why}. Export the series again, uncompressed if possible."
    )


class WithinFile(io.BufferedReader):
    """A file of which nothing is read beyond its end, however much is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > 0:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def _pixel_bytes(file: BinaryIO, little_endian: bool, compressed: bool) -> int | None:
    """Bytes of the pixels that follow; 0 for none and for compressed ones; None where the file ends before they do."""
    at, size = file.tell(), os.fstat(file.fileno()).st_size
    order = "<" if little_endian else ">"
    head = file.read(12)
    if len(head) < 12 or struct.unpack_from(f"{order}2H", head) != _PIXEL_DATA:
        return None if at > size else 0
    is_long = head[4:6] in _LONG_FORMS
    # The standard rules that out (PS3.5, A.4), and GDCM finds wrong lengths there
    if compressed and not is_long:
        return None
    length = struct.unpack_from(f"{order}I", head, 8 if is_long else 4)[0]
    at += 12 if is_long else 8
    if length != _UNDEFINED:
        return None if at + length > size else 0 if compressed else length
    # Compressed pixels are a list of items, each with its length (DICOM PS3.5, A.4)
    while at + 8 <= size:
        file.seek(at)
        *tag, length = struct.unpack(f"{order}2HI", file.read(8))
        if tag != _ITEM:
            return 0 if tag == _END else None
        at += 8 + length
    return None
