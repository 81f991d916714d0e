"""A result as a DICOM series that belongs to its source's study.

Nothing here imports pydicom before it is called. docs/dicom.md lists what is written into which tag.
"""

from __future__ import annotations

from .folder import check_series_folder
from .settings import DicomSettings
from .write import DicomSeries, write_dicom_series

__all__ = ["DicomSeries", "DicomSettings", "check_series_folder", "write_dicom_series"]
