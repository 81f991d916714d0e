"""Writing and reading DICOM files for tests, with the pydicom of Slicer 5.10 (2.4) and of 5.12 (3)."""

import numpy as np
import pydicom

IS_PYDICOM_2 = pydicom.__version_info__[0] == "2"


def write_file(path, data) -> None:
    """Write a data set with its File Meta Information, complete and checked."""
    if IS_PYDICOM_2:
        syntax = data.file_meta.TransferSyntaxUID
        data.is_little_endian, data.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
        pydicom.dcmwrite(path, data, write_like_original=False)
    else:
        pydicom.dcmwrite(path, data, enforce_file_format=True)


def rescaled(data) -> np.ndarray:
    """The pixels of a data set in real values, by pydicom's own decoding and rescale."""
    if IS_PYDICOM_2:
        from pydicom.pixel_data_handlers.util import apply_modality_lut

        return apply_modality_lut(data.pixel_array, data)
    from pydicom.pixels import apply_rescale

    return apply_rescale(data.pixel_array, data)
