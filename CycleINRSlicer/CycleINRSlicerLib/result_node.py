"""Volumes that are made of a scan, as nodes beside it: the result, and its difference to B-spline interpolation."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import slicer
import vtk
from cycleinr import InputError
from cycleinr.checks.added_detail import added_detail
from cycleinr.inspection import sampled
from cycleinr.result import Provenance, Result
from cycleinr.worker.folder import chunks
from slicer.i18n import tr as _
from vtk.util import numpy_support

from .volume_node import ATTRIBUTE_PREFIX, NodeError, ijkToRasOf, resultTransformID, volumeFromNode

INPUT_NAME = ATTRIBUTE_PREFIX + "input"
INPUT_REFERENCE = ATTRIBUTE_PREFIX + "input"
"""Role of the node reference from a result, and from what was made of it, to the scan."""

DIFFERENCE_DERIVED = "Difference of two volumes: derived by CycleINR, not acquired, not for primary diagnosis."
DIVERGING_COLOURS_ID = "vtkMRMLColorTableNodeFileDivergingBlueRed.txt"
SHOWN_PERCENTILE = 99.5


def showResult(image: vtk.vtkImageData, ijkToRas: np.ndarray, inputNode, outputNode, provenance: dict[str, str]):
    """Put a finished image into the scene, into ``outputNode`` or a new node, and return the node."""
    name = resultName(inputNode, provenance)
    node = outputNode or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    description = (
        f"{provenance['derived']} {provenance['software']} {provenance['version']}, model {provenance['model']}, "
        f"{float(provenance['spacing_mm']):.4g} mm slices; {provenance['slice_profile']}"
        + (f" Nothing was acquired at {provenance['gaps']}." if "gaps" in provenance else "")
    )
    with slicer.util.NodeModify(node):
        copyDisplay(inputNode, node)
        fillVolume(node, image, ijkToRas, inputNode, inputNode, provenance, description)
        node.SetAndObserveTransformNodeID(resultTransformID(inputNode))
    return node


def resultName(inputNode, provenance: dict[str, str]) -> str:
    """As a person would call it: ``Head CT 1 mm (CycleINR)`` from ``Head CT 5 mm`` as from ``Head CT``.

    A number follows where the scene has that name already.
    """
    spacing_mm = float(provenance["spacing_mm"])
    acquired = f"{spacing_mm * float(provenance['ratio']):.3g}"
    scan = re.sub(
        rf"[ ,_-]*(?<![\d.]){re.escape(acquired)}(\.0+)? ?mm(?![A-Za-z])", "", inputNode.GetName(), flags=re.IGNORECASE
    )
    part = _("region ") if "region" in provenance else ""
    name = f"{scan} {spacing_mm:.3g} mm {part}(CycleINR)".strip()
    return slicer.mrmlScene.GenerateUniqueName(name) if slicer.mrmlScene.GetFirstNodeByName(name) else name


def fillVolume(node, image, ijkToRas: np.ndarray, scanNode, besideNode, facts: dict, description: str) -> None:
    """Give a volume node, whose display is set, what all that is made of a scan has.

    Args:
        node, image, ijkToRas: The node, its voxels, and where they are.
        scanNode: What it was made of: gives the units, and is referred to.
        besideNode: Scan or result, whose transform and whose study of the subject hierarchy it shares.
        facts: How it was made, without ``ATTRIBUTE_PREFIX``.
        description: The same for people.
    """
    with slicer.util.NodeModify(node):
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijkToRas))
        node.SetAndObserveImageData(image)
        node.SetAndObserveTransformNodeID(besideNode.GetTransformNodeID())
        node.SetVoxelValueUnits(scanNode.GetVoxelValueUnits())
        node.SetVoxelValueQuantity(scanNode.GetVoxelValueQuantity())
        node.SetNodeReferenceID(INPUT_REFERENCE, scanNode.GetID())
        node.SetAttribute(INPUT_NAME, scanNode.GetName())
        for key, value in facts.items():
            node.SetAttribute(ATTRIBUTE_PREFIX + key, str(value))
        node.SetDescription(description)
    placeBeside(besideNode, node)


def placeBeside(besideNode, node) -> None:
    """Put a node into another one's study of the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    besideItem, item = hierarchy.GetItemByDataNode(besideNode), hierarchy.GetItemByDataNode(node)
    if besideItem and item:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(besideItem))


def copyDisplay(inputNode, node) -> None:
    """The input's window/level and colours; never computed anew, so that both can be compared."""
    source = inputNode.GetDisplayNode()
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    if source is not None:
        display = node.GetDisplayNode()
        display.CopyContent(source)
        display.SetAutoWindowLevel(False)
        display.SetAutoThreshold(False)


def provenanceOf(node) -> dict[str, str]:
    """How a result was made, as it was written into its node; empty for other volumes."""
    # The input's name is no part of it and may hold a patient's
    names = [name for name in node.GetAttributeNames() if name.startswith(ATTRIBUTE_PREFIX) and name != INPUT_NAME]
    return {name[len(ATTRIBUTE_PREFIX) :]: node.GetAttribute(name) for name in names}


def resultOf(node) -> Result:
    """A result as the engine knows it, voxels included; nothing is copied.

    Raises:
        NodeError: The node does not say how it was made.
    """
    volume = volumeFromNode(node)
    try:
        return Result(volume, Provenance.from_dict(provenanceOf(node)))
    except InputError as error:
        raise NodeError(
            _("{name} does not say how it was made, so it cannot be checked. Choose a result of CycleINR.").format(
                name=volume.name
            )
        ) from error


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


def differenceSteps(inputNode, resultNode) -> Generator[float, None, Any]:
    """Add a volume with result minus cubic B-spline of the input (``cycleinr.checks.added_detail``); gives its node.

    Yields the fraction that is done. Nothing is added to the scene before the last step.

    Raises:
        NodeError: A node is no scalar volume with voxels.
        InputError: The result is not the input with other slices.
    """
    scan, result = volumeFromNode(inputNode), volumeFromNode(resultNode)
    image, (difference, steps) = vtk.vtkImageData(), added_detail(scan, result)
    for fraction in steps:
        yield 0.9 * fraction
    for fraction in copyInto(image, difference):
        yield 0.9 + 0.1 * fraction
    for each in (inputNode, resultNode):
        if each.GetScene() is not slicer.mrmlScene:
            raise NodeError(_("{name} was removed meanwhile, so there is no difference.").format(name=each.GetName()))
    name = f"{resultNode.GetName()} minus B-spline"
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    facts = {"derived": DIFFERENCE_DERIVED, "result": resultNode.GetName()}
    text = f"{DIFFERENCE_DERIVED} {resultNode.GetName()} minus cubic B-spline of {inputNode.GetName()}."
    with slicer.util.NodeModify(node):
        _showDifference(node, difference)  # before the voxels, else Slicer computes a window for them first
        fillVolume(node, image, ijkToRasOf(resultNode), inputNode, resultNode, facts, text)
    return node


def _showDifference(node, difference: np.ndarray) -> None:
    """Blue where the result is darker, red where it is brighter, equally wide to both sides of 0."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    sample = np.abs(sampled(difference, None))
    sample = sample[np.isfinite(sample)]  # NaN is padding
    largest = (float(np.percentile(sample, SHOWN_PERCENTILE)) or float(sample.max()) or 1.0) if sample.size else 1.0
    display.SetWindowLevel(2 * largest, 0.0)
    if slicer.mrmlScene.GetNodeByID(DIVERGING_COLOURS_ID):
        display.SetAndObserveColorNodeID(DIVERGING_COLOURS_ID)
