"""Small DICOM series for the tests, every tag open to change, with the pydicom of Slicer 5.10 (2.4) and 5.12 (3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

IS_PYDICOM_2 = pydicom.__version_info__[0] == "2"
SERIES = generate_uid()
OTHER_SERIES = generate_uid()
STUDY = generate_uid()
PATIENT = "Doe^Jane"
# Unlike any stretch of a hash or a number, which the searches for it would take for a leak.
PATIENT_ID = "MRN-4711-X"


def write_file(path, data) -> None:
    """Write a data set with its File Meta Information, complete and checked."""
    if IS_PYDICOM_2:
        syntax = data.file_meta.TransferSyntaxUID
        data.is_little_endian, data.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
        pydicom.dcmwrite(path, data, write_like_original=False)
    else:
        pydicom.dcmwrite(path, data, enforce_file_format=True)


def rescaled(data) -> np.ndarray:
    """The pixels of a data set in real values, by pydicom's own decoding and rescale."""
    if IS_PYDICOM_2:
        from pydicom.pixel_data_handlers.util import apply_modality_lut

        return apply_modality_lut(data.pixel_array, data)
    from pydicom.pixels import apply_rescale

    return apply_rescale(data.pixel_array, data)


def pixels_of_slice(n: int, rows: int = 6, columns: int = 5) -> np.ndarray:
    """Stored values (rows, columns) that tell slice, row and column apart."""
    row, column = np.mgrid[0:rows, 0:columns]
    return (1000 + 100 * n + 10 * row + column).astype(np.uint16)


def write_slice(path: Path, position, pixels: np.ndarray, **tags) -> Path:
    """Write one slice; any DICOM keyword replaces its default, and None removes it.

    Args:
        position: Image Position (Patient), LPS mm.
        pixels: Stored values (rows, columns), 16 bits.
    """
    data = Dataset()
    data.file_meta = FileMetaDataset()
    modality = tags.get("Modality", "CT")
    data.SOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
    data.SOPInstanceUID = generate_uid()
    data.PatientName, data.PatientID = PATIENT, PATIENT_ID
    data.StudyInstanceUID, data.SeriesInstanceUID = STUDY, SERIES
    data.ImageType, data.Modality, data.SeriesNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], modality, 3
    data.SliceThickness = 4.5
    data.ImagePositionPatient = [float(f"{value:.6g}") for value in position]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [0.7, 0.6]
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    for key, value in tags.items():
        if value is None:
            data.pop(key, None)
        else:
            setattr(data, key, value)
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    write_file(path, data)
    return path


def write_series(folder: Path, slices: int = 6, step=(0, 0, 5), origin=(-10, -20, 30), prefix="a", **tags) -> Path:
    """Write slices whose file names run against their order in space.

    A tag may be a function of the slice number n; slice n lies at origin + n * step.
    """
    folder.mkdir(exist_ok=True)
    for n in range(slices):
        own = {key: value(n) if callable(value) else value for key, value in tags.items()}
        position = own.pop("position", np.array(origin, float) + n * np.array(step, float))
        pixels = own.pop("pixels", pixels_of_slice(n))
        write_slice(folder / f"{prefix}{slices - n:03d}.dcm", position, pixels, **own)
    return folder


def write_enhanced(path: Path, frames: list[tuple], shared: dict | None = None, **tags) -> Path:
    """Write an enhanced CT image.

    Args:
        frames: For each frame its stored values (rows, columns) and a dict of functional groups: sequence keyword to a
            dict of the attributes of its one item.
        shared: Functional groups of all frames; a 5 mm axial geometry unless given.
    """
    shared = shared or {
        "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        "PixelMeasuresSequence": {"PixelSpacing": [0.7, 0.6], "SliceThickness": 4.5},
        "PixelValueTransformationSequence": {"RescaleSlope": 1, "RescaleIntercept": -1024},
    }
    return write_slice(
        path,
        (0, 0, 0),
        np.concatenate([pixels for pixels, _ in frames]),
        **{
            "SOPClassUID": EnhancedCTImageStorage,
            "NumberOfFrames": len(frames),
            "Rows": frames[0][0].shape[0],
            "SharedFunctionalGroupsSequence": [_groups(shared)],
            "PerFrameFunctionalGroupsSequence": [_groups(groups) for _, groups in frames],
            **dict.fromkeys(_PER_SLICE),
            **tags,
        },
    )


_PER_SLICE = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
    "RescaleIntercept",
)  # fmt: skip


def _groups(attributes: dict) -> Dataset:
    groups = Dataset()
    for sequence, values in attributes.items():
        item = Dataset()
        for key, value in values.items():
            setattr(item, key, value)
        setattr(groups, sequence, [item])
    return groups


def frame(n: int, step=(0, 0, 5), origin=(-10, -20, 30), **groups) -> tuple:
    """Frame n of the series that ``write_series`` writes."""
    position = [float(f"{value:.6g}") for value in np.array(origin, float) + n * np.array(step, float)]
    return pixels_of_slice(n), {"PlanePositionSequence": {"ImagePositionPatient": position}, **groups}
