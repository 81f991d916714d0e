"""A derived series as a whole: the attributes that all its slices share, and where it may be written."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OutputError, RequestError
from ..files.atomic import check_own_folder
from ..files.dicom_header import MANUFACTURER, quiet, read_header
from ..result import ranges_of_gaps
from ..volume import Volume
from .attributes import EQUIPMENT, copy_attribute, taken_over
from .source import SourceSeries, whole_number
from .stored import Storage, decimal_string

if TYPE_CHECKING:
    import pydicom

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "CycleINR derived series")
_OUR_NAME = re.compile(r"IM\d{4,}\.dcm")

# CT and MR Image Storage (PS3.4 B.5).
SOP_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
_SERIES_NUMBER_STEP = 1000
_MAX_SERIES_NUMBER = 2**31 - 1
_NEEDED = ("version", "model", "weights_sha256", "spacing_mm", "ratio", "axis", "extent", "slice_profile", "derived")
_TELLING_DIGITS = 4
_LONG_STRING = 64
_SHORT_TEXT = 1024


@dataclass(frozen=True)
class Derived:
    """A result that becomes a series.

    Attributes:
        volume: The result.
        source: What it was computed from.
        provenance: How, as ``cycleinr.result.Provenance`` gives it.
        storage: How its values are stored.
        seed: What the series' UIDs follow from; None for random ones.
        when: The time that is written; None writes none, so that the same run gives the same files.
    """

    volume: Volume
    source: SourceSeries
    provenance: Mapping[str, str]
    storage: Storage
    seed: str | None
    when: datetime | None

    def uid(self, label: str) -> str:
        """The UID of one object of the series."""
        return uid_of(self.seed, label)

    @property
    def weights(self) -> str:
        return f"weights {self.provenance['model']}, SHA-256 {self.provenance['weights_sha256']}"


def check_provenance(provenance: Mapping[str, str]) -> None:
    """Check that headers can say how a result was made, with a RequestError."""
    if missing := [key for key in _NEEDED if key not in provenance]:
        raise RequestError(
            f"The provenance of the result lacks {', '.join(missing)}, so its DICOM headers could not say how it "
            "was made. Pass the provenance that came with the result."
        )


def shared_attributes(made: Derived, number: int | None) -> pydicom.Dataset:
    """Everything but what differs from slice to slice.

    Args:
        number: Series Number (0020,0011); None for the source's plus 1000.
    """
    data = taken_over(made.source)
    _series(data, made, number)
    _equipment(data, made)
    _derivation(data, made)
    _pixels(data, made)
    # One window for all slices, the middle one's: a window that jumps would flicker on slices computed in between.
    middle = made.source.headers[len(made.source.headers) // 2]
    if middle.get("WindowCenter") not in (None, "") and middle.get("WindowWidth") not in (None, ""):
        for keyword in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"):
            copy_attribute(middle, data, keyword)
    return data


def _series(data: pydicom.Dataset, made: Derived, number: int | None) -> None:
    source = made.source
    first = source.headers[0]
    data.SOPClassUID = SOP_CLASSES[source.modality]
    data.SeriesInstanceUID = made.uid("series")
    if "FrameOfReferenceUID" not in data:
        # It is mandatory; a new one claims no relation that the source does not state.
        data.FrameOfReferenceUID = made.uid("frame of reference")
    beyond = (whole_number(first, "SeriesNumber") or 0) + _SERIES_NUMBER_STEP
    if not first.get("BodyPartExamined") and "Laterality" not in data:
        # Mandatory for paired parts, and empty where the part is not known.
        data.Laterality = None
    data.SeriesNumber = min(beyond, _MAX_SERIES_NUMBER) if number is None else number
    # Results of one source have the same number; the digits tell them apart in an archive's list.
    digits = hashlib.sha256(str(data.SeriesInstanceUID).encode()).hexdigest()[:_TELLING_DIGITS]
    what = f"{made.provenance['spacing_mm']} mm CycleINR {digits}"
    before = str(first.get("SeriesDescription") or "")[: _LONG_STRING - len(what) - 1].strip()
    data.SeriesDescription = f"{before} {what}".strip()
    if made.when:
        data.SeriesDate = data.ContentDate = data.InstanceCreationDate = made.when.strftime("%Y%m%d")
        data.SeriesTime = data.ContentTime = data.InstanceCreationTime = made.when.strftime("%H%M%S")
    related = dataset(StudyInstanceUID=first.get("StudyInstanceUID"), SeriesInstanceUID=source.uid)
    related.PurposeOfReferenceCodeSequence = [code("SourceSeriesForImageProcessingOperation")]
    data.RelatedSeriesSequence = [related]


def _equipment(data: pydicom.Dataset, made: Derived) -> None:
    """We are the equipment of the new series, the scanner contributed to it (PS3.3 C.12.1.5, note 1)."""
    first, said = made.source.headers[0], made.provenance
    scanner = dataset(PurposeOfReferenceCodeSequence=[code("AcquisitionEquipment")])
    for keyword in EQUIPMENT:
        copy_attribute(first, scanner, keyword)
    scanner.Manufacturer = scanner.get("Manufacturer") or "not stated"
    ours = dataset(
        PurposeOfReferenceCodeSequence=[code("ProcessingEquipment")],
        Manufacturer=MANUFACTURER,
        ManufacturerModelName=_ascii(f"CycleINR {said['model']}")[:_LONG_STRING],
        SoftwareVersions=_ascii(said["version"])[:_LONG_STRING],
        ContributionDescription=_ascii(f"Through-plane super-resolution with {made.weights}.")[:_SHORT_TEXT],
    )
    if made.when:
        ours.ContributionDateTime = made.when.strftime("%Y%m%d%H%M%S")
    copy_attribute(first, data, "ContributingEquipmentSequence")
    data.ContributingEquipmentSequence = [*(data.get("ContributingEquipmentSequence") or []), scanner, ours]
    for keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions"):
        data.add(ours[keyword])


def _derivation(data: pydicom.Dataset, made: Derived) -> None:
    said, storage = made.provenance, made.storage
    more = f" {said['reading']}" if "reading" in said else ""
    if lacking := sum(map(len, ranges_of_gaps(said.get("gaps", "")))):
        more += f" Nothing was acquired at {lacking} of these slices; their comments say so."
    if storage.max_error:
        more += f" Values are rounded to steps of {storage.slope:.4g}; the largest rounding error is "
        more += f"{storage.max_error:.3g}."
    text = (
        f"{said['derived']} Slices every {said['spacing_mm']} mm along image axis {said['axis']} were computed "
        f"from the source series by super-resolution (ratio {said['ratio']}, extent {said['extent']}, slice "
        f"profile: {said['slice_profile'].rstrip('.')}).{more} CycleINR {said['version']}, {made.weights}."
    )
    data.DerivationDescription = _ascii(text)[:_SHORT_TEXT]
    data.ImageType = ["DERIVED", "SECONDARY", _third_image_type(made.source)]
    data.DerivationCodeSequence = [code("SpatialResampling")]
    data.ImageComments = _ascii(said["derived"])
    if "BurnedInAnnotation" not in data:
        data.BurnedInAnnotation = "NO"


def _third_image_type(source: SourceSeries) -> str:
    """CT knows AXIAL and LOCALIZER only (PS3.3 C.8.2.1.1.1); MR keeps the source's."""
    if source.modality == "CT":
        return "AXIAL"
    if source.is_multi_frame:
        return "OTHER"
    kind = source.headers[0].get("ImageType")
    return (kind[2] if kind and not isinstance(kind, str) and len(kind) > 2 else "") or "OTHER"


def _pixels(data: pydicom.Dataset, made: Derived) -> None:
    volume, source, storage = made.volume, made.source, made.storage
    _, data.Rows, data.Columns = volume.shape_kji
    # How the source is shown; values are the same for both kinds of grey
    kinds = {s.photometric for s in source.slices}
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, kinds.pop() if len(kinds) == 1 else "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = int(storage.signed)
    # MR Image Storage has no rescale of its own; where none is needed, none is written, as scanners do.
    if source.modality == "CT" or (storage.slope, storage.intercept) != (1.0, 0.0):
        data.RescaleSlope, data.RescaleIntercept = decimal_string(storage.slope), decimal_string(storage.intercept)
        data.setdefault("RescaleType", "HU" if source.modality == "CT" else "US")
    elif "RescaleType" in data:
        del data.RescaleType
    _padding_of_source(data, source, storage)
    if "PixelPaddingValue" not in data and volume.valid is not None:
        # The value of voxels that are no measured ones, if it is one that no measured voxel has
        value = volume.array[~volume.valid][0]
        stored = storage.stored_exactly(float(value))
        if stored is not None and np.array_equal(volume.array == value, ~volume.valid):
            data.add_new("PixelPaddingValue", "SS" if storage.signed else "US", stored)


def _padding_of_source(data: pydicom.Dataset, source: SourceSeries, storage: Storage) -> None:
    """The value of pixels outside the field of view, in the new stored values, if it is one value for all slices."""
    if len(source.rescales) != 1:
        return
    slope, intercept = source.rescales[0]
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        values = {header.get(keyword) for header in source.headers}
        value = values.pop() if len(values) == 1 else None
        stored = storage.stored_exactly(value * slope + intercept) if isinstance(value, int) else None
        if stored is None:
            return
        data.add_new(keyword, "SS" if storage.signed else "US", stored)


def uid_of(seed: str | None, label: str) -> str:
    """The UID of one object, at most 44 characters, below the root 2.25, which needs no registration (PS3.5 B.2).

    Args:
        seed: What the UIDs of a series follow from; None for random ones.
    """
    made = uuid.uuid4() if seed is None else uuid.uuid5(_NAMESPACE, f"{seed}/{label}")
    return f"2.25.{made.int}"


def code(name: str) -> pydicom.Dataset:
    """An item of a code sequence, for a concept of the DICOM Controlled Terminology (PS3.16)."""
    from pydicom.sr.codedict import codes

    concept = getattr(codes.DCM, name)
    return dataset(
        CodeValue=concept.value, CodingSchemeDesignator=concept.scheme_designator, CodeMeaning=concept.meaning
    )


def dataset(**attributes) -> pydicom.Dataset:
    """A data set of some attributes."""
    import pydicom

    data = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    return data


def _ascii(text: str) -> str:
    """Text that fits every character set that the source may have declared."""
    return text.encode("ascii", "replace").decode()


def is_slice_name(name: str) -> bool:
    """Whether a slice that is written here may have this name."""
    return _OUR_NAME.fullmatch(name) is not None


def check_series_folder(folder: Path, overwrite: bool, source_folder: Path | None = None) -> None:
    """Check that a series may be written as ``folder``, before any work is spent on it.

    Args:
        overwrite: Replace a series that was written here before; a folder with anything else in it is never touched.
        source_folder: Folder of the source's files, which must stay.

    Raises:
        OutputError: The folder above is missing or closed, or ``folder`` holds something.
    """
    if source_folder is not None and Path(folder).resolve() == Path(source_folder).resolve():
        raise OutputError(f"{folder} holds the source series, which is never replaced. Choose another folder.")
    check_own_folder(folder, overwrite, "DICOM series", _is_our_series)


@quiet()
def _is_our_series(folder: Path) -> bool:
    try:
        return all(
            is_slice_name(entry.name) and read_header(entry, ["Manufacturer"]).get("Manufacturer") == MANUFACTURER
            for entry in folder.iterdir()
        )
    # Whatever cannot be read is not known to be ours, so it stays.
    except Exception:
        return False
