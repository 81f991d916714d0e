"""A result as a DICOM series that belongs to its source's study; docs/dicom.md lists what is written into which tag."""

from .write import DicomSeries, DicomSettings, check_series_folder, write_dicom_series

__all__ = ["DicomSeries", "DicomSettings", "check_series_folder", "write_dicom_series"]
