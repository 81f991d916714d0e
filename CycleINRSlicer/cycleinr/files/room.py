"""Whether a scan fits into the memory, asked before it is read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from ..errors import OutOfMemoryError
from ..memory import available_memory_bytes


def check_room(name: str, size: Sequence[int], kind: str) -> None:
    """Check that a scan's voxels fit into the memory that is free.

    :param name: what the message calls the scan.
    :param size: number of samples along each axis.
    :param kind: SimpleITK's name of the sample's type, for example "16-bit signed integer".
    :raises OutOfMemoryError: they do not.
    """
    bits = re.match(r"\d+", kind)
    needed, free = math.prod(size) * int(bits[0] if bits else 8) // 8, available_memory_bytes()
    if needed > free:
        raise OutOfMemoryError(
            f"{name} takes {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free. "
            "Close other programs, or crop the scan."
        )


def type_of(kind: str) -> np.dtype:
    """NumPy's type for SimpleITK's name of a sample's type; for complex and other ones one that no scan has."""
    bits = re.match(r"(\d+)-bit (signed integer|unsigned integer|float)$", kind)
    return np.dtype(f"{bits[2][0].replace('s', 'i')}{int(bits[1]) // 8}" if bits else np.complex64)


def unread(shape: Sequence[int], dtype: np.dtype | type) -> np.ndarray:
    """What stands for voxels that are not read: zeros of this shape and type that take no memory."""
    return np.broadcast_to(np.zeros((), dtype), tuple(shape))


def out_of_memory(name: str) -> OutOfMemoryError:
    """What to raise when the memory ran out while a scan was read."""
    return OutOfMemoryError(f"There is no memory left to read {name}. Close other programs, or crop the scan.")
