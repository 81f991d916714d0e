"""What a user may choose about a derived series, and the identifiers that follow: below the root 2.25, which needs no
registration (PS3.5 B.2, ITU-T X.667).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..volume import Volume

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "CycleINR derived series")
_THE_COMPUTER = ("device", "torch")
"""Provenance that names where a result was computed, not what it is."""


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


@dataclass(frozen=True)
class UidMaker:
    """Makes the UIDs of one series.

    Attributes:
        seed: What the UIDs follow from; None for random ones.
    """

    seed: str | None = None

    def uid(self, label: str) -> str:
        """The UID of one object of the series, at most 44 characters."""
        made = uuid.uuid4() if self.seed is None else uuid.uuid5(_NAMESPACE, f"{self.seed}/{label}")
        return f"2.25.{made.int}"


def seed_of(source_uid: str, provenance: Mapping[str, str], volume: Volume) -> str:
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
