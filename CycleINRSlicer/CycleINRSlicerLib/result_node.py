"""The result as a new node beside the input: voxels, geometry, display, units, transform, study, how it was made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import slicer
import vtk
from cycleinr.errors import InputError
from cycleinr.result import Provenance, Result
from cycleinr.worker.folder import chunks
from slicer.i18n import tr as _
from vtk.util import numpy_support

from .engine import EngineProcessError
from .volume_node import NodeError, resultTransformID, volumeFromNode

ATTRIBUTE_PREFIX = "CycleINR."
INPUT_NAME = ATTRIBUTE_PREFIX + "input"
INPUT_REFERENCE = ATTRIBUTE_PREFIX + "input"
"""Role of the node reference from a result, and from what was made of it, to the scan."""


def showResult(image: vtk.vtkImageData, ijkToRas: np.ndarray, inputNode, outputNode, provenance: dict[str, str]):
    """Put a finished image into the scene, into ``outputNode`` or a new node, and return the node."""
    name = resultName(inputNode, provenance)
    node = outputNode or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    with slicer.util.NodeModify(node):
        copyDisplay(inputNode, node)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijkToRas))
        node.SetAndObserveImageData(image)
        node.SetAndObserveTransformNodeID(resultTransformID(inputNode))
        node.SetVoxelValueUnits(inputNode.GetVoxelValueUnits())
        node.SetVoxelValueQuantity(inputNode.GetVoxelValueQuantity())
        node.SetNodeReferenceID(INPUT_REFERENCE, inputNode.GetID())
        _describe(node, inputNode, provenance)
    placeBeside(inputNode, node)
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


def copyDisplay(inputNode, node) -> None:
    """The input's window/level and colours; never computed anew, so that both can be compared."""
    source = inputNode.GetDisplayNode()
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if source is None:
        return
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(source.GetWindow(), source.GetLevel())
    display.SetAndObserveColorNodeID(source.GetColorNodeID())
    display.SetInterpolate(source.GetInterpolate())
    display.SetApplyThreshold(source.GetApplyThreshold())
    display.SetAutoThreshold(False)
    display.SetThreshold(source.GetLowerThreshold(), source.GetUpperThreshold())


def _describe(node, inputNode, provenance: dict[str, str]) -> None:
    for key, value in provenance.items():
        node.SetAttribute(ATTRIBUTE_PREFIX + key, str(value))
    node.SetAttribute(INPUT_NAME, inputNode.GetName())
    node.SetDescription(
        f"{provenance['derived']} {provenance['software']} {provenance['version']}, model {provenance['model']}, "
        f"{float(provenance['spacing_mm']):.4g} mm slices; {provenance['slice_profile']}"
        + (f" Nothing was acquired at {provenance['gaps']}." if "gaps" in provenance else "")
    )


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


def placeBeside(inputNode, node) -> None:
    """Put a node into the input's study of the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    inputItem, item = hierarchy.GetItemByDataNode(inputNode), hierarchy.GetItemByDataNode(node)
    if inputItem and item:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(inputItem))


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
