"""The bundled scan: in the module Sample Data, and in the module's self-test."""

from __future__ import annotations

import numpy as np
import slicer
from cycleinr.grid import MIN_SLICES

SAMPLE_FILE = "ct_head_5mm.nii.gz"
SAMPLE_CHECKSUM = "SHA256:8e520256a45329b06fd35aede5b4309d82cabfe8c0692838e3d26d84050f36fa"
"""Without it Sample Data would go on with the copy that an older version left in its cache."""

SAMPLE_NAME, SAMPLE_NODE_NAME = "CycleINR head CT 5 mm", "Head CT 5 mm"
RATIO = 2


def sampleCrop():
    """The middle of the bundled scan as a node of its own, small enough for a test."""
    import SampleData

    from .volume_node import volumeFromNode  # not when Slicer starts

    scan = SampleData.downloadSample(SAMPLE_NAME)
    volume = volumeFromNode(scan)
    k, j, i = (size // 2 for size in volume.shape_kji)
    part = volume[k - MIN_SLICES : k + MIN_SLICES, j - 48 : j + 48, i - 48 : i + 48]
    return slicer.util.addVolumeFromArray(np.ascontiguousarray(part.array), part.ijk_to_ras, SAMPLE_NODE_NAME)


def checkFinerVolume(test, logic) -> None:
    """Twice as many slices, acquired ones kept in place and value, input untouched, derived said."""
    from .volume_node import ijkToRasOf

    scan = sampleCrop()
    before = slicer.util.arrayFromVolume(scan).copy()
    result = logic.process(scan, ratio=RATIO, thickness=0, model="ct")
    fine = slicer.util.arrayFromVolume(result)
    test.assertEqual(fine.shape, ((len(before) - 1) * RATIO + 1, *before.shape[1:]))
    test.assertTrue(np.array_equal(slicer.util.arrayFromVolume(scan), before))
    kept = np.abs(fine[::RATIO].astype(np.float64) - before) <= 1
    test.assertGreater(kept.mean(), 0.999)
    expected = ijkToRasOf(scan)
    expected[:3, 2] /= RATIO
    test.assertTrue(np.allclose(ijkToRasOf(result), expected))
    test.assertIn("not acquired", result.GetDescription())
