"""What a user may choose about a derived DICOM series. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DicomSettings:
    """How a derived series is written.

    :param deterministic_uids: UIDs follow from the source series, the settings, the weights' hash and the voxels, and
        no time of writing is noted: the same run gives the same files, byte for byte.
    :param compress: store the pixels as RLE Lossless instead of uncompressed; half the size, the same values.
    :param multi_frame: one enhanced object with a frame for each slice, instead of a series of single slices.
    :param series_number: Series Number (0020,0011); None for the source's plus 1000.
    """

    deterministic_uids: bool = False
    compress: bool = False
    series_number: int | None = None
    multi_frame: bool = False
