"""Frames of enhanced (multi-frame) objects, described as single slices are: what a derived series takes over of each.

An enhanced object says in functional groups, and partly under other names, what a CT or MR image says at its top level
(DICOM PS3.3, A.36, A.38 and C.7.6.16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .attributes import ALL_READ

if TYPE_CHECKING:
    import pydicom

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

_OTHER_NAMES: dict[str, tuple[str, Callable[[float], object]]] = {
    "EffectiveEchoTime": ("EchoTime", float),
    "InversionTimes": ("InversionTime", float),
    "ExposureTimeInms": ("ExposureTime", round),
    "XRayTubeCurrentInmA": ("XRayTubeCurrent", round),
    "ExposureInmAs": ("Exposure", round),
    "FrameAcquisitionNumber": ("AcquisitionNumber", int),
}
"""Keyword in a functional group -> keyword of a single slice, and the kind of number that stands there."""

_PULSE = ("EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery", "SegmentedKSpaceTraversal", "Spoiling")
ALL_READ_OF_FRAMES = sorted({*ALL_READ, *GROUPS, *_PULSE, "AcquisitionDateTime"})

_SEQUENCES = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}
_NOT_A_SLICES = ("ImageType", "SOPInstanceUID", "SOPClassUID", "InstanceNumber")


def frame_header(data: pydicom.Dataset, number: int) -> pydicom.Dataset:
    """What one frame says, with the keywords of single slices, and which frame it is.

    Args:
        data: ``ALL_READ_OF_FRAMES`` of an enhanced object.
        number: Counted from 0, as its own functional groups are.
    """
    import pydicom

    header = pydicom.Dataset()
    for element in data:
        if element.keyword in ALL_READ:
            header.add(element)
    own = data[GROUPS[1]].value[number]
    shared = data[GROUPS[0]].value[0] if data.get(GROUPS[0]) else pydicom.Dataset()
    # What differs from frame to frame goes before what all share
    for group in (own, shared):
        for element in _elements(group):
            _take(header, element)
    # Numbers of frames rise from 1 (PS3.3 C.7.6.16.2)
    header.InstanceNumber = number + 1
    header.ReferencedFrameNumber = number + 1
    if header.get("Modality") == "MR":
        _describe_pulses(header, data, (own, shared))
    return header


def _elements(group: pydicom.Dataset) -> Iterator[pydicom.DataElement]:
    for element in group:
        if element.VR == "SQ" and element.keyword not in ALL_READ:
            for item in element.value:
                yield from _elements(item)
        else:
            yield element


def _take(header: pydicom.Dataset, element: pydicom.DataElement) -> None:
    keyword = element.keyword
    if keyword in _OTHER_NAMES:
        keyword, kind = _OTHER_NAMES[keyword]
        value = element.value
        if keyword not in header and value not in (None, "") and not hasattr(value, "__iter__"):
            setattr(header, keyword, kind(value))
    elif keyword in ALL_READ and keyword not in _NOT_A_SLICES and header.get(keyword) in (None, ""):
        header.add(element)


def _describe_pulses(
    header: pydicom.Dataset, data: pydicom.Dataset, groups: tuple[pydicom.Dataset, pydicom.Dataset]
) -> None:
    """Scanning Sequence and Sequence Variant, which every MR slice has and no enhanced object (PS3.3 C.8.3.1)."""
    said = {element.keyword: element.value for group in reversed(groups) for element in _elements(group)}
    said |= {keyword: data.get(keyword) for keyword in _PULSE if keyword in data}
    kinds = list(_SEQUENCES.get(str(said.get("EchoPulseSequence")), ["RM"]))
    kinds += ["EP"] if said.get("EchoPlanarPulseSequence") == "YES" else []
    kinds += ["IR"] if said.get("InversionRecovery") == "YES" else []
    if "ScanningSequence" not in header:
        header.ScanningSequence = kinds
    if "SequenceVariant" not in header:
        segmented = str(said.get("SegmentedKSpaceTraversal") or "SINGLE") != "SINGLE"
        spoiled = str(said.get("Spoiling") or "NONE") != "NONE"
        header.SequenceVariant = [*(["SK"] if segmented else []), *(["SP"] if spoiled else [])] or ["NONE"]
