"""DICOM headers through pydicom: without a word on the console, and with no more memory than the file has bytes.

pydicom warns of values that break the standard and prints them, patients' data included, and it takes the memory that
an element claims before it finds that the file ends earlier.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pydicom

UNKNOWN = "unknown"

_MODALITIES = {
    "AR", "ASMT", "AU", "BDUS", "BI", "BMD", "CFM", "CR", "CT", "CTPROTOCOL", "DG", "DMS", "DOC", "DX", "ECG", "EEG",
    "EMG", "EOG", "EPS", "ES", "FID", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LS", "M3D",
    "MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PA", "PLAN", "POS",
    "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD",
    "RTSEGANN", "RTSTRUCT", "RWV", "SEG", "SM", "SMR", "SR", "SRF", "STAIN", "TEXTUREMAP", "TG", "US", "VA", "XA",
    "XC", "XAPROTOCOL", "AS", "CD", "CF", "CP", "CS", "DD", "DF", "DM", "DS", "EC", "FA", "FS", "LP", "MA", "MS",
    "OPR", "ST", "TH", "VF", "VL",
}  # fmt: skip
"""DICOM PS3.3, C.7.3.1.1.1, with the retired ones."""

_PHOTOMETRIC = {
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "YBR_FULL", "YBR_FULL_422",
    "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB",
}  # fmt: skip
"""DICOM PS3.3, C.7.6.3.1.2."""


def modality_of(header: pydicom.Dataset) -> str:
    """Modality (0008,0060) if it is one of the standard's, else "unknown": a message must not repeat just any text."""
    return _known(header.get("Modality"), _MODALITIES)


def photometric_of(header: pydicom.Dataset) -> str:
    """Photometric Interpretation (0028,0004) if it is one of the standard's, else "unknown"."""
    return _known(header.get("PhotometricInterpretation"), _PHOTOMETRIC)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what pydicom has to say about values reaches the console or a log.

    The values of a dataset are decoded when they are first asked for, so this has to include that.
    """
    from pydicom.config import disable_value_validation

    logger = logging.getLogger("pydicom")
    disabled = logger.disabled
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = disabled


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file of which nothing is read beyond its end, however much is asked for.

    :raises OSError: it cannot be opened.
    """
    with _WithinFile(open(path, "rb", buffering=0)) as file:
        yield file


def read_header(path: Path, attributes: Sequence[str | int]) -> pydicom.Dataset:
    """Some attributes of a file, without its pixels; to be called, and its result to be used, in ``quiet``.

    :raises Exception: nearly any, where the file is damaged.
    """
    import pydicom

    with opened(path) as file:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(attributes))


class _WithinFile(io.BufferedReader):
    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > 0:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def _known(value: object, words: set[str]) -> str:
    return str(value) if str(value) in words else UNKNOWN
