"""A derived series as one enhanced (multi-frame) object, for archives and viewers that prefer one file.

Made of the same slices that a series of single ones has (DICOM PS3.3, A.36 and A.38): what all share stands once, what
differs from slice to slice in functional groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InputError
from .attributes import PATIENT_AND_STUDY, copy_attribute
from .series import dataset

if TYPE_CHECKING:
    import pydicom

SOP_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}

_KEPT = (
    *PATIENT_AND_STUDY,
    *("Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime", "ProtocolName"),
    *("RelatedSeriesSequence", "PatientPosition", "BodyPartExamined", "FrameOfReferenceUID"),
    *("PositionReferenceIndicator", "Manufacturer", "ManufacturerModelName", "SoftwareVersions"),
    *("ContributingEquipmentSequence", "PixelPaddingValue", "PixelPaddingRangeLimit", "AcquisitionNumber"),
    *("AcquisitionDateTime", "ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime"),
    *("ImageComments", "BurnedInAnnotation", "LossyImageCompression", "LossyImageCompressionRatio"),
    *("LossyImageCompressionMethod", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"),
    "PixelRepresentation",
)
_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
_CT = dict(PixelPresentation="MONOCHROME", VolumetricProperties="VOLUME", VolumeBasedCalculationTechnique="NONE")
_DESCRIBED = {"CT": _CT, "MR": {**_CT, "ComplexImageComponent": "MAGNITUDE", "AcquisitionContrast": "UNKNOWN"}}
_FRAME_TYPES = {"CT": "CTImageFrameTypeSequence", "MR": "MRImageFrameTypeSequence"}
_MEASURES = ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
_WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")
_REGIONS = {
    "HEAD": ("69536005", "Head"), "BRAIN": ("12738006", "Brain"), "NECK": ("45048000", "Neck"),
    "CHEST": ("51185008", "Chest"), "ABDOMEN": ("818981001", "Abdomen"), "PELVIS": ("816092008", "Pelvis"),
}  # fmt: skip
_ENTIRE_BODY = ("38266002", "Entire body")
_STACK_ID, _IN_STACK, _FRAME_CONTENT = 0x00209056, 0x00209057, 0x00209111


def enhanced(slices: Sequence[pydicom.Dataset], uid: str, organization_uid: str, event_uid: str) -> pydicom.Dataset:
    """One object of the slices of a derived series.

    Args:
        slices: With pixels, in order of their numbers.
        uid, organization_uid: SOP Instance UID, and the UID of how its frames are ordered.
        event_uid: Stands for the source's irradiation event where it is not named.

    Raises:
        InputError: The source says nothing of when it was made, which such an object has to.
    """
    first, modality = slices[0], slices[0].Modality
    data = dataset()
    for keyword in _KEPT:
        copy_attribute(first, data, keyword)
    data.SOPClassUID, data.SOPInstanceUID = SOP_CLASSES[modality], uid
    # Without a time of writing, for the same bytes in every run, that of the study stands in
    data.ContentDate = data.get("ContentDate") or first.get("StudyDate")
    data.ContentTime = data.get("ContentTime") or first.get("StudyTime")
    if not data.ContentDate or not data.ContentTime:
        raise InputError(
            "The source does not say when its study was made, which an enhanced DICOM object has to. Write a series of "
            "single slices with --format dicom, or leave --deterministic-uids away."
        )
    data.InstanceNumber, data.NumberOfFrames, data.ImageType = 1, len(slices), _TYPE
    data.DeviceSerialNumber = str(data.SoftwareVersions)
    data.update(dataset(**_DESCRIBED[modality]))
    # Low values are always dark in such an object
    data.PhotometricInterpretation, data.PresentationLUTShape = "MONOCHROME2", "IDENTITY"
    data.ContentQualification, data.AcquisitionContextSequence = "RESEARCH", []
    data.setdefault("LossyImageCompression", "00")
    data.DimensionOrganizationSequence = [dataset(DimensionOrganizationUID=organization_uid)]
    data.DimensionIndexSequence = [
        dataset(
            DimensionOrganizationUID=organization_uid,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=_FRAME_CONTENT,
        )
        for pointer in (_STACK_ID, _IN_STACK)
    ]
    data.SourceImageEvidenceSequence = [_evidence(slices)]
    if modality == "MR":
        data.ApplicableSafetyStandardAgency = "UNKNOWN"
    data.SharedFunctionalGroupsSequence = [_shared(first, event_uid)]
    data.PerFrameFunctionalGroupsSequence = [_of_frame(each, n) for n, each in enumerate(slices, 1)]
    data.add_new("PixelData", "OW", b"".join(each.PixelData for each in slices))
    return data


def _evidence(slices: Sequence[pydicom.Dataset]) -> pydicom.Dataset:
    """All objects that frames name as their sources, once."""
    named = {
        item.ReferencedSOPInstanceUID: item.ReferencedSOPClassUID for s in slices for item in s.SourceImageSequence
    }
    objects = [
        dataset(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=uid) for uid, sop_class in named.items()
    ]
    related = slices[0].RelatedSeriesSequence[0]
    series = dataset(SeriesInstanceUID=related.SeriesInstanceUID, ReferencedSOPSequence=objects)
    return dataset(StudyInstanceUID=slices[0].StudyInstanceUID, ReferencedSeriesSequence=[series])


def _shared(first: pydicom.Dataset, event_uid: str) -> pydicom.Dataset:
    groups = dataset(
        PixelMeasuresSequence=[_part(first, _MEASURES)],
        PlaneOrientationSequence=[_part(first, ("ImageOrientationPatient",))],
        FrameAnatomySequence=[_anatomy(first)],
        PixelValueTransformationSequence=[
            dataset(
                RescaleIntercept=first.get("RescaleIntercept", 0),
                RescaleSlope=first.get("RescaleSlope", 1),
                RescaleType=first.get("RescaleType", "US"),
            )
        ],
    )
    if first.Modality == "CT":
        event = dataset(IrradiationEventUID=first.get("IrradiationEventUID") or event_uid)
        groups.IrradiationEventIdentificationSequence = [event]
    if "WindowCenter" in first:
        groups.FrameVOILUTSequence = [_part(first, _WINDOW)]
    kind = dataset(FrameType=_TYPE, **_DESCRIBED[first.Modality])
    setattr(groups, _FRAME_TYPES[first.Modality], [kind])
    return groups


def _of_frame(one: pydicom.Dataset, number: int) -> pydicom.Dataset:
    derived = _part(one, ("DerivationDescription", "DerivationCodeSequence", "SourceImageSequence"))
    content = dataset(StackID="1", InStackPositionNumber=number, DimensionIndexValues=[1, number])
    content.FrameComments = one.ImageComments
    return dataset(
        FrameContentSequence=[content],
        PlanePositionSequence=[_part(one, ("ImagePositionPatient",))],
        DerivationImageSequence=[derived],
    )


def _anatomy(first: pydicom.Dataset) -> pydicom.Dataset:
    said = first.get("AnatomicRegionSequence")
    value, meaning = _REGIONS.get(str(first.get("BodyPartExamined") or "").upper(), _ENTIRE_BODY)
    region = dataset(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)
    side = str(first.get("Laterality") or "U")
    return dataset(FrameLaterality=side, AnatomicRegionSequence=[said[0] if said else region])


def _part(one: pydicom.Dataset, keywords: Sequence[str]) -> pydicom.Dataset:
    part = dataset()
    for keyword in keywords:
        copy_attribute(one, part, keyword)
    return part
