"""Whether a scan fits into the memory, asked before it is read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from ..errors import OutOfMemoryError
from ..host_memory import available_memory_bytes


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


def out_of_memory(name: str) -> OutOfMemoryError:
    """What to raise when the memory ran out while a scan was read."""
    return OutOfMemoryError(f"There is no memory left to read {name}. Close other programs, or crop the scan.")
