"""Samples of image files, packed by gzip or not, by what a header says of them.

The content tells whether a file is packed, whatever its name says.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import InputError

MOST_PACKED = 1032
"""Times that gzip can pack; zlib.net, "Technical Details"."""

PIECE_BYTES = 1 << 22
_HEADER_BYTES = 540

CHOOSE_FRAME = (
    "Choose one with --frame N (in Python frame=N, in a batch's table the column frame), or take all of them with "
    "cycleinr upsample --all-frames."
)


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """What an image file says of itself.

    Attributes:
        sizes: Samples along i, j, k and further axes.
        type: Of the values.
        ijk_to_ras: 4x4, mm.
        voxels: Reads (count, K, J, I) values of the frames from a first one, counted from 0.
        frame_s: Time between frames in seconds.
        known: What else is known of a volume in it.
    """

    sizes: tuple[int, ...]
    type: np.dtype
    ijk_to_ras: np.ndarray
    voxels: Callable[[int, int], np.ndarray]
    frame_s: float = 1.0
    known: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        return math.prod(self.sizes[3:])


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with open(path, "rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        yield gzip.GzipFile(fileobj=file) if is_packed else file  # type: ignore[misc]


def start_of(path: Path) -> bytes:
    """The first bytes of a file; OSError where it cannot be opened."""
    with open(path, "rb") as file:
        return file.read(_HEADER_BYTES)


def unpacked_start(path: Path) -> bytes:
    """The first bytes of a file, of what is packed in it where it is gzip; fewer where it is shorter or damaged."""
    try:
        with _opened(path) as file:
            return file.read(_HEADER_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b""


def read_samples(path: Path, at: int, stored: np.dtype, sizes: Sequence[int], first: int, count: int) -> np.ndarray:
    """Stored values (count, K, J, I) of the frames from ``first``, counted from 0.

    Args:
        at: Byte at which the first frame begins.
        sizes: Samples along i, j, k.

    Raises:
        InputError: The file ends too early, or its packed data are damaged.
        MemoryError: There is too little.
    """
    shape = (count, *sizes[2::-1])
    needed = math.prod(shape) * stored.itemsize
    # Before memory is taken for them
    if at + needed > MOST_PACKED * path.stat().st_size:
        raise damaged(path, f"it is too short for {needed} bytes from byte {at}")
    array = np.empty(shape, stored)
    left = memoryview(array).cast("B")
    try:
        with _opened(path) as file:
            file.seek(at + first * (needed // count))
            while left and (got := file.readinto(left[:PIECE_BYTES])):  # type: ignore[attr-defined]
                left = left[got:]
            # At the end of what is packed a checksum may stand
            while isinstance(file, gzip.GzipFile) and file.read(PIECE_BYTES):
                pass
    except EOFError as error:
        raise damaged(path, "the compressed data end too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, "the compressed data are damaged") from error
    if left:
        raise damaged(path, f"it ends too early, {len(left)} of {needed} bytes are missing")
    return array


def damaged(path: Path, why: str) -> InputError:
    """What to raise for a file that makes no sense."""
    return InputError(f"{path.name} is damaged: {why}. Copy or export the file again.")
