"""Slice views: the scan that they show, and each one as the user left it.

Slicer's "active volume" is something else than the scan on screen: the one that was loaded last. A slice view's own
selector and the eye in the module Data change the views' composite nodes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import slicer
import vtk
from cycleinr.errors import CycleinrError

from .callbacks import NodeObservers, WeakNode
from .result_node import INPUT_REFERENCE
from .volume_node import checkNode

LAYERS = ("Background", "Foreground", "Label")

SINGLE = None
SLABS = (SINGLE, vtk.VTK_IMAGE_SLAB_MEAN, vtk.VTK_IMAGE_SLAB_MAX)
"""Slicer's kinds of slab reconstruction; None for single slices."""


class ViewState:
    """One slice view as it is now: its plane, what is seen of it, its links, and the volume of each of ``LAYERS``."""

    def __init__(self, sliceNode):
        composite = compositeOf(sliceNode)
        self._sliceToRas = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())
        self._fieldOfView_mm, self._origin_mm = tuple(sliceNode.GetFieldOfView()), tuple(sliceNode.GetXYZOrigin())
        self._viewGroup = sliceNode.GetViewGroup()
        self._isLinked, self._isHotLinked = composite.GetLinkedControl(), composite.GetHotLinkedControl()
        self._layers = {layer: WeakNode(layerOf(sliceNode, layer)) for layer in LAYERS}

    def restorePlace(self, sliceNode) -> None:
        """Plane and field of view. In a view of another size Slicer keeps the height and corrects the width."""
        with slicer.util.NodeModify(sliceNode):
            sliceNode.SetFieldOfView(*self._fieldOfView_mm)
            sliceNode.SetXYZOrigin(*self._origin_mm)
            slicer.util.updateVTKMatrixFromArray(sliceNode.GetSliceToRAS(), self._sliceToRas)
            sliceNode.UpdateMatrices()

    def restoreRotation(self, sliceNode) -> None:
        """The plane's orientation, through the point where the plane is now."""
        with slicer.util.NodeModify(sliceNode):
            matrix = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())
            matrix[:3, :3] = self._sliceToRas[:3, :3]
            slicer.util.updateVTKMatrixFromArray(sliceNode.GetSliceToRAS(), matrix)
            sliceNode.UpdateMatrices()

    def restoreLink(self, sliceNode, reviewGroup: int) -> None:
        """Group and link, each only where it still is as the review set it (linked, in ``reviewGroup``)."""
        composite = compositeOf(sliceNode)
        if sliceNode.GetViewGroup() == reviewGroup:
            sliceNode.SetViewGroup(self._viewGroup)
        if composite.GetLinkedControl():
            composite.SetLinkedControl(self._isLinked)
        if composite.GetHotLinkedControl():
            composite.SetHotLinkedControl(self._isHotLinked)

    def restoreLayer(self, sliceNode, layer: str) -> None:
        """The volume of one layer; nothing where that volume has been deleted meanwhile."""
        former = self._layers[layer]
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


class ShownVolume:
    """Calls ``onChanged()`` when another scan may have come on screen, from the first ``follow`` to ``stop``."""

    def __init__(self, onChanged: Callable[[], None]):
        self._onChanged, self._lastID = onChanged, ""
        self._views = NodeObservers(self._onViewChanged)
        # Which views are in the layout is known only after the layout node has told of its change
        self._layout = NodeObservers(onChanged)

    def follow(self) -> None:
        """Follow the views that there are now; to be called again after each change of the layout."""
        self._views.follow(*map(compositeOf, sliceNodes()), slicer.app.applicationLogic().GetSelectionNode())
        self._layout.follow(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode"))
        self._lastID = _shownID()

    def stop(self) -> None:
        self._views.stop()
        self._layout.stop()

    def _onViewChanged(self) -> None:
        """A composite node also changes with each move of a fading slider, which is nothing to the panel."""
        shownID = _shownID()
        if shownID != self._lastID:
            self._lastID = shownID
            self._onChanged()


def _shownID() -> str:
    node = shownVolumeNode()
    return node.GetID() if node is not None else ""


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
