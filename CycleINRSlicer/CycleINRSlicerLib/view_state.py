"""One slice view as the user left it, to go back to: place, zoom, volumes and link, without keeping any node alive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk

LAYERS = ("Background", "Foreground", "Label")


class WeakNode:
    """A node of the scene, or none. It may go away at any time; a new node that inherits its ID is not taken for it."""

    def __init__(self, node=None):
        self._reference = vtk.vtkWeakReference()
        self._reference.Set(node)
        self.wasNone = node is None

    @property
    def node(self):
        """The node; None where it was deleted, removed from the scene, or never there."""
        node = self._reference.Get()
        return node if node is not None and node.GetScene() is slicer.mrmlScene else None


@dataclass(frozen=True, eq=False)
class ViewState:
    """One slice view.

    Attributes:
        sliceToRas: 4x4 matrix of the slice plane, mm.
        fieldOfView_mm: Size of what is seen: width, height, depth.
        origin_mm: Shift of the picture within the slice plane.
        viewGroup: Linked views act on views of their own group.
        isLinked: Whether changes go to the other views of the group.
        isHotLinked: Whether they go there while the mouse is still down.
        layers: The volume of each of ``LAYERS``.
    """

    sliceToRas: np.ndarray
    fieldOfView_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    viewGroup: int
    isLinked: bool
    isHotLinked: bool
    layers: dict[str, WeakNode]

    @classmethod
    def of(cls, sliceNode) -> ViewState:
        composite = compositeOf(sliceNode)
        return cls(
            sliceToRas=slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS()),
            fieldOfView_mm=tuple(sliceNode.GetFieldOfView()),
            origin_mm=tuple(sliceNode.GetXYZOrigin()),
            viewGroup=sliceNode.GetViewGroup(),
            isLinked=bool(composite.GetLinkedControl()),
            isHotLinked=bool(composite.GetHotLinkedControl()),
            layers={layer: WeakNode(layerOf(sliceNode, layer)) for layer in LAYERS},
        )

    def restorePlace(self, sliceNode) -> None:
        """Plane and field of view. In a view of another size Slicer keeps the height and corrects the width."""
        with slicer.util.NodeModify(sliceNode):
            sliceNode.SetFieldOfView(*self.fieldOfView_mm)
            sliceNode.SetXYZOrigin(*self.origin_mm)
            slicer.util.updateVTKMatrixFromArray(sliceNode.GetSliceToRAS(), self.sliceToRas)
            sliceNode.UpdateMatrices()

    def restoreRotation(self, sliceNode) -> None:
        """The plane's orientation, through the point where the plane is now."""
        with slicer.util.NodeModify(sliceNode):
            matrix = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())
            matrix[:3, :3] = self.sliceToRas[:3, :3]
            slicer.util.updateVTKMatrixFromArray(sliceNode.GetSliceToRAS(), matrix)
            sliceNode.UpdateMatrices()

    def restoreLink(self, sliceNode, reviewGroup: int) -> None:
        """Group and link, each only where it still is as the review set it (linked, in ``reviewGroup``)."""
        composite = compositeOf(sliceNode)
        if sliceNode.GetViewGroup() == reviewGroup:
            sliceNode.SetViewGroup(self.viewGroup)
        if composite.GetLinkedControl():
            composite.SetLinkedControl(self.isLinked)
        if composite.GetHotLinkedControl():
            composite.SetHotLinkedControl(self.isHotLinked)

    def restoreLayer(self, sliceNode, layer: str) -> None:
        """The volume of one layer; nothing where that volume has been deleted meanwhile."""
        former = self.layers[layer]
        if former.wasNone:
            setLayer(sliceNode, layer, None)
        elif former.node is not None:
            setLayer(sliceNode, layer, former.node)


def compositeOf(sliceNode):
    """The node that says which volumes a slice view shows."""
    return slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(sliceNode)


def layerOf(sliceNode, layer: str):
    """The volume in one of ``LAYERS``, None for none."""
    nodeID = getattr(compositeOf(sliceNode), f"Get{layer}VolumeID")()
    return slicer.mrmlScene.GetNodeByID(nodeID) if nodeID else None


def setLayer(sliceNode, layer: str, volumeNode) -> None:
    """Put a volume, or None for no volume, into one of ``LAYERS``."""
    getattr(compositeOf(sliceNode), f"Set{layer}VolumeID")(volumeNode.GetID() if volumeNode else None)
