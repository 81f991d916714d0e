"""The attributes of a derived series: those that all its slices share, and those of each slice."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from ..files.bridges import lps_from_ras
from ..files.dicom_header import MANUFACTURER, whole_number
from ..files.dicom_slices import thickness_of
from ..result import Provenance
from ..volume import Volume
from . import attributes
from .attributes import PADDING, code, copied, dataset
from .source import SourceSeries
from .stored import Storage, decimal_string

if TYPE_CHECKING:
    import pydicom

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "CycleINR derived series")

# CT and MR Image Storage (PS3.4 B.5).
_SOP_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
_SERIES_NUMBER_STEP = 1000
_MAX_SERIES_NUMBER = 2**31 - 1
_TELLING_DIGITS = 4
_LONG_STRING = 64
_SHORT_TEXT = 1024


@dataclass(frozen=True)
class Derived:
    """A result that becomes a series.

    Attributes:
        volume: The result.
        source: What it was computed from.
        said: How.
        storage: How its values are stored.
        uid: Of one object of the series, by its label; each is asked for once, since it may be random.
        when: The time that is written; None writes none, so that the same run gives the same files.
        number: Series Number (0020,0011); None for the source's plus 1000.
    """

    volume: Volume
    source: SourceSeries
    said: Provenance
    storage: Storage
    uid: Callable[[str], str]
    when: datetime | None
    number: int | None

    def slices(self) -> Iterator[pydicom.Dataset]:
        """The data set of each slice, with its pixels, in order of Instance Number, as the source is numbered."""
        shared, order = shared_attributes(self), list(range(self.volume.shape_kji[0]))
        first, last = (whole_number(self.source.headers[n], "InstanceNumber") for n in (0, -1))
        if first is not None and last is not None and last < first:
            order.reverse()
        for number, k in enumerate(order, 1):
            data = dataset()
            # The shared elements are only read from here on, so that copies of them would be a waste
            data.update(shared)
            data.update(_place(self, k))
            if any(k in gap for gap in self.said.gaps):
                comment = f"Slices are missing here: computed from those around. {shared.ImageComments}"
                data.update(dataset(ImageComments=comment))
            data.InstanceNumber, data.SOPInstanceUID = number, self.uid(f"instance {number}")
            data.add_new("PixelData", "OW", self.storage.stored(self.volume.array[k]).tobytes())
            yield data


def shared_attributes(made: Derived) -> pydicom.Dataset:
    """Everything but what differs from slice to slice."""
    source, first, modality = made.source, made.source.headers[0], made.source.modality
    agreed = filter(source.agree, (*attributes.ACQUISITION, *attributes.PER_MODALITY[modality]))
    data = copied(first, [*attributes.PATIENT_AND_STUDY, *agreed])
    for keyword in attributes.MAY_BE_EMPTY[modality]:
        data.setdefault(keyword, None)
    if not source.stack.sideways.is_straight:
        # The new stack is straight, and readers that look for a tilt must not shear it again
        data.pop("GantryDetectorTilt", None)
    if not first.get("BodyPartExamined") and "Laterality" not in data:
        # Mandatory for paired parts, and empty where the part is not known
        data.Laterality = None
    # Pixels that were lossy once stay so in all that is derived from them (PS3.3 C.7.6.1.1.5)
    data.update(
        copied(next((h for h in source.headers if h.get("LossyImageCompression") == "01"), first), attributes.LOSSY)
    )
    data.setdefault("BurnedInAnnotation", "NO")
    # It is mandatory; a new one claims no relation that the source does not state
    data.setdefault("FrameOfReferenceUID", made.uid("frame of reference"))
    # One window for all slices, the middle one's: a window that jumps would flicker on slices computed in between
    middle = source.headers[len(source.headers) // 2]
    if middle.get("WindowCenter") not in (None, "") and middle.get("WindowWidth") not in (None, ""):
        data.update(copied(middle, attributes.WINDOW))
    _series(data, made)
    _equipment(data, made)
    _derivation(data, made)
    _pixels(data, made)
    return data


def _series(data: pydicom.Dataset, made: Derived) -> None:
    first = made.source.headers[0]
    data.SOPClassUID, data.SeriesInstanceUID = _SOP_CLASSES[made.source.modality], made.uid("series")
    beyond = (whole_number(first, "SeriesNumber") or 0) + _SERIES_NUMBER_STEP
    data.SeriesNumber = min(beyond, _MAX_SERIES_NUMBER) if made.number is None else made.number
    # Results of one source have the same number; the digits tell them apart in an archive's list
    digits = hashlib.sha256(str(data.SeriesInstanceUID).encode()).hexdigest()[:_TELLING_DIGITS]
    what = f"{made.said['spacing_mm']} mm CycleINR {digits}"
    before = str(first.get("SeriesDescription") or "")[: _LONG_STRING - len(what) - 1].strip()
    data.SeriesDescription = f"{before} {what}".strip()
    if made.when:
        data.SeriesDate = data.ContentDate = data.InstanceCreationDate = made.when.strftime("%Y%m%d")
        data.SeriesTime = data.ContentTime = data.InstanceCreationTime = made.when.strftime("%H%M%S")
    purpose = code("121323", "Source series for image processing operation")
    related = dataset(StudyInstanceUID=first.get("StudyInstanceUID"), SeriesInstanceUID=made.source.uid)
    related.PurposeOfReferenceCodeSequence = [purpose]
    data.RelatedSeriesSequence = [related]


def _equipment(data: pydicom.Dataset, made: Derived) -> None:
    """We are the equipment of the new series, the scanner contributed to it (PS3.3 C.12.1.5, note 1)."""
    first, said = made.source.headers[0], made.said
    scanner = copied(first, attributes.EQUIPMENT)
    scanner.PurposeOfReferenceCodeSequence = [code("109101", "Acquisition Equipment")]
    scanner.Manufacturer = scanner.get("Manufacturer") or "not stated"
    ours = dataset(
        Manufacturer=MANUFACTURER,
        ManufacturerModelName=_ascii(f"CycleINR {said.model}")[:_LONG_STRING],
        SoftwareVersions=_ascii(said.version)[:_LONG_STRING],
    )
    data.update(ours)
    ours.PurposeOfReferenceCodeSequence = [code("109102", "Processing Equipment")]
    ours.ContributionDescription = _ascii(f"Through-plane super-resolution with {_weights(said)}.")[:_SHORT_TEXT]
    if made.when:
        ours.ContributionDateTime = made.when.strftime("%Y%m%d%H%M%S")
    before = copied(first, ["ContributingEquipmentSequence"]).get("ContributingEquipmentSequence") or []
    data.ContributingEquipmentSequence = [*before, scanner, ours]


def _derivation(data: pydicom.Dataset, made: Derived) -> None:
    said, storage, source = made.said, made.storage, made.source
    more = f" {said['reading']}" if "reading" in said else ""
    if said.gaps:
        more += f" Nothing was acquired at {sum(map(len, said.gaps))} of these slices; their comments say so."
    if storage.max_error:
        more += f" Values are rounded to steps of {storage.slope:.4g}; the largest rounding error is "
        more += f"{storage.max_error:.3g}."
    text = (
        f"{said.derived} Slices every {said['spacing_mm']} mm along image axis {said.axis} were computed "
        f"from the source series by super-resolution (ratio {said['ratio']}, extent {said.extent}, slice "
        f"profile: {said.slice_profile.rstrip('.')}).{more} CycleINR {said.version}, {_weights(said)}."
    )
    data.DerivationDescription, data.ImageComments = _ascii(text)[:_SHORT_TEXT], _ascii(said.derived)
    data.DerivationCodeSequence = [code("113085", "Spatial resampling")]
    # CT knows AXIAL and LOCALIZER only (PS3.3 C.8.2.1.1.1); MR keeps the source's, which frames name otherwise
    kind = source.headers[0].get("ImageType") if source.slices[0].frame is None else None
    third = kind[2] if kind and not isinstance(kind, str) and len(kind) > 2 else ""
    data.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if source.modality == "CT" else third or "OTHER"]


def _pixels(data: pydicom.Dataset, made: Derived) -> None:
    volume, source, storage = made.volume, made.source, made.storage
    _, data.Rows, data.Columns = volume.shape_kji
    # How the source is shown; values are the same for both kinds of grey
    kinds = {s.photometric for s in source.slices}
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, kinds.pop() if len(kinds) == 1 else "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = int(storage.signed)
    # MR Image Storage has no rescale of its own; where none is needed, none is written, as scanners do
    if source.modality == "CT" or (storage.slope, storage.intercept) != (1.0, 0.0):
        data.RescaleSlope, data.RescaleIntercept = decimal_string(storage.slope), decimal_string(storage.intercept)
        data.setdefault("RescaleType", "HU" if source.modality == "CT" else "US")
    else:
        data.pop("RescaleType", None)
    for keyword, value in zip(PADDING, _padding(source, volume), strict=False):
        stored = storage.stored_exactly(value)
        if stored is None:
            return
        data.add_new(keyword, "SS" if storage.signed else "US", stored)


def _padding(source: SourceSeries, volume: Volume) -> list[float]:
    """The value of pixels outside the field of view, and the other end of its range if it is one."""
    first, values = source.headers[0], []
    if len(source.rescales) == 1:
        slope, intercept = source.rescales[0]
        for keyword in PADDING:
            if not source.agree(keyword) or not isinstance(first.get(keyword), int):
                break
            values.append(first.get(keyword) * slope + intercept)
    if not values and volume.valid is not None:
        # That of voxels that are no measured ones, if it is one that no measured voxel has
        value = volume.array[~volume.valid][0]
        values = [float(value)] if np.array_equal(volume.array == value, ~volume.valid) else []
    return values


def _place(made: Derived, k: int) -> pydicom.Dataset:
    """Position, orientation, spacings and thickness, in LPS mm (PS3.3 C.7.6.2), and the nearest acquired slices."""
    volume, source = made.volume, made.source
    lps = lps_from_ras(volume.ijk_to_ras)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    along_row, along_column, _ = (lps[:3, :3] / spacing).T
    position = (lps @ (0, 0, k, 1))[:3]
    thickness_mm = thickness_of(source.slices)
    if thickness_mm is None or not np.isclose(spacing[2], source.spacing_mm, rtol=1e-4):
        # Where the slices became finer, no new one is thicker than the distance between them
        thickness_mm = min(thickness_mm or np.inf, spacing[2])
    middle = (volume.shape_kji[2] - 1) / 2, (volume.shape_kji[1] - 1) / 2, k
    return dataset(
        ImagePositionPatient=[decimal_string(mm) for mm in position],
        ImageOrientationPatient=[decimal_string(cosine) for cosine in (*along_row, *along_column)],
        PixelSpacing=[decimal_string(spacing[1]), decimal_string(spacing[0])],
        SpacingBetweenSlices=decimal_string(spacing[2]),
        SliceThickness=decimal_string(thickness_mm),
        SliceLocation=decimal_string(position @ np.cross(along_row, along_column)),
        SourceImageSequence=_references(source.nearest(volume.ras_of_ijk(middle))),
    )


def _references(headers: list[pydicom.Dataset]) -> list[pydicom.Dataset]:
    """An item for each object that some acquired slices lie in; frames of one object are named together."""
    found: dict[str, list[pydicom.Dataset]] = {}
    for header in headers:
        found.setdefault(header.SOPInstanceUID, []).append(header)
    items = []
    for uid, own in found.items():
        item = dataset(ReferencedSOPClassUID=own[0].SOPClassUID, ReferencedSOPInstanceUID=uid)
        item.PurposeOfReferenceCodeSequence = [code("121322", "Source image for image processing operation")]
        if "ReferencedFrameNumber" in own[0]:
            item.ReferencedFrameNumber = [header.ReferencedFrameNumber for header in own]
        items.append(item)
    return items


def uid_of(seed: str | None, label: str) -> str:
    """A UID that follows from a seed, or a random one: below the root 2.25, which needs no registration (PS3.5 B.2)."""
    made = uuid.uuid4() if seed is None else uuid.uuid5(_NAMESPACE, f"{seed}/{label}")
    return f"2.25.{made.int}"


def _weights(said: Provenance) -> str:
    return f"weights {said.model}, SHA-256 {said.weights_sha256}"


def _ascii(text: str) -> str:
    """Text that fits every character set that the source may have declared."""
    return text.encode("ascii", "replace").decode()
