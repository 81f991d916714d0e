"""The series that a result was computed from: its headers in spatial order, those of frames as of single slices.

An enhanced object says in functional groups, and partly under other names, what a CT or MR image says at its top level
(DICOM PS3.3, A.36, A.38 and C.7.6.16).
"""

from __future__ import annotations

import logging
from collections.abc import MutableSequence, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import GeometryError, InputError
from ..files.dicom_header import GROUPS, SliceHeader, quiet, read_header, said_of_frame
from ..files.dicom_series import Series, slices_of_files
from ..files.dicom_slices import Stack, stack
from ..volume import Volume
from .attributes import ALL_READ, dataset

if TYPE_CHECKING:
    import pydicom

_LOG = logging.getLogger(__name__)
_INDISPENSABLE = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
_NEAREST = 4
"""Source slices that each new slice names: as many as the network's attention gathers."""

_PULSE = ("EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery", "SegmentedKSpaceTraversal", "Spoiling")
_SEQUENCES = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """One acquired series: its slices in order of rising k, and the attributes of each that a derived series needs."""

    stack: Stack
    headers: list[pydicom.Dataset]

    @property
    def slices(self) -> list[SliceHeader]:
        return self.stack.slices

    @property
    def modality(self) -> str:
        return self.slices[0].modality

    @property
    def uid(self) -> str:
        """Series Instance UID (0020,000E)."""
        return self.slices[0].series_uid

    @property
    def spacing_mm(self) -> float:
        """Distance between slices; the commonest where it changes."""
        return float(np.linalg.norm(self.stack.ijk_to_ras[:3, 2]))

    @property
    def rescales(self) -> list[tuple[float, float]]:
        """Distinct (slope, intercept) of the slices."""
        return sorted({(s.slope, s.intercept) for s in self.slices})

    @property
    def _places_k(self) -> np.ndarray:
        """Where the slices lie, in spacings."""
        own = self.stack.acquisition
        return np.arange(len(self.headers)) if own is None else own.positions_mm / self.spacing_mm

    def _ijk_of(self, point_ras: np.ndarray) -> np.ndarray:
        return (np.linalg.inv(self.stack.ijk_to_ras) @ np.append(point_ras, 1.0))[:3]

    def nearest(self, point_ras: np.ndarray) -> list[pydicom.Dataset]:
        """Headers of the acquired slices nearest to a point, in order of rising k."""
        ranked = np.argsort(np.abs(self._places_k - self._ijk_of(point_ras)[2]), kind="stable")
        return [self.headers[n] for n in sorted(ranked[:_NEAREST])]

    def agree(self, keyword: str) -> bool:
        """Whether all slices say the same."""
        return all(header.get(keyword) == self.headers[0].get(keyword) for header in self.headers)

    def check_place(self, volume: Volume) -> None:
        """Refuse, with a GeometryError, a volume whose centre lies outside the series."""
        index = self._ijk_of(volume.ras_of_ijk((np.array(volume.shape_kji[::-1]) - 1) / 2))
        _, rows, columns = self.stack.shape_kji
        if (index < -1).any() or (index > (columns, rows, self._places_k[-1] + 1)).any():
            raise GeometryError(
                "The volume's centre lies outside the DICOM series that it is to be added to: it was computed from "
                "another scan, or it was moved. Give the files of the series that it was computed from."
            )


def read_source(source: Sequence[str | Path] | Series) -> SourceSeries:
    """Read the headers of a source series; scouts among the files are left out.

    Args:
        source: All files of one series, in any order; or the series as it was found.

    Raises:
        InputError: A file is missing or damaged, or the files are of several series, studies or patients.
        GeometryError: As ``read_volume``.
    """
    found = stack(source.slices if isinstance(source, Series) else slices_of_files(source))
    frames = found.slices[0].frame is not None
    wanted = [*ALL_READ, *GROUPS, *_PULSE] if frames else ALL_READ
    with quiet():
        files = {path: _read_header(path, wanted) for path in dict.fromkeys(s.path for s in found.slices)}
        headers = [_frame_header(files[s.path], s.frame) if frames else files[s.path] for s in found.slices]
        series = SourceSeries(found, headers)
        for keyword in ("StudyInstanceUID", "PatientID", "FrameOfReferenceUID"):
            if not series.agree(keyword):
                raise InputError(
                    f"The slices of the series differ in {keyword}, so it is not clear where the result belongs. "
                    "Export the series again, or repair its headers."
                )
    return series


def _read_header(path: Path, attributes: Sequence[str]) -> pydicom.Dataset:
    from pydicom.datadict import keyword_for_tag

    try:
        header = read_header(path, attributes)
    # A damaged header makes pydicom raise nearly anything, and all of it means the same to the reader.
    except Exception as error:
        raise InputError(f"The header of {path.name} is damaged. Export the series again.") from error
    for tag in list(header.keys()):
        try:
            # Decodes it, items of sequences included; those of frames when they are asked for
            if keyword_for_tag(tag) not in GROUPS:
                str(header[tag].value)
        # Real headers hold values that no reader understands. One attribute less is better than no export.
        except Exception:
            _LOG.info("The attribute %s of %s cannot be decoded and is left out.", tag, path.name)
            del header[tag]
    missing = [keyword for keyword in _INDISPENSABLE if not header.get(keyword)]
    if missing:
        raise InputError(
            f"The header of {path.name} lacks {', '.join(missing)}, so nothing can refer to it. "
            "Export the series again."
        )
    return header


def _frame_header(data: pydicom.Dataset, number: int) -> pydicom.Dataset:
    """What a frame says, counted from 0, as a single slice, and which frame it is."""
    from pydicom.datadict import dictionary_VM, dictionary_VR

    said, header = said_of_frame(data, number), dataset()
    for keyword in said.keys() & set(ALL_READ):
        value = said[keyword]
        if dictionary_VM(keyword) != "1" or not isinstance(value, MutableSequence) or dictionary_VR(keyword) == "SQ":
            # Groups have fractions where single slices have whole numbers
            is_whole = dictionary_VR(keyword) == "IS" and isinstance(value, float)
            # A text where a number belongs: one attribute less, as in `_read_header`
            with suppress(ValueError, TypeError):
                setattr(header, keyword, round(value) if is_whole else value)
    # Numbers of frames rise from 1 (PS3.3 C.7.6.16.2)
    header.InstanceNumber = header.ReferencedFrameNumber = number + 1
    if header.get("Modality") == "MR":
        # Every MR slice has these, and no enhanced object (PS3.3 C.8.3.1)
        kinds = [*_SEQUENCES.get(str(said.get("EchoPulseSequence")), ["RM"])]
        kinds += ["EP"] if said.get("EchoPlanarPulseSequence") == "YES" else []
        kinds += ["IR"] if said.get("InversionRecovery") == "YES" else []
        variants = ["SK"] if said.get("SegmentedKSpaceTraversal", "SINGLE") != "SINGLE" else []
        variants += ["SP"] if said.get("Spoiling", "NONE") != "NONE" else []
        header.setdefault("ScanningSequence", kinds)
        header.setdefault("SequenceVariant", variants or ["NONE"])
    return header
