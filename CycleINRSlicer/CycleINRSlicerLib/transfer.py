"""Voxels on their way to the engine and back, a few megabytes at a time between turns of the event loop.

They travel as ``.npy`` files in the engine's private folder (see ``cycleinr.worker.protocol``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import vtk
from vtk.util import numpy_support

from .errors import EngineProcessError

CHUNK_BYTES = 4_000_000
"""Copied between two turns of the event loop; takes a few milliseconds."""


def saveArray(array: np.ndarray, path: Path) -> Iterator[float]:
    """Write an array as an ``.npy`` file; yields the fraction that is written."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        for start, stop in chunks(array):
            file.write(np.ascontiguousarray(array[start:stop]).data)
            yield stop / len(array)


def loadInto(image: vtk.vtkImageData, path: Path, shape_kji: tuple[int, ...]) -> Iterator[float]:
    """Fill an image with an array of the engine; yields the fraction that is done.

    Raises:
        EngineProcessError: The array has another shape.
        MemoryError: There is no room for it.
    """
    # The map goes with this generator: Windows removes no file that is mapped
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape != tuple(shape_kji):
        raise EngineProcessError(
            f"The engine's result has the shape {array.shape} instead of {tuple(shape_kji)}. Try again; if it "
            "happens again, report it with the log."
        )
    yield from copyInto(image, array)


def copyInto(image: vtk.vtkImageData, array: np.ndarray) -> Iterator[float]:
    """Fill an image with a copy of an array (K, J, I), a few slices at a time; yields the fraction that is done.

    NumPy allocates, since it raises ``MemoryError`` where VTK ends in a C++ exception that no Python code sees.
    """
    voxels = np.empty(array.shape, array.dtype)
    for start, stop in chunks(array):
        voxels[start:stop] = array[start:stop]
        yield stop / len(array)
    # It refers to the voxels for as long as it lives
    scalars = numpy_support.numpy_to_vtk(voxels.reshape(-1), deep=False)
    scalars.SetName("ImageScalars")
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(scalars)


def chunks(array: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of slices that hold about ``CHUNK_BYTES`` each."""
    step = max(1, CHUNK_BYTES // max(1, array[0].nbytes))
    for start in range(0, len(array), step):
        yield start, min(start + step, len(array))
