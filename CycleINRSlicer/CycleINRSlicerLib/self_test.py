"""What the module's self-test checks, on real voxels with the real engine."""

from __future__ import annotations

import os

import numpy as np
import slicer
from cycleinr.grid import MIN_SLICES

from .texts import SAMPLE_NAME

RATIO = 2


def sampleCrop():
    """The middle of the bundled scan as a node of its own, small enough for a test."""
    import SampleData

    scan = SampleData.downloadSample(SAMPLE_NAME)
    array = slicer.util.arrayFromVolume(scan)
    k, j, i = (size // 2 for size in array.shape)
    start = np.array((i - 48, j - 48, k - MIN_SLICES))
    part = np.ascontiguousarray(array[start[2] :, start[1] :, start[0] :][: 2 * MIN_SLICES, :96, :96])
    ijkToRas = slicer.util.arrayFromVTKMatrix(_matrixOf(scan))
    ijkToRas[:3, 3] += ijkToRas[:3, :3] @ start
    return slicer.util.addVolumeFromArray(part, ijkToRas, os.path.splitext(SAMPLE_NAME)[0])


def checkFinerVolume(test, logic) -> None:
    """Twice as many slices, acquired ones kept in place and value, input untouched, derived said."""
    scan = sampleCrop()
    before = slicer.util.arrayFromVolume(scan).copy()
    result = logic.process(scan, ratio=RATIO, thickness=0)
    fine = slicer.util.arrayFromVolume(result)
    test.assertEqual(fine.shape, ((len(before) - 1) * RATIO + 1, *before.shape[1:]))
    test.assertTrue(np.array_equal(slicer.util.arrayFromVolume(scan), before))
    kept = np.abs(fine[::RATIO].astype(np.float64) - before) <= 1
    test.assertGreater(kept.mean(), 0.999)
    matrix, expected = (slicer.util.arrayFromVTKMatrix(_matrixOf(node)) for node in (result, scan))
    expected[:3, 2] /= RATIO
    test.assertTrue(np.allclose(matrix, expected))
    test.assertIn("not acquired", result.GetDescription())


def _matrixOf(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix
