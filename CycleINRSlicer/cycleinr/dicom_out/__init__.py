"""A result as a DICOM series that belongs to its source's study.

Nothing here imports pydicom before it is called. docs/dicom.md lists what is written into which tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .write import DicomSeries, check_series_folder, write_dicom_series

__all__ = ["DicomSeries", "DicomSettings", "check_series_folder", "write_dicom_series"]


@dataclass(frozen=True)
class DicomSettings:
    """How a derived series is written.

    Attributes:
        deterministic_uids: UIDs follow from the source series, the settings, the weights' hash and the voxels, and no
            time of writing is noted: the same run gives the same files, byte for byte.
        compress: Store the pixels as RLE Lossless instead of uncompressed; half the size, the same values.
        multi_frame: One enhanced object with a frame for each slice, instead of a series of single slices.
        series_number: Series Number (0020,0011); None for the source's plus 1000.
    """

    deterministic_uids: bool = False
    compress: bool = False
    series_number: int | None = None
    multi_frame: bool = False


def __getattr__(name: str) -> object:
    # The rest brings in the readers of DICOM
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".write", __name__), name)
