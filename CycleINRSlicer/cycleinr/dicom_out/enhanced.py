"""A derived series as one enhanced (multi-frame) object, for archives and viewers that prefer one file.

Made of the same slices that a series of single ones has (DICOM PS3.3, A.36 and A.38): what all share stands once, what
differs from slice to slice in functional groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import InputError
from .attributes import PER_MODALITY, WINDOW, code, copied, dataset

if TYPE_CHECKING:
    import pydicom

_SOP_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}

_MEASURES = ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
_DERIVATION = ("DerivationDescription", "DerivationCodeSequence", "SourceImageSequence")
_OF_SINGLE_SLICES = {
    *WINDOW, *_MEASURES, *_DERIVATION,
    "PixelData", "ImagePositionPatient", "ImageOrientationPatient", "SliceLocation", "RescaleIntercept",
    "RescaleSlope", "RescaleType", "AnatomicRegionSequence", "IrradiationEventUID", "ContrastBolusAgent",
    "ContrastBolusAgentSequence", "ContrastBolusRoute", "ContrastBolusVolume", "AcquisitionDate", "AcquisitionTime",
    "RecognizableVisualFeatures", "Laterality",
}  # fmt: skip
"""What stands in functional groups, or has no place in an enhanced object."""

_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
_CT = dict(PixelPresentation="MONOCHROME", VolumetricProperties="VOLUME", VolumeBasedCalculationTechnique="NONE")
_DESCRIBED = {"CT": _CT, "MR": {**_CT, "ComplexImageComponent": "MAGNITUDE", "AcquisitionContrast": "UNKNOWN"}}
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
    # Without a time of writing, for the same bytes in every run, that of the study stands in
    when = [first.get(f"Content{which}") or first.get(f"Study{which}") for which in ("Date", "Time")]
    if not all(when):
        raise InputError(
            "The source does not say when its study was made, which an enhanced DICOM object has to. Write a series of "
            "single slices with --format dicom, or leave --deterministic-uids away."
        )
    pointers = [
        dataset(
            DimensionOrganizationUID=organization_uid,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=_FRAME_CONTENT,
        )
        for pointer in (_STACK_ID, _IN_STACK)
    ]
    data = copied(first, {*first.dir()} - _OF_SINGLE_SLICES.union(PER_MODALITY[modality]))
    data.update(
        dataset(
            SOPClassUID=_SOP_CLASSES[modality],
            SOPInstanceUID=uid,
            ContentDate=when[0],
            ContentTime=when[1],
            InstanceNumber=1,
            NumberOfFrames=len(slices),
            ImageType=_TYPE,
            DeviceSerialNumber=str(first.SoftwareVersions),
            # Low values are always dark in such an object
            PhotometricInterpretation="MONOCHROME2",
            PresentationLUTShape="IDENTITY",
            ContentQualification="RESEARCH",
            AcquisitionContextSequence=[],
            DimensionOrganizationSequence=[dataset(DimensionOrganizationUID=organization_uid)],
            DimensionIndexSequence=pointers,
            SourceImageEvidenceSequence=[_evidence(slices)],
            SharedFunctionalGroupsSequence=[_shared(first, event_uid)],
            PerFrameFunctionalGroupsSequence=[_of_frame(each) for each in slices],
            **_DESCRIBED[modality],
            **({"ApplicableSafetyStandardAgency": "UNKNOWN"} if modality == "MR" else {}),
        )
    )
    data.setdefault("LossyImageCompression", "00")
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
    said, part = first.get("AnatomicRegionSequence"), str(first.get("BodyPartExamined") or "").upper()
    region = said[0] if said else code(*_REGIONS.get(part, _ENTIRE_BODY), scheme="SCT")
    rescale = {"RescaleIntercept": 0, "RescaleSlope": 1, "RescaleType": "US"}
    values = dataset(**{keyword: first.get(keyword, usual) for keyword, usual in rescale.items()})
    groups = dataset(
        PixelMeasuresSequence=[copied(first, _MEASURES)],
        PlaneOrientationSequence=[copied(first, ["ImageOrientationPatient"])],
        FrameAnatomySequence=[dataset(FrameLaterality=first.get("Laterality") or "U", AnatomicRegionSequence=[region])],
        PixelValueTransformationSequence=[values],
    )
    if first.Modality == "CT":
        event = dataset(IrradiationEventUID=first.get("IrradiationEventUID") or event_uid)
        groups.IrradiationEventIdentificationSequence = [event]
    if "WindowCenter" in first:
        groups.FrameVOILUTSequence = [copied(first, WINDOW)]
    kind = dataset(FrameType=_TYPE, **_DESCRIBED[first.Modality])
    setattr(groups, f"{first.Modality}ImageFrameTypeSequence", [kind])
    return groups


def _of_frame(one: pydicom.Dataset) -> pydicom.Dataset:
    number = int(one.InstanceNumber)
    content = dataset(StackID="1", InStackPositionNumber=number, DimensionIndexValues=[1, number])
    content.FrameComments = one.ImageComments
    return dataset(
        FrameContentSequence=[content],
        PlanePositionSequence=[copied(one, ["ImagePositionPatient"])],
        DerivationImageSequence=[copied(one, _DERIVATION)],
    )
