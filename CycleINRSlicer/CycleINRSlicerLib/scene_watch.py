"""What may happen in the scene to a task that is under way: the scene closes, or a node that it needs is removed."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk


class SceneWatch:
    """Tells, once, why a task can no longer go on.

    Args:
        nodes: IDs of nodes that the task needs, and what each is called to people.
        onClose: Called when the scene is about to close.
        onRemoved: Called with what a removed node is called.
    """

    def __init__(self, nodes: dict[str, str], onClose: Callable[[], None], onRemoved: Callable[[str], None]):
        self._nodes, self._onClose, self._onRemoved = nodes, onClose, onRemoved
        self._scene = scene = slicer.mrmlScene
        self._tags = [
            scene.AddObserver(scene.StartCloseEvent, self._closing),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._removing),
        ]

    def stop(self) -> None:
        """Watch no longer, and let go of whoever is told."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags, self._onClose, self._onRemoved = [], None, None

    def _closing(self, *_event) -> None:
        if self._onClose is not None:
            self._onClose()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _removing(self, _scene, _event, node) -> None:
        name = self._nodes.get(node.GetID())
        if name is not None and self._onRemoved is not None:
            self._onRemoved(name)
