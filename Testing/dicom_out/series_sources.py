"""Source series with real voxels, and with all that the standard demands of a CT or MR image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import Result, upsample
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from dicom_maker import frame, write_enhanced, write_series
from places import REPOSITORY
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, generate_uid

FRAME_OF_REFERENCE = generate_uid()
SPACING_MM = 4.0
TILTED_ROWS = [1, 0, 0, 0, 0.8, 0.6]
TILTED_STEP = (0, -0.6 * SPACING_MM, 0.8 * SPACING_MM)

_BOTH = {
    "FrameOfReferenceUID": FRAME_OF_REFERENCE,
    "PositionReferenceIndicator": "",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "StudyDate": "20200102",
    "StudyTime": "101112",
    "StudyID": "S1",
    "StudyDescription": "Follow-up",
    "AccessionNumber": "ACC42",
    "ReferringPhysicianName": "Roe^Richard",
    "Manufacturer": "Scanner Works",
    "ManufacturerModelName": "One",
    "DeviceSerialNumber": "77",
    "SeriesDescription": "Routine 4.0",
    "PatientPosition": "HFS",
    "BodyPartExamined": "CHEST",
    "AcquisitionNumber": 1,
    "InstanceNumber": lambda n: n + 1,
    "ContentDate": "20200102",
    "ContentTime": "101200",
    "SliceThickness": 3.5,
}
_CT = {"Modality": "CT", "KVP": 120, "WindowCenter": 40, "WindowWidth": 400, "XRayTubeCurrent": lambda n: 100 + n}
_MR = {
    "Modality": "MR",
    "ImageType": ["ORIGINAL", "PRIMARY", "M_SE"],
    "BodyPartExamined": "HEAD",
    "ScanningSequence": "SE",
    "SequenceVariant": "SK",
    "ScanOptions": "",
    "MRAcquisitionType": "2D",
    "RepetitionTime": 500,
    "EchoTime": 15,
    "EchoTrainLength": 1,
    "MagneticFieldStrength": 1.5,
    "RescaleSlope": None,
    "RescaleIntercept": None,
}


@dataclass(frozen=True)
class Scan:
    """A source series on the disk, the scan that it holds, and the finer result of it."""

    folder: Path
    files: list[Path]
    volume: Volume
    result: Result


def acquired_pixels(modality: str) -> np.ndarray:
    """(10, 32, 28) stored values of real anatomy: every fourth or fifth slice of a bundled scan."""
    name, offset = {"CT": ("ct_chest_0p8mm", 1024), "MR": ("mr_head_1mm", 0)}[modality]
    array = read_volume(REPOSITORY / f"Testing/data/{name}.nii.gz").array
    part = array[::4][:10, 4:36, 4:32].astype(np.int32) + offset
    return part.astype(np.uint16)


def write_source(folder: Path, modality: str = "CT", **tags) -> Path:
    """Write an oblique series of 10 real slices, 4 mm apart; tags as in `write_series`, None leaves one out."""
    pixels = tags.pop("stored", acquired_pixels(modality))
    given = {**_BOTH, **(_CT if modality == "CT" else _MR), "ImageOrientationPatient": TILTED_ROWS, **tags}
    wanted = {key: value for key, value in given.items() if value is not None or key.startswith("Rescale")}
    return write_series(folder, len(pixels), step=wanted.pop("step", TILTED_STEP), pixels=lambda n: pixels[n], **wanted)


def write_tilted(folder: Path) -> Path:
    """A series of a gantry that was tilted by 15 degrees."""
    angle = np.deg2rad(15)
    rows = [1, 0, 0, 0, round(float(np.cos(angle)), 8), round(-float(np.sin(angle)), 8)]
    return write_source(folder, step=(0, 0, SPACING_MM), ImageOrientationPatient=rows, GantryDetectorTilt=15)


def write_uneven(folder: Path) -> Path:
    """A series whose slices lie farther apart from the sixth on, and without the third."""
    heights = SPACING_MM * np.array([0, 1, 3, 4, 5, 6.5, 8.5, 10.5, 12.5, 14.5])
    place = {"position": lambda n: (-10, -20, heights[n]), "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    return write_source(folder, SliceThickness=lambda n: 4 if n < 5 else 8, **place)


def write_padded(folder: Path) -> Path:
    """A series with a round field of view, in signed stored values."""
    stored = acquired_pixels("CT").astype(np.int16)
    row, column = np.mgrid[: stored.shape[1], : stored.shape[2]]
    stored[:, (row - 15.5) ** 2 + (column - 13.5) ** 2 > 16**2] = -2000
    return write_source(folder, stored=stored, PixelPaddingValue=-2000)


def scan_of(folder: Path, options: UpsampleOptions | None = None) -> Scan:
    """Read a series and make it finer."""
    volume = read_volume(folder)
    options = options or UpsampleOptions(Target(spacing_mm=1.5), device="cpu")
    return Scan(folder, sorted(folder.glob("*.dcm")), volume, upsample(volume, options))


def private_block(data: Dataset) -> Dataset:
    """An item that holds something private beside its code."""
    data.CodeValue, data.CodingSchemeDesignator, data.CodeMeaning = "T-D3000", "SRT", "Chest"
    data.private_block(0x0019, "SCANNER WORKS", create=True).add_new(1, "LO", "secret")
    return data


ENHANCED_STUDY = {
    "FrameOfReferenceUID": "1.2.3.4.5", "PositionReferenceIndicator": "", "PatientBirthDate": "19700101",
    "PatientSex": "F", "StudyDate": "20200102", "StudyTime": "101112", "StudyID": "S1", "AccessionNumber": "ACC42",
    "ReferringPhysicianName": "Roe^Richard", "Manufacturer": "Scanner Works", "SeriesDescription": "Routine 4.0",
    "InstanceNumber": 1, "ContentDate": "20200102", "ContentTime": "101200", "PatientPosition": "HFS",
}  # fmt: skip
_GROUPS = {
    "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    "PixelMeasuresSequence": {"PixelSpacing": [0.8, 0.8], "SliceThickness": 3.5},
}
_GROUPS_CT = {
    "CTXRayDetailsSequence": {"KVP": 120.0},
    "CTExposureSequence": {"XRayTubeCurrentInmA": 200.4, "ExposureTimeInms": 500.2},
    "CTReconstructionSequence": {"ConvolutionKernel": "B30"},
    "FrameVOILUTSequence": {"WindowCenter": 40.0, "WindowWidth": 400.0},
    "PixelValueTransformationSequence": {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"},
}
_GROUPS_MR = {
    "MREchoSequence": {"EffectiveEchoTime": 15.5},
    "MRTimingAndRelatedParametersSequence": {"RepetitionTime": 500.0, "FlipAngle": 90.0, "EchoTrainLength": 1},
}


def enhanced_scan(folder: Path, modality: str) -> Scan:
    """All slices of a real crop in one object, 4 mm apart, and its result of 2 mm."""
    own = {"FrameAcquisitionNumber": 5, "StackID": "1"}
    frames = [
        (pixels, frame(n, step=(0, 0, 4), FrameContentSequence={**own, "InStackPositionNumber": n + 1})[1])
        for n, pixels in enumerate(acquired_pixels(modality))
    ]
    kind = {} if modality == "CT" else {"SOPClassUID": EnhancedMRImageStorage, "Modality": "MR"}
    pulses = {} if modality == "CT" else {"EchoPulseSequence": "SPIN", "MRAcquisitionType": "2D"}
    groups = {**_GROUPS, **(_GROUPS_CT if modality == "CT" else _GROUPS_MR)}
    file = write_enhanced(folder / "enhanced.dcm", frames, groups, **ENHANCED_STUDY, **kind, **pulses)
    scan = scan_of(folder, UpsampleOptions(Target(spacing_mm=2.0), device="cpu"))
    return Scan(folder, [file], scan.volume, scan.result)
