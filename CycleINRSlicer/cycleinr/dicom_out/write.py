"""Writing a derived DICOM series: one file a slice, or one object with a frame for each; all of it or none."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import OutputError
from ..files.atomic import check_own_folder, new_folder
from ..files.dicom_header import MANUFACTURER, quiet, read_header
from ..files.dicom_series import Series
from ..inspection import inspect
from ..result import Provenance
from ..volume import Volume
from .enhanced import enhanced
from .series import Derived, uid_of
from .source import read_source
from .stored import choose_storage

if TYPE_CHECKING:
    import pydicom

_OUR_NAME = re.compile(r"IM\d{4,}\.dcm")
_THE_COMPUTER = ("device", "torch")
"""Provenance that names where a result was computed, not what it is."""


@dataclass(frozen=True)
class DicomSettings:
    """How a derived series is written.

    Attributes:
        deterministic_uids: UIDs follow from the source series, the settings, the weights' hash and the voxels, and no
            time of writing is noted: the same run gives the same files, byte for byte.
        compress: Store the pixels as RLE Lossless instead of uncompressed; half the size, the same values.
        series_number: Series Number (0020,0011); None for the source's plus 1000.
        multi_frame: One enhanced object with a frame for each slice, instead of a series of single slices.
    """

    deterministic_uids: bool = False
    compress: bool = False
    series_number: int | None = None
    multi_frame: bool = False


@dataclass(frozen=True)
class DicomSeries:
    """A series that is written.

    Attributes:
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
        InputError: The source's headers are damaged, or of several series, patients or studies; the volume holds
            values that are no finite numbers; or ``provenance`` is incomplete.
        GeometryError: The source is no stack of slices, or the volume lies elsewhere.
        OutputError: The folder holds something else, or cannot be written.
    """
    source, folder, settings = read_source(source), Path(folder), settings or DicomSettings()
    source.check_place(volume)
    said = Provenance.from_dict(dict(provenance))
    volume = replace(volume, valid=inspect(replace(volume, modality=source.modality)).valid)
    storage = choose_storage(volume.array, source.rescales, source.headers[0].get("PixelRepresentation") == 1)
    seed = when = None
    if settings.deterministic_uids:
        seed = _seed(source.uid, said, volume)
    else:
        offset = str(source.headers[0].get("TimezoneOffsetFromUTC") or "")
        zone = datetime.strptime(offset, "%z").tzinfo if re.fullmatch(r"[+-]\d{4}", offset) else None
        when = datetime.now(zone)
    uid = partial(uid_of, seed)
    made = Derived(volume, source, said, storage, uid, when, settings.series_number)
    files, series_uid = [], ""
    with new_folder(folder, lambda: check_series_folder(folder, overwrite, source.slices[0].path.parent)) as staged:
        objects = made.slices()
        if settings.multi_frame:
            # The same event for all results of one source
            event = uid_of(source.uid, "irradiation event")
            objects = [enhanced(list(objects), uid("enhanced"), uid("dimensions"), event)]
        digits = max(4, len(str(volume.shape_kji[0])))
        for data in objects:
            files.append(folder / f"IM{data.InstanceNumber:0{digits}d}.dcm")
            series_uid = str(data.SeriesInstanceUID)
            _save(data, staged / files[-1].name, settings.compress)
    return DicomSeries(folder, tuple(files), series_uid, storage.max_error)


def _seed(source_uid: str, said: Provenance, volume: Volume) -> str:
    """What deterministic UIDs follow from: the source series, the settings with the weights' hash, and the voxels.

    The voxels are part of it because one UID must never name two contents: a GPU may round differently from a CPU.
    """
    settings = sorted((key, text) for key, text in said.items() if key not in _THE_COMPUTER)
    digest = hashlib.sha256(repr((source_uid, settings, volume.array.dtype.str, volume.shape_kji)).encode())
    digest.update(np.round(volume.ijk_to_ras, 6).tobytes())
    for values in volume.array:
        digest.update(np.ascontiguousarray(values))
    return digest.hexdigest()


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
