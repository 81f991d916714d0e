"""Observers of nodes that come and go."""

from __future__ import annotations

from collections.abc import Callable

import vtk


class NodeObservers:
    """Follows some nodes at a time and keeps none of them alive.

    ``VTKObservationMixin.removeObserver`` goes on holding each object that was ever observed, voxels included.
    """

    def __init__(self, onEvent: Callable[[], None], *events: str | int):
        self._onEvent, self._events = onEvent, events or (vtk.vtkCommand.ModifiedEvent,)
        self._observed: list[tuple[vtk.vtkWeakReference, list[int]]] = []

    def follow(self, *nodes) -> None:
        """Follow these nodes in place of those before; None among them is left out."""
        wanted = [node for node in nodes if node is not None]
        followed = [reference.Get() for reference, _tags in self._observed]
        if len(wanted) == len(followed) and all(a is b for a, b in zip(wanted, followed, strict=True)):
            return
        self.stop()
        for node in wanted:
            reference = vtk.vtkWeakReference()
            reference.Set(node)
            self._observed.append((reference, [node.AddObserver(event, self._call) for event in self._events]))

    def stop(self) -> None:
        """Follow none any more."""
        observed, self._observed = self._observed, []
        for reference, tags in observed:
            node = reference.Get()
            for tag in tags if node is not None else ():
                node.RemoveObserver(tag)

    def _call(self, _node, _event) -> None:
        self._onEvent()
