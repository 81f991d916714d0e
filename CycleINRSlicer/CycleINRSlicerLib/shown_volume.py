"""The scan on screen: what the slice views show, and when they come to show another one.

Slicer's "active volume" is something else: the one that was loaded last. A slice view's own selector and the eye in the
module Data change the views' composite nodes alone.
"""

from __future__ import annotations

from collections.abc import Callable

import slicer
from cycleinr.errors import CycleinrError

from .node_observers import NodeObservers
from .result_node import INPUT_REFERENCE
from .view_state import compositeOf, layerOf
from .volume_node import checkNode


def shownVolumeNode():
    """The scan in the background of the first slice view that shows one; None where there is none.

    Views that are not in the layout count only where no slice view is in it (a 3D view alone, no main window), and
    the active volume only where there are no slice views at all.
    """
    views = _sliceNodes()
    if not views:
        nodeID = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
        return _scanOrNone(slicer.mrmlScene.GetNodeByID(nodeID) if nodeID else None)
    inLayout = [view for view in views if view.IsMappedInLayout()]
    scans = (_scanOrNone(layerOf(view, "Background")) for view in inLayout or views)
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
        self._views.follow(*map(compositeOf, _sliceNodes()), slicer.app.applicationLogic().GetSelectionNode())
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


def _sliceNodes() -> list:
    """The slice views whose composite node is there; it is not at all times while a scene closes."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if compositeOf(node) is not None]


def _scanOrNone(node):
    try:
        checkNode(node)
    except CycleinrError:
        return None
    return node
