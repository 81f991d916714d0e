"""Which attributes a derived series takes over from its source.

An explicit list, so that nothing private, typed by hand or untrue for computed slices travels along unnoticed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pydicom

PATIENT_AND_STUDY = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "PatientName", "PatientID", "IssuerOfPatientID",
    "PatientBirthDate", "PatientSex", "OtherPatientIDsSequence", "PatientAge", "PatientSize", "PatientWeight",
    "PatientSpeciesDescription", "PatientBreedDescription", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription",
    "ClinicalTrialCoordinatingCenterName", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription",
    "AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "ProcedureCodeSequence",
)  # fmt: skip
"""Taken from the first slice: these are the same in all files of a study."""

ACQUISITION = (
    "Modality", "Laterality", "BodyPartExamined", "AnatomicRegionSequence", "PatientPosition", "ProtocolName",
    "FrameOfReferenceUID", "PositionReferenceIndicator", "AcquisitionNumber", "AcquisitionDate", "AcquisitionTime",
    "AcquisitionDateTime", "IrradiationEventUID", "ContrastBolusAgent", "ContrastBolusAgentSequence",
    "ContrastBolusRoute", "ContrastBolusVolume", "BurnedInAnnotation", "RecognizableVisualFeatures",
)  # fmt: skip
PER_MODALITY = {
    "CT": (
        "KVP", "ScanOptions", "DataCollectionDiameter", "ReconstructionDiameter", "DistanceSourceToDetector",
        "DistanceSourceToPatient", "GantryDetectorTilt", "TableHeight", "RotationDirection", "ExposureTime",
        "XRayTubeCurrent", "Exposure", "FilterType", "GeneratorPower", "FocalSpots", "ConvolutionKernel",
        "RevolutionTime", "SingleCollimationWidth", "TotalCollimationWidth", "TableSpeed", "TableFeedPerRotation",
        "SpiralPitchFactor", "CTDIvol", "RescaleType",
    ),
    "MR": (
        "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName", "AngioFlag",
        "RepetitionTime", "EchoTime", "EchoTrainLength", "InversionTime", "TriggerTime", "NumberOfAverages",
        "ImagingFrequency", "ImagedNucleus", "EchoNumbers", "MagneticFieldStrength", "NumberOfPhaseEncodingSteps",
        "PercentSampling", "PercentPhaseFieldOfView", "PixelBandwidth", "ReceiveCoilName", "TransmitCoilName",
        "AcquisitionMatrix", "InPlanePhaseEncodingDirection", "FlipAngle", "VariableFlipAngleFlag", "SAR", "dBdt",
        "DiffusionBValue",
    ),
}  # fmt: skip
"""Taken where all slices agree; a value that changes from slice to slice is true for no computed one."""

_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "PatientPosition", "PositionReferenceIndicator",
)  # fmt: skip
MAY_BE_EMPTY = {
    "CT": (*_MAY_BE_EMPTY, "KVP", "AcquisitionNumber"),
    "MR": (*_MAY_BE_EMPTY, "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"),
}
"""Type 2 of PS3.3: must be there, with no value where it is unknown."""

EQUIPMENT = (
    "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "StationName",
    "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName",
)  # fmt: skip
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")
_USED_OTHERWISE = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "InstanceNumber",
    "ImageType", "ContributingEquipmentSequence", "RescaleSlope", "RescaleIntercept", "PixelRepresentation",
)  # fmt: skip
ALL_READ = sorted(
    {*PATIENT_AND_STUDY, *ACQUISITION, *PER_MODALITY["CT"], *PER_MODALITY["MR"], *EQUIPMENT, *LOSSY, *PADDING, *WINDOW}
    | set(_USED_OTHERWISE)
)


def dataset(**attributes: object) -> pydicom.Dataset:
    """A data set of some attributes."""
    import pydicom

    data = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    return data


def copied(origin: pydicom.Dataset, keywords: Iterable[str]) -> pydicom.Dataset:
    """Those of the attributes that a data set has, without the private ones that a sequence may hold."""
    import pydicom

    data = pydicom.Dataset()
    for keyword in keywords:
        if keyword in origin:
            found = origin[keyword]
            # Without the element's reference to its dataset, which pydicom 2 copies along with it
            element = pydicom.DataElement(found.tag, found.VR, copy.deepcopy(found.value))
            for item in element.value if element.VR == "SQ" else ():
                item.remove_private_tags()
            data.add(element)
    return data


def code(value: str, meaning: str, scheme: str = "DCM") -> pydicom.Dataset:
    """An item of a code sequence (PS3.16)."""
    return dataset(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)
