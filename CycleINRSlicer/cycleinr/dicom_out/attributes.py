"""Which attributes a derived series takes over from its source, and how.

An explicit list, so that nothing private, typed by hand or untrue for computed slices travels along unnoticed.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import pydicom

    from .source import SourceSeries

PATIENT_AND_STUDY = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC"),
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "OtherPatientIDsSequence"),
    *("PatientAge", "PatientSize", "PatientWeight", "PatientSpeciesDescription", "PatientBreedDescription"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
    *("ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription", "ClinicalTrialCoordinatingCenterName"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "ProcedureCodeSequence"),
)
"""Taken from the first slice: these are the same in all files of a study."""

ACQUISITION = (
    *("Modality", "Laterality", "BodyPartExamined", "AnatomicRegionSequence", "PatientPosition", "ProtocolName"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator"),
    *("AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "IrradiationEventUID"),
    *("ContrastBolusAgent", "ContrastBolusAgentSequence", "ContrastBolusRoute", "ContrastBolusVolume"),
    *("BurnedInAnnotation", "RecognizableVisualFeatures"),
)
CT_ACQUISITION = (
    *("KVP", "ScanOptions", "DataCollectionDiameter", "ReconstructionDiameter", "DistanceSourceToDetector"),
    *("DistanceSourceToPatient", "GantryDetectorTilt", "TableHeight", "RotationDirection", "ExposureTime"),
    *("XRayTubeCurrent", "Exposure", "FilterType", "GeneratorPower", "FocalSpots", "ConvolutionKernel"),
    *("RevolutionTime", "SingleCollimationWidth", "TotalCollimationWidth", "TableSpeed", "TableFeedPerRotation"),
    *("SpiralPitchFactor", "CTDIvol", "RescaleType"),
)
MR_ACQUISITION = (
    *("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName", "AngioFlag"),
    *("RepetitionTime", "EchoTime", "EchoTrainLength", "InversionTime", "TriggerTime", "NumberOfAverages"),
    *("ImagingFrequency", "ImagedNucleus", "EchoNumbers", "MagneticFieldStrength", "NumberOfPhaseEncodingSteps"),
    *("PercentSampling", "PercentPhaseFieldOfView", "PixelBandwidth", "ReceiveCoilName", "TransmitCoilName"),
    *("AcquisitionMatrix", "InPlanePhaseEncodingDirection", "FlipAngle", "VariableFlipAngleFlag", "SAR", "dBdt"),
    *("DiffusionBValue",),
)
"""Taken where all slices agree; a value that changes from slice to slice is true for no computed one."""

PER_MODALITY = {"CT": CT_ACQUISITION, "MR": MR_ACQUISITION}

MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "PatientPosition", "PositionReferenceIndicator"),
)
MAY_BE_EMPTY_PER_MODALITY = {
    "CT": ("KVP", "AcquisitionNumber"),
    "MR": ("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"),
}
"""Type 2 of PS3.3: must be there, with no value where it is unknown."""

EQUIPMENT = (
    *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "StationName"),
    *("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName"),
)
USED_OTHERWISE = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "InstanceNumber"),
    *("ImageType", "ContributingEquipmentSequence", "RescaleSlope", "RescaleIntercept", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "LossyImageCompression", "LossyImageCompressionRatio"),
    *("LossyImageCompressionMethod", "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"),
)
ALL_READ = sorted(
    {*PATIENT_AND_STUDY, *ACQUISITION, *CT_ACQUISITION, *MR_ACQUISITION, *MAY_BE_EMPTY, *EQUIPMENT, *USED_OTHERWISE}
)


def taken_over(source: SourceSeries) -> pydicom.Dataset:
    """A new data set with what the source says about patient, study and acquisition.

    Raises:
        InputError: The slices name different studies, patients or frames of reference.
    """
    import pydicom

    headers, modality = source.headers, source.modality
    for keyword in ("StudyInstanceUID", "PatientID", "FrameOfReferenceUID"):
        if not _agree(headers, keyword):
            raise InputError(
                f"The slices of the series differ in {keyword}, so it is not clear where the result belongs. "
                "Export the series again, or repair its headers."
            )
    result = pydicom.Dataset()
    for keyword in PATIENT_AND_STUDY:
        copy_attribute(headers[0], result, keyword)
    for keyword in (*ACQUISITION, *PER_MODALITY[modality]):
        if _agree(headers, keyword):
            copy_attribute(headers[0], result, keyword)
    for keyword in (*MAY_BE_EMPTY, *MAY_BE_EMPTY_PER_MODALITY[modality]):
        if keyword not in result:
            setattr(result, keyword, None)
    if not source.stack.sideways.is_straight:
        # The new stack is straight, and readers that look for a tilt must not shear it again.
        result.pop("GantryDetectorTilt", None)
    _note_lossy_compression(headers, result)
    return result


def copy_attribute(origin: pydicom.Dataset, target: pydicom.Dataset, keyword: str) -> None:
    """Copy one attribute if it is there, without the private ones that a sequence may hold."""
    if keyword not in origin:
        return
    import pydicom

    found = origin[keyword]
    # Without the element's reference to its dataset, which pydicom 2 copies along with it
    element = pydicom.DataElement(found.tag, found.VR, copy.deepcopy(found.value))
    if element.VR == "SQ":
        for item in element.value:
            item.remove_private_tags()
    target.add(element)


def _agree(headers: list[pydicom.Dataset], keyword: str) -> bool:
    first = headers[0].get(keyword)
    return all(header.get(keyword) == first for header in headers[1:])


def _note_lossy_compression(headers: list[pydicom.Dataset], result: pydicom.Dataset) -> None:
    """Pixels that were lossy once stay so in all that is derived from them (PS3.3 C.7.6.1.1.5)."""
    lossy = next((h for h in headers if h.get("LossyImageCompression") == "01"), None)
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        copy_attribute(lossy or headers[0], result, keyword)
