"""Slice views: the scan that they show, and each one as the user left it.

Slicer's "active volume" is something else than the scan on screen: the one that was loaded last. A slice view's own
selector and the eye in the module Data change the views' composite nodes alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import slicer
import vtk
from cycleinr import CycleinrError

from .result_node import INPUT_REFERENCE
from .volume_node import checkNode

LAYERS = ("Background", "Foreground", "Label")

SINGLE = None
SLABS = (SINGLE, vtk.VTK_IMAGE_SLAB_MEAN, vtk.VTK_IMAGE_SLAB_MAX)
"""Slicer's kinds of slab reconstruction; None for single slices."""


class ViewState:
    """A slice view as it is now, to be brought back later but for what the user has changed meanwhile.

    ``settle`` says that the view has become what is not the user's doing.
    """

    def __init__(self, view):
        self._view = view
        self._fieldOfView_mm, self._origin_mm = tuple(view.GetFieldOfView()), tuple(view.GetXYZOrigin())
        self._before, self._sliceToRas = self._now()
        self.settle()

    def settle(self) -> None:
        """From now on, what differs is what the user has changed."""
        self._ours, sliceToRas = self._now()
        self._ourRotation = sliceToRas[:3, :3]

    def restore(self, withPlace: bool) -> None:
        """Volumes, opacity and links; also the plane and what is seen of it, or else the plane's rotation alone.

        A volume that was deleted meanwhile does not come back. In a view of another size Slicer keeps the height of
        what is seen and corrects the width.
        """
        if compositeOf(self._view) is None:  # the view is gone
            return
        now, sliceToRas = self._now()
        for (node, name), before, ours, value in zip(self._properties(), self._before, self._ours, now, strict=True):
            isGone = name.endswith("ID") and before and slicer.mrmlScene.GetNodeByID(before) is None
            if value in (ours, None) and not isGone:
                getattr(node, f"Set{name}")(before)
        with slicer.util.NodeModify(self._view):
            if withPlace:
                sliceToRas = self._sliceToRas
                self._view.SetFieldOfView(*self._fieldOfView_mm)
                self._view.SetXYZOrigin(*self._origin_mm)
            elif np.array_equal(sliceToRas[:3, :3], self._ourRotation):
                sliceToRas[:3, :3] = self._sliceToRas[:3, :3]
            slicer.util.updateVTKMatrixFromArray(self._view.GetSliceToRAS(), sliceToRas)
            self._view.UpdateMatrices()

    def _properties(self) -> list[tuple]:
        names = (*(f"{layer}VolumeID" for layer in LAYERS), "ForegroundOpacity", "LinkedControl", "HotLinkedControl")
        return [*((compositeOf(self._view), name) for name in names), (self._view, "ViewGroup")]

    def _now(self) -> tuple[list, np.ndarray]:
        values = [getattr(node, f"Get{name}")() for node, name in self._properties()]
        return values, slicer.util.arrayFromVTKMatrix(self._view.GetSliceToRAS())


class Detour:
    """Another layout for a while, and back to the former one, unless the user has chosen another one meanwhile."""

    def __init__(self, layout: int):
        self._layout, self._former = layout, None

    @property
    def isThere(self) -> bool:
        manager = slicer.app.layoutManager()
        return self._former is not None and manager is not None and manager.layout == self._layout

    def go(self) -> None:
        """Change the layout; nothing where it is there already."""
        if not self.isThere:
            manager = slicer.app.layoutManager()
            self._former = manager.layout
            manager.setLayout(self._layout)

    def back(self) -> None:
        isThere, former, self._former = self.isThere, self._former, None
        if isThere:
            slicer.app.layoutManager().setLayout(former)


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


def shownVolumeNode():
    """The scan in the background of the first slice view that shows one; None where there is none.

    Views that are not in the layout count only where no slice view is in it (a 3D view alone, no main window), and
    the active volume only where there are no slice views at all.
    """
    views = viewsInLayout() or sliceNodes()
    if not views:
        nodeID = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
        return _scanOrNone(slicer.mrmlScene.GetNodeByID(nodeID) if nodeID else None)
    scans = (_scanOrNone(layerOf(view, "Background")) for view in views)
    return next((scan for scan in scans if scan is not None), None)


def scanBehind(node):
    """The scan that a result, difference or error map was made from, while it is there; any other node itself."""
    scan = node.GetNodeReference(INPUT_REFERENCE) if node is not None else None
    return scan or node


def sliceNodes() -> list:
    """The slice views whose composite node is there; it is not at all times while a scene closes."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if compositeOf(node) is not None]


def _scanOrNone(node):
    try:
        checkNode(node)
    except CycleinrError:
        return None
    return node


def fade(scanNode, resultNode, share: float, viewNames: tuple[str, ...] = ()) -> None:
    """Blend scan and result in the slice views that show one of them and nothing else in front.

    Args:
        scanNode, resultNode: Shown alone where ``share`` is 0 or 1.
        share: Of the result.
        viewNames: Only these views; empty for all in the layout.
    """
    for view in _viewsOf(scanNode, resultNode, viewNames):
        composite = compositeOf(view)
        with slicer.util.NodeModify(composite):
            composite.SetForegroundOpacity(share)
            setLayer(view, "Background", resultNode if share == 1 else scanNode)
            setLayer(view, "Foreground", resultNode if 0 < share < 1 else None)


def fadeShown(scanNode, resultNode, viewNames: tuple[str, ...]) -> float:
    """The share of the result in the first view that ``fade`` acts on; 1 where there is none."""
    for view in _viewsOf(scanNode, resultNode, viewNames):
        if layerOf(view, "Background") is resultNode:
            return 1.0
        isBlended = layerOf(view, "Foreground") is resultNode
        return compositeOf(view).GetForegroundOpacity() if isBlended else 0.0
    return 1.0


def _viewsOf(scanNode, resultNode, viewNames: tuple[str, ...]) -> Iterator:
    for view in viewsInLayout():
        behind, inFront = layerOf(view, "Background"), layerOf(view, "Foreground")
        isOurs = behind in (scanNode, resultNode) and inFront in (None, resultNode)
        if isOurs and (not viewNames or view.GetName() in viewNames):
            yield view


def viewsInLayout() -> list:
    """The slice views that are on screen."""
    return [view for view in sliceNodes() if view.IsMappedInLayout()]


def setSlab(kind: int | None, thickness_mm: float) -> None:
    """Show slabs of one of ``SLABS`` in all slice views of the layout."""
    for view in viewsInLayout():
        with slicer.util.NodeModify(view):
            if kind is not SINGLE:
                view.SetSlabReconstructionType(kind)
                view.SetSlabReconstructionThickness(thickness_mm)
            view.SetSlabReconstructionEnabled(kind is not SINGLE)


def slabShown() -> int | None:
    """Which of ``SLABS`` the first slice view shows; single slices for a kind that is none of them."""
    view = next(iter(viewsInLayout()), None)
    if view is None or not view.GetSlabReconstructionEnabled():
        return SINGLE
    kind = view.GetSlabReconstructionType()
    return kind if kind in SLABS else SINGLE
