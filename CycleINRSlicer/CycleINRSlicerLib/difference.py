"""What the network added, as a volume of its own: see ``cycleinr.checks.added_detail``."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import slicer
import vtk
from cycleinr.checks.added_detail import added_detail
from cycleinr.request import Region
from slicer.i18n import tr as _

from .result_node import ATTRIBUTE_PREFIX, INPUT_REFERENCE, copyInto, placeBeside, provenanceOf
from .volume_node import NodeError, volumeFromNode

DIVERGING_COLOURS_ID = "vtkMRMLColorTableNodeFileDivergingBlueRed.txt"
DERIVED = "Difference of two volumes: derived by CycleINR, not acquired, not for primary diagnosis."
SHOWN_PERCENTILE = 99.5
SAMPLES_FOR_WINDOW = 1_000_000


def differenceSteps(inputNode, resultNode) -> Generator[float, None, Any]:
    """Add a volume with result minus cubic B-spline of the input, on the result's grid, and return its node.

    Yields the fraction that is done. Nothing is added to the scene before the last step, so an abandoned generator
    leaves nothing behind. The node has the result's geometry, parent transform and place in the subject hierarchy.

    Raises:
        NodeError: A node is no scalar volume with voxels.
        InputError: The result is not the input with other slices.
    """
    scan, result = volumeFromNode(inputNode), volumeFromNode(resultNode)
    region, image = provenanceOf(resultNode).get("region"), vtk.vtkImageData()
    difference, steps = added_detail(scan, result, region and Region.of(region))
    for fraction in steps:
        yield 0.9 * fraction
    for fraction in copyInto(image, difference):
        yield 0.9 + 0.1 * fraction
    return _addNode(image, difference, inputNode, resultNode)


def _addNode(image: vtk.vtkImageData, difference: np.ndarray, inputNode, resultNode):
    for node in (inputNode, resultNode):
        if node.GetScene() is not slicer.mrmlScene:
            raise NodeError(_("{name} was removed meanwhile, so there is no difference.").format(name=node.GetName()))
    name = f"{resultNode.GetName()} minus B-spline"
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    with slicer.util.NodeModify(node):
        _setDisplay(node, difference)  # before the voxels, else Slicer computes a window for them first
        node.CopyOrientation(resultNode)
        node.SetAndObserveImageData(image)
        node.SetAndObserveTransformNodeID(resultNode.GetTransformNodeID())
        node.SetVoxelValueUnits(inputNode.GetVoxelValueUnits())
        node.SetNodeReferenceID(INPUT_REFERENCE, inputNode.GetID())
        node.SetAttribute(ATTRIBUTE_PREFIX + "derived", DERIVED)
        node.SetAttribute(ATTRIBUTE_PREFIX + "input", inputNode.GetName())
        node.SetAttribute(ATTRIBUTE_PREFIX + "result", resultNode.GetName())
        node.SetDescription(f"{DERIVED} {resultNode.GetName()} minus cubic B-spline of {inputNode.GetName()}.")
        placeBeside(resultNode, node)
    return node


def _setDisplay(node, difference: np.ndarray) -> None:
    """Blue where the result is darker, red where it is brighter, equally wide to both sides of 0."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    stride = max(1, difference.size // SAMPLES_FOR_WINDOW)
    # A stride that shares no factor with the rows visits all columns alike
    sample = np.abs(difference.reshape(-1)[:: stride + (stride % 2 == 0)].astype(np.float32))
    # NaN is padding
    sample = sample[np.isfinite(sample)]
    largest = (float(np.percentile(sample, SHOWN_PERCENTILE)) or float(sample.max()) or 1.0) if sample.size else 1.0
    display.SetWindowLevel(2 * largest, 0.0)
    if slicer.mrmlScene.GetNodeByID(DIVERGING_COLOURS_ID):
        display.SetAndObserveColorNodeID(DIVERGING_COLOURS_ID)
