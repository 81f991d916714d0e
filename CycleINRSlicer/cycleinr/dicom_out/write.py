"""Writing a derived DICOM series: one file a slice, all of them or none."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OutputError
from ..files.atomic import new_folder
from ..files.bridges import lps_from_ras
from ..files.dicom_header import quiet
from ..files.dicom_series import Series
from ..files.dicom_slices import thickness_of
from ..inspection import inspect
from ..result import ranges_of_gaps
from ..volume import Volume
from . import DicomSettings
from .enhanced import enhanced
from .series import Derived, check_provenance, check_series_folder, code, shared_attributes, uid_of
from .source import read_source
from .stored import choose_storage, decimal_string

if TYPE_CHECKING:
    import pydicom


_THE_COMPUTER = ("device", "torch")
"""Provenance that names where a result was computed, not what it is."""


@dataclass(frozen=True)
class DicomSeries:
    """A series that is written.

    Attributes:
        folder: Where it is.
        files: Its files in order of Instance Number.
        series_uid: Series Instance UID (0020,000E).
        max_error: Largest difference between a voxel and what is stored for it, in the volume's units; 0 for all
            integer volumes whose values span no more than 16 bits.
    """

    folder: Path
    files: tuple[Path, ...]
    series_uid: str
    max_error: float


# Values that break the standard stay as the source has them; pydicom's warnings would print them, names included.
@quiet()
def write_dicom_series(
    volume: Volume,
    source: Sequence[str | Path] | Series,
    folder: Path,
    provenance: Mapping[str, str],
    settings: DicomSettings | None = None,
    overwrite: bool = False,
) -> DicomSeries:
    """Write a result as a new series of its source's study.

    Patient, study and frame of reference are the source's; series and instances are new. Slices are stacked along the
    volume's k axis, whichever axis was made finer, and numbered in the direction in which the source is numbered.

    Args:
        volume: The result, in RAS; integers, or floats that are then stored in 65,536 levels.
        source: All files of the CT or MR series that the result was computed from, in any order, single slices or
            enhanced objects; scouts among them are left out. Or that series as it was found. In Slicer:
            ``slicer.dicomDatabase.fileForInstance`` of each of the volume node's "DICOM.instanceUIDs".
        folder: A new or an empty folder to be made; its parent must exist. Gets IM0001.dcm and so on.
        provenance: How the result was made, as ``cycleinr.result.Provenance`` gives it.
        overwrite: Replace a series that this function wrote there before. Any other content is never replaced.

    Returns:
        What was written, and the largest rounding error.

    Raises:
        InputError: The source's headers are damaged, or of several series, patients or studies; or the volume holds
            values that are no finite numbers.
        GeometryError: The source is no stack of slices, or the volume lies elsewhere.
        RequestError: ``provenance`` is incomplete.
        OutputError: The folder holds something else, or cannot be written.
    """
    source, folder, settings = read_source(source), Path(folder), settings or DicomSettings()
    source.check_place(volume)
    check_provenance(provenance)
    volume = replace(volume, valid=inspect(replace(volume, modality=source.modality)).valid)
    deterministic = settings.deterministic_uids
    seed = _seed(source.uid, provenance, volume) if deterministic else None
    signed = source.headers[0].get("PixelRepresentation") == 1
    storage = choose_storage(volume, source.rescales, signed)
    made = Derived(volume, source, provenance, storage, seed, None if deterministic else datetime.now(source.timezone))
    shared = shared_attributes(made, settings.series_number)
    gaps = ranges_of_gaps(provenance.get("gaps", ""))
    order = list(range(volume.shape_kji[0]))
    if source.runs_downwards:
        order.reverse()
    digits = max(4, len(str(len(order))))
    names = [f"IM{number:0{digits}d}.dcm" for number in range(1, len(order) + 1)]

    def slices() -> Iterator[pydicom.Dataset]:
        for number, k in enumerate(order, 1):
            data = _slice(made, k, shared)
            if any(k in gap for gap in gaps):
                # The element itself is shared with the other slices
                del data.ImageComments
                data.ImageComments = f"Slices are missing here: computed from those around. {shared.ImageComments}"
            data.InstanceNumber = number
            data.SOPInstanceUID = made.uid(f"instance {number}")
            yield data

    with new_folder(folder, lambda: check_series_folder(folder, overwrite, source.slices[0].path.parent)) as staged:
        if settings.multi_frame:
            names = names[:1]
            # The same for all results of one source
            event = uid_of(source.uid, "irradiation event")
            data = enhanced(list(slices()), made.uid("enhanced"), made.uid("dimensions"), event)
            _save(data, staged / names[0], settings.compress)
        else:
            for name, data in zip(names, slices(), strict=True):
                _save(data, staged / name, settings.compress)
    files = tuple(folder / name for name in names)
    return DicomSeries(folder, files, str(shared.SeriesInstanceUID), storage.max_error)


def _seed(source_uid: str, provenance: Mapping[str, str], volume: Volume) -> str:
    """What deterministic UIDs follow from: the source series, the settings with the weights' hash, and the voxels.

    The voxels are part of it because one UID must never name two contents: a GPU may round differently from a CPU.
    """
    digest = hashlib.sha256()
    settings = sorted((key, str(value)) for key, value in provenance.items() if key not in _THE_COMPUTER)
    digest.update(repr((source_uid, settings, volume.array.dtype.str, volume.shape_kji)).encode())
    digest.update(np.round(volume.ijk_to_ras, 6).tobytes())
    for values in volume.array:
        digest.update(np.ascontiguousarray(values))
    return digest.hexdigest()


def _slice(made: Derived, k: int, shared: pydicom.Dataset) -> pydicom.Dataset:
    """The attributes and pixels of one slice, without its number and UID."""
    import pydicom

    data = pydicom.Dataset()
    # The shared elements are only read from here on, so that copies of them would be a waste.
    data.update(shared)
    _place(data, made, k)
    volume = made.volume
    columns, rows = volume.shape_kji[2], volume.shape_kji[1]
    centre = volume.ras_of_ijk(((columns - 1) / 2, (rows - 1) / 2, k))
    data.SourceImageSequence = _references(made.source.nearest(centre))
    data.add_new("PixelData", "OW", made.storage.stored(volume.array[k]).tobytes())
    return data


def _references(headers: Sequence[pydicom.Dataset]) -> list[pydicom.Dataset]:
    """An item for each object that some acquired slices lie in; frames of one object are named together."""
    import pydicom

    items: dict[str, pydicom.Dataset] = {}
    for header in headers:
        item = items.setdefault(str(header.SOPInstanceUID), pydicom.Dataset())
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        item.PurposeOfReferenceCodeSequence = [code("SourceImageForImageProcessingOperation")]
        if "ReferencedFrameNumber" in header:
            before = item.get("ReferencedFrameNumber") or []
            before = [before] if isinstance(before, int) else list(before)
            item.ReferencedFrameNumber = [*before, header.ReferencedFrameNumber]
    return list(items.values())


def _place(data: pydicom.Dataset, made: Derived, k: int) -> None:
    """Position, orientation, spacings and thickness, in LPS mm (PS3.3 C.7.6.2)."""
    lps, source = lps_from_ras(made.volume.ijk_to_ras), made.source
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    along_row, along_column, _ = (lps[:3, :3] / spacing).T
    position = (lps @ (0, 0, k, 1))[:3]
    data.ImagePositionPatient = [decimal_string(mm) for mm in position]
    data.ImageOrientationPatient = [decimal_string(cosine) for cosine in (*along_row, *along_column)]
    data.PixelSpacing = [decimal_string(spacing[1]), decimal_string(spacing[0])]
    data.SpacingBetweenSlices = decimal_string(spacing[2])
    thickness_mm = thickness_of(source.slices)
    if thickness_mm is None or not np.isclose(spacing[2], source.spacing_mm, rtol=1e-4):
        # Where the slices became finer, no new one is thicker than the distance between them
        thickness_mm = min(thickness_mm or np.inf, spacing[2])
    data.SliceThickness = decimal_string(thickness_mm)
    data.SliceLocation = decimal_string(position @ np.cross(along_row, along_column))


def _save(data: pydicom.Dataset, path: Path, compress: bool) -> None:
    """Write one Part 10 file that survives a power cut."""
    import pydicom
    from pydicom.dataset import FileMetaDataset, validate_file_meta
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless

    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    validate_file_meta(meta)
    # pydicom 2 (in older Slicers) and 3 differ in how they are asked to complete a file; a complete one suits both.
    file = pydicom.FileDataset(
        str(path), data, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=False, is_little_endian=True
    )
    try:
        if compress:
            file.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        with open(path, "wb") as stream:
            file.save_as(stream)
            stream.flush()
            os.fsync(stream.fileno())
    except (ValueError, TypeError, AttributeError) as error:
        # The error's own text may quote the value, which may be a name.
        tag = re.search(r"\([0-9a-fA-F]{4}, ?[0-9a-fA-F]{4}\)", str(error))
        where = f" in {tag[0]}" if tag else ""
        raise OutputError(
            f"The headers of the source series hold a value{where} that cannot be written again. "
            "Repair or anonymize the source series first."
        ) from error
