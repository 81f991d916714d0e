"""From a volume node to the engine: voxels, also as a file, geometry, modality and slice thickness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import slicer
import vtk
from cycleinr.errors import CycleinrError
from cycleinr.volume import Volume
from slicer.i18n import tr as _

SLICE_THICKNESS_TAG = "0018,0050"
MODALITY_TAG = "0008,0060"
HOUNSFIELD_UNIT = "[hnsf'U]"
"""UCUM code of the Hounsfield unit, as Slicer's DICOM import sets it for CT."""

CHUNK_BYTES = 4_000_000
"""Copied between two turns of the event loop; takes a few milliseconds."""


class NodeError(CycleinrError):
    """A node is missing, is no scalar volume, or cannot be used as it is (its transform, its scene)."""


def volumeFromNode(node) -> Volume:
    """The scan that a scalar volume node shows, without copying its voxels.

    The geometry is the node's own: a linear parent transform is left to the result, which gets the same one.

    Args:
        node: A ``vtkMRMLScalarVolumeNode``. The returned array is the displayed one and must not be written to.

    Raises:
        NodeError: No node, a label map, a colour image, a node without voxels, or one that a transform bends.
        CycleinrError: The geometry or the values rule super-resolution out.
    """
    checkNode(node)
    _checkTransform(node)
    array = slicer.util.arrayFromVolume(node)
    ijkToRas = slicer.util.arrayFromVTKMatrix(_ijkToRas(node))
    return Volume(array, ijkToRas, modalityOf(node), sliceThicknessOf(node), node.GetName() or "")


def checkNode(node) -> None:
    """Raise a ``NodeError`` unless the node is a scalar volume with voxels."""
    if node is None:
        raise NodeError(_("No input volume is chosen and none is shown. Load a scan, or choose one as input."))
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLTensorVolumeNode"):
        raise NodeError(_("{name} is no scalar volume. Choose a CT or MR scan.").format(name=node.GetName()))
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise NodeError(_("{name} is a label map. Choose the scan that it was drawn on.").format(name=node.GetName()))
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise NodeError(_("{name} holds no voxels. Load the scan again.").format(name=node.GetName()))
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise NodeError(
            _("{name} has {components} values a voxel, so it is a colour image. Choose a CT or MR scan.").format(
                name=node.GetName(), components=components
            )
        )


def _checkTransform(node) -> None:
    """Raise a ``NodeError`` for a node under a transform that is not linear: its slices are not where they seem."""
    transform = node.GetParentTransformNode()
    if transform is None or transform.IsTransformToWorldLinear():
        return
    raise NodeError(
        _(
            "{name} lies under the transform {transform}, which moves its slices unevenly, so they are not where the "
            "volume says; Slicer's DICOM module attaches such a transform to tilted and uneven series. Apply it to the "
            "voxels first: in the module Data, right-click in the transform column of {name}, Harden transform."
        ).format(name=node.GetName(), transform=transform.GetName())
    )


def modalityOf(node) -> str | None:
    """``"CT"`` or ``"MR"`` where Slicer knows it (subject hierarchy, DICOM, Hounsfield units), else None."""
    units = node.GetVoxelValueUnits()
    if units is not None and units.GetCodeValue() == HOUNSFIELD_UNIT:
        return "CT"
    for modality in (_hierarchyAttribute(node, "DICOM.Modality"), _dicomValue(node, MODALITY_TAG)):
        if modality in ("CT", "MR"):
            return modality
    return None


def sliceThicknessOf(node) -> float | None:
    """Slice thickness in mm from the DICOM files that the node came from (0018,0050), None where it is unknown."""
    text = _dicomValue(node, SLICE_THICKNESS_TAG)
    try:
        thickness_mm = float(text)
    except (TypeError, ValueError):
        return None
    return thickness_mm if np.isfinite(thickness_mm) and thickness_mm > 0 else None


def _ijkToRas(node) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


def _hierarchyAttribute(node, name: str) -> str:
    """An attribute of the node's subject-hierarchy item, or of the items above it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    while item and item != hierarchy.GetSceneItemID():
        value = hierarchy.GetItemAttribute(item, name)
        if value:
            return value
        item = hierarchy.GetItemParent(item)
    return ""


def _dicomValue(node, tag: str) -> str:
    """A tag of the first file of the series in Slicer's DICOM database; empty where the node has no such files."""
    database = getattr(slicer, "dicomDatabase", None)
    instanceUIDs = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not instanceUIDs:
        return ""
    path = database.fileForInstance(instanceUIDs[0])
    return database.fileValue(path, tag).strip() if path else ""


def saveArray(array: np.ndarray, path: Path) -> Iterator[float]:
    """Write an array as an ``.npy`` file; yields the fraction that is written."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        for start, stop in chunks(array):
            file.write(np.ascontiguousarray(array[start:stop]).data)
            yield stop / len(array)


def chunks(array: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of slices that hold about ``CHUNK_BYTES`` each."""
    step = max(1, CHUNK_BYTES // max(1, array[0].nbytes))
    for start in range(0, len(array), step):
        yield start, min(start + step, len(array))
