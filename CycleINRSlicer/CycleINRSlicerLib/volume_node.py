"""From a volume node to the engine: voxels, also as a file, geometry, modality and slice thickness."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk
from cycleinr import CycleinrError
from cycleinr.grid import COLUMN_OF_AXIS
from cycleinr.straighten import rectangular
from cycleinr.volume import Volume
from slicer.i18n import tr as _

from .callbacks import Remembered

if TYPE_CHECKING:
    from cycleinr.files.dicom_slices import Stack

SLICE_THICKNESS_TAG = "0018,0050"
MODALITY_TAG = "0008,0060"
MANUFACTURER_TAG = "0008,0070"
ATTRIBUTE_PREFIX = "CycleINR."
"""Of the attributes that say how a node was made."""

INSTANCES = "DICOM.instanceUIDs"
SAME_PLACE_MM = 0.1
"""How far a transform and headers that mean the same may differ; headers are rounded."""

HOUNSFIELD_UNIT = "[hnsf'U]"
"""UCUM code of the Hounsfield unit, as Slicer's DICOM import sets it for CT."""


class NodeError(CycleinrError):
    """A node is missing, is no scalar volume, or cannot be used as it is (its transform, its scene)."""


def volumeFromNode(node) -> Volume:
    """The scan that a scalar volume node shows, without copying its voxels.

    The geometry is the node's own: a linear parent transform is left to the result, which gets the same one. The
    transform that Slicer's DICOM module attaches to a tilted or uneven series says the same as the series' headers;
    then the slices are taken where these put them, and those of a tilted one are copied.

    Args:
        node: A ``vtkMRMLScalarVolumeNode``. The returned array is the displayed one and must not be written to.

    Raises:
        NodeError: No node, a label map, a colour image, a node without voxels, or one that another transform bends.
        CycleinrError: The geometry or the values rule super-resolution out.
    """
    checkNode(node)
    transform = node.GetParentTransformNode()
    if not isLinear(transform):
        bent = transform.GetTransformToParent().GetMTime(), transform.GetTransformNodeID()
        facts = (node.GetAttribute(INSTANCES), node.GetName(), ijkToRasOf(node).tobytes(), *bent)
        return _acquired.of(node.GetImageData(), facts, lambda: _volumeFromHeaders(node))
    return rectangular(
        slicer.util.arrayFromVolume(node),
        ijkToRasOf(node),
        modality=modalityOf(node),
        slice_thickness_mm=sliceThicknessOf(node),
        name=node.GetName() or "",
        made_by_cycleinr=isMadeByCycleINR(node),
    )


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


def resultTransformID(node) -> str | None:
    """The transform that a result of a volume belongs under: the volume's own, if that is not used up in the result."""
    transform = node.GetParentTransformNode()
    return node.GetTransformNodeID() if isLinear(transform) else transform.GetTransformNodeID()


def voxelPlaces(node) -> tuple[Volume, Callable, Callable]:
    """The scan that a node shows, and how places become its voxels and back, the node's transforms included.

    Returns:
        The scan (see ``volumeFromNode``); a function from the world, RAS mm, to its (i, j, k); and one back.

    Raises:
        CycleinrError: The scan cannot be used.
    """
    volume, toWorld = volumeFromNode(node), vtk.vtkGeneralTransform()
    above = slicer.mrmlScene.GetNodeByID(resultTransformID(node) or "")
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(above, None, toWorld)
    toWorld.PreMultiply()
    toWorld.Concatenate(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
    uneven = volume.acquisition
    column = COLUMN_OF_AXIS[uneven.axis] if uneven else 0

    def toVoxels(place_ras: Sequence[float]) -> np.ndarray:
        ijk = np.array(toWorld.GetInverse().TransformPoint(place_ras))
        if uneven:
            ijk[column] = uneven.indices_of(ijk[column] * volume.spacing_ijk_mm[column])
        return ijk

    def toPlace(voxel_ijk: Sequence[float]) -> np.ndarray:
        ijk = np.array(voxel_ijk, dtype=np.float64)
        if uneven:
            ijk[column] = uneven.mm_of(ijk[column]) / volume.spacing_ijk_mm[column]
        return np.array(toWorld.TransformPoint(ijk))

    return volume, toVoxels, toPlace


def isLinear(transform) -> bool:
    """Whether a parent transform, or None, keeps planes flat."""
    return transform is None or bool(transform.IsTransformToWorldLinear())


_acquired = Remembered(1)
"""The last scan that was put together from its files' headers, which takes up to a second."""


_files = Remembered(1000)
"""What scans' files say of their making: the panel asks often, and a file may lie on a slow network."""


def _volumeFromHeaders(node) -> Volume:
    """The scan of a node under a transform that is not linear, its slices where their DICOM headers put them.

    Raises:
        NodeError: The files are not at hand, or the transform is another one than these headers ask for.
    """
    # Reading DICOM takes a tenth of a second to import, which no panel should wait for
    from cycleinr.files.dicom_series import slices_of_files
    from cycleinr.files.dicom_slices import stack

    transform = node.GetParentTransformNode()
    array = slicer.util.arrayFromVolume(node)
    try:
        files = list(sourceFiles(node))
        found = stack(slices_of_files([Path(file) for file in files]))
    except CycleinrError as error:
        raise _bent(node, str(error)) from error
    if found.slices[0].frame is not None:
        # In which order a node has the frames of one file, its headers do not say
        raise _bent(node, _("Its source is an enhanced (multi-frame) DICOM image."))
    order = [files.index(str(each.path)) for each in found.slices]
    if array.shape != (len(order), *found.slices[0].rows_columns):
        raise _bent(node, _("The volume has another size than its DICOM files, as after cropping."))
    if not isLinear(transform.GetParentTransformNode()) or not _saysTheSame(node, order, found):
        raise _bent(node, _("The transform puts them elsewhere than the headers of its DICOM files do."))
    if order != list(range(len(order))):
        array = array[order]
    own = found.volume(array, node.GetName() or "")
    return replace(own, modality=modalityOf(node) or own.modality)


def _saysTheSame(node, order: list[int], found: Stack) -> bool:
    """Whether the node's transform puts the corners of its slices where their headers do."""
    ijkToRas = ijkToRasOf(node)
    moved = node.GetParentTransformNode().GetTransformToParent()
    rows, columns = found.slices[0].rows_columns
    for k, header in zip(order, found.slices, strict=True):
        for corner in ((0, 0), (columns - 1, rows - 1)):
            place = moved.TransformPoint((ijkToRas @ (*corner, k, 1.0))[:3])
            if np.abs(place - header.place_ras_mm(*corner)).max() > SAME_PLACE_MM:
                return False
    return True


def _bent(node, why: str) -> NodeError:
    return NodeError(
        _(
            "{name} lies under the transform {transform}, which moves its slices unevenly, so they are not where the "
            "volume says. {why} Apply the transform to the voxels first: in the module Data, right-click in the "
            "transform column of {name}, Harden transform."
        ).format(name=node.GetName(), transform=node.GetParentTransformNode().GetName(), why=why)
    )


def sourceFiles(node) -> Iterator[str]:
    """Paths of the DICOM files that a volume was loaded from, in the order of its slices.

    Raises:
        NodeError: It does not come from the DICOM database, or the next file is missing there.
    """
    uids = (node.GetAttribute(INSTANCES) or "").split()
    if not uids or getattr(slicer, "dicomDatabase", None) is None:
        raise NodeError(
            _("{name} was not loaded from Slicer's DICOM database. Load the scan with the DICOM module.").format(
                name=node.GetName()
            )
        )
    for uid in uids:
        path = slicer.dicomDatabase.fileForInstance(uid)
        if not path or not Path(path).is_file():
            raise NodeError(
                _("A DICOM file of {name} is no longer in Slicer's DICOM database. Import the series again.").format(
                    name=node.GetName()
                )
            )
        yield str(path)


def modalityOf(node) -> str | None:
    """``"CT"`` or ``"MR"`` where Slicer knows it (Hounsfield units, subject hierarchy, DICOM), else None."""
    units = node.GetVoxelValueUnits()
    if units is not None and units.GetCodeValue() == HOUNSFIELD_UNIT:
        return "CT"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item, name = hierarchy.GetItemByDataNode(node), "DICOM.Modality"
    kept = item and (hierarchy.GetItemAttribute(item, name) or hierarchy.GetAttributeFromItemAncestor(item, name))
    return next((each for each in (kept, _dicomValue(node, MODALITY_TAG)) if each in ("CT", "MR")), None)


def sliceThicknessOf(node) -> float | None:
    """Slice thickness in mm from the DICOM files that the node came from (0018,0050), None where it is unknown."""
    text = _dicomValue(node, SLICE_THICKNESS_TAG)
    try:
        thickness_mm = float(text)
    except (TypeError, ValueError):
        return None
    return thickness_mm if np.isfinite(thickness_mm) and thickness_mm > 0 else None


def isMadeByCycleINR(node) -> bool:
    """Whether a volume is a result or was made of one, as its node, its DICOM files or its image file say."""
    from cycleinr.files import says_made_by_cycleinr
    from cycleinr.files.dicom_header import MANUFACTURER

    if node.GetAttribute(f"{ATTRIBUTE_PREFIX}derived") or _dicomValue(node, MANUFACTURER_TAG) == MANUFACTURER:
        return True
    storage = node.GetStorageNode()
    name = (storage.GetFileName() or "") if storage else ""
    # Unlike Path.is_file, isfile takes any error of the system for no
    return _files.of(node.GetImageData(), (name,), lambda: os.path.isfile(name) and says_made_by_cycleinr(Path(name)))


def ijkToRasOf(node) -> np.ndarray:
    """A volume node's own 4x4 matrix, mm; its parent transforms are no part of it."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _dicomValue(node, tag: str) -> str:
    """A tag of the first file of the series in Slicer's DICOM database; empty where the node has no such files."""
    database = getattr(slicer, "dicomDatabase", None)
    instanceUIDs = (node.GetAttribute(INSTANCES) or "").split()
    if database is None or not instanceUIDs:
        return ""
    path = database.fileForInstance(instanceUIDs[0])
    return database.fileValue(path, tag).strip() if path else ""
