"""A result as a DICOM series that belongs to its source's study.

Nothing here imports pydicom before it is called. docs/dicom.md lists what is written into which tag.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .series import check_series_folder
    from .settings import DicomSettings
    from .write import DicomSeries, write_dicom_series

_HOMES = {
    "DicomSeries": "write",
    "DicomSettings": "settings",
    "check_series_folder": "series",
    "write_dicom_series": "write",
}
__all__ = ["DicomSeries", "DicomSettings", "check_series_folder", "write_dicom_series"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
