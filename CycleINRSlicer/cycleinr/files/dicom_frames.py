"""Enhanced (multi-frame) DICOM images: each frame's place from the functional groups, and the frames' pixels.

Newer scanners put all slices of a series into one file, or each into one of its own, with what differs from frame to
frame in nested sequences (DICOM PS3.3, C.7.6.16).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .bridges import without_itk_warnings
from .dicom_header import opened, quiet, read_header, telling_value
from .dicom_slices import SliceHeader

if TYPE_CHECKING:
    import pydicom

_GROUPS = ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]
_POSITION = ("PlanePositionSequence", "ImagePositionPatient", 3)
_ORIENTATION = ("PlaneOrientationSequence", "ImageOrientationPatient", 6)
_PIXEL_SPACING = ("PixelMeasuresSequence", "PixelSpacing", 2)
_FRAME_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence")
_TELLING = (
    ("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
    ("TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex"),
    ("AcquisitionNumber", "FrameContentSequence", "FrameAcquisitionNumber"),
    ("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue"),
    ("InversionTime", "MRModifierSequence", "InversionTimes"),
    ("TriggerTime", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("NominalPercentageOfCardiacPhase", "CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    *(("ImageType", sequence, "FrameType") for sequence in _FRAME_TYPES),
)
"""Where a frame says what may tell it from another one at the same place, by the name that single slices use."""


def frames_of(header: SliceHeader) -> list[SliceHeader]:
    """A header for each frame of one enhanced image, scouts left out.

    Args:
        header: What the file says of all of its frames.

    Raises:
        InputError: The functional groups are damaged, or do not place the frames in the patient.
    """
    import pydicom

    try:
        with quiet():
            data = read_header(header.path, _GROUPS)
            shared = (data.get(_GROUPS[0]) or [pydicom.Dataset()])[0]
            own = data.get(_GROUPS[1]) or []
            found = [_Frame(shared, frame) for frame in own]
            frames = [frame.header(header, n) for n, frame in enumerate(found) if not frame.is_scout]
    # A damaged header makes pydicom raise nearly anything, and all of it means the same to the reader.
    except Exception as error:
        raise _unplaced(header.path) from error
    if not frames or len(found) != header.frames or any(frame.position_lps_mm is None for frame in frames):
        raise _unplaced(header.path)
    return frames


class _Frame:
    """The functional groups of one frame: its own first, then those that all frames share."""

    def __init__(self, shared: pydicom.Dataset, own: pydicom.Dataset):
        self._groups = own, shared

    def value(self, sequence: str, keyword: str):
        """An attribute of a functional group; None where the frame has none."""
        for group in self._groups:
            items = group.get(sequence)
            if items and items[0].get(keyword) not in (None, ""):
                return items[0].get(keyword)
        return None

    def telling(self, sequence: str, keyword: str):
        return telling_value(self.value(sequence, keyword))

    def numbers(self, sequence: str, keyword: str, count: int) -> np.ndarray | None:
        value = self.value(sequence, keyword)
        array = np.asarray([] if value is None else value, dtype=np.float64)
        return array if array.shape == (count,) and np.isfinite(array).all() else None

    @property
    def is_scout(self) -> bool:
        return any("LOCALIZER" in (self.value(sequence, "FrameType") or []) for sequence in _FRAME_TYPES)

    def header(self, file: SliceHeader, number: int) -> SliceHeader:
        """The file's header with what this frame says; without position where it is not placed in the patient."""
        position, orientation, pixel = (self.numbers(*which) for which in (_POSITION, _ORIENTATION, _PIXEL_SPACING))
        if position is None or orientation is None or pixel is None or pixel.min() <= 0:
            return replace(file, frame=number, position_lps_mm=None)
        axes = orientation.reshape(2, 3)
        lengths = np.linalg.norm(axes, axis=1)
        if not np.allclose(lengths, 1, atol=1e-2):
            return replace(file, frame=number, position_lps_mm=None)
        thickness = self.value("PixelMeasuresSequence", "SliceThickness")
        slope = self.value("PixelValueTransformationSequence", "RescaleSlope")
        intercept = self.value("PixelValueTransformationSequence", "RescaleIntercept")
        return replace(
            file,
            frame=number,
            position_lps_mm=position,
            along_row_lps=axes[0] / lengths[0],
            along_column_lps=axes[1] / lengths[1],
            pixel_mm=(float(pixel[0]), float(pixel[1])),
            thickness_mm=None if thickness is None else float(thickness),
            slope=1.0 if slope is None else float(slope),
            intercept=0.0 if intercept is None else float(intercept),
            tells={key: told for key, *where in _TELLING if (told := self.telling(*where)) is not None},
        )


def read_frames(ordered: list[SliceHeader], dtype: type) -> np.ndarray:
    """Rescaled pixels (K, J, I) of frames in order.

    Raises:
        ValueError, RuntimeError: The pixels cannot be decoded; whatever pydicom raises, too.
    """
    alike = len({(s.slope, s.intercept) for s in ordered}) == 1
    result = np.empty((len(ordered), *ordered[0].rows_columns), dtype)
    for path in dict.fromkeys(s.path for s in ordered):
        # GDCM takes one rescale for all frames, and turns around what is shown bright where it is low
        by_gdcm = alike and ordered[0].photometric != "MONOCHROME1"
        pixels = _rescaled(path, dtype) if by_gdcm else _stored(path)
        pixels = pixels.reshape(-1, *ordered[0].rows_columns)
        for k, s in enumerate(ordered):
            if s.path == path:
                result[k] = pixels[s.frame] if by_gdcm else pixels[s.frame] * s.slope + s.intercept
    return result


def _rescaled(path: Path, dtype: type) -> np.ndarray:
    """By GDCM, which knows most compressions."""
    import SimpleITK as sitk

    kind = sitk.sitkInt32 if np.dtype(dtype) == np.int32 else sitk.sitkFloat32
    with without_itk_warnings():
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path), kind, imageIO="GDCMImageIO"))


def _stored(path: Path) -> np.ndarray:
    """By pydicom, without any rescale."""
    import pydicom

    with quiet(), opened(path) as file:
        return pydicom.dcmread(file).pixel_array


def _unplaced(path: Path) -> InputError:
    return InputError(
        f"The frames of {path.name} are damaged, or do not say where they lie in the patient. Export the image again, "
        "or convert it to NIfTI with dcm2niix and give the converted volume."
    )
