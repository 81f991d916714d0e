"""Calling back later, or when nodes and the scene change, without keeping anything alive."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
import vtk


class OneShot:
    """Calls ``call`` once, ``delay_ms`` after the last ``start``, on the main thread.

    Slicer's own ``QTimer.singleShot`` never deletes its timer, whose connection holds the callable, and with it all
    that the callable refers to, until Slicer ends. Here nothing holds it any more once it was called or stopped.
    """

    def __init__(self, delay_ms: int, call: Callable[[], None]):
        self._delay_ms, self._call = delay_ms, call
        self._timer = None

    def start(self) -> None:
        """Call in ``delay_ms`` from now, and no earlier if it was started before."""
        self.stop()
        # With a parent, so that it is deleted before PythonQt is
        self._timer = timer = qt.QTimer(slicer.app.moduleManager())
        timer.setSingleShot(True)
        timer.connect("timeout()", self._fire)
        timer.start(self._delay_ms)

    def stop(self) -> None:
        """Do not call; nothing where it was called already, or never started."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.deleteLater()  # not at once: this may be its own signal

    def _fire(self) -> None:
        self.stop()
        self._call()


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
        if wanted == [reference.Get() for reference, _tags in self._observed]:
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


class WeakNode:
    """A node of the scene, or none. It may go away at any time; a new node that inherits its ID is not taken for it."""

    def __init__(self, node=None):
        self._reference = vtk.vtkWeakReference()
        self._reference.Set(node)

    @property
    def node(self):
        """The node; None where it was deleted, removed from the scene, or never there."""
        node = self._reference.Get()
        return node if node is not None and node.GetScene() is slicer.mrmlScene else None


class Remembered:
    """What was last found out of images' voxels. It goes with the voxels, whose memory it may keep.

    Args:
        most: Of how many images; the oldest is forgotten.
    """

    def __init__(self, most: int):
        self._most, self._known = most, {}

    def of(self, image, facts: tuple, find: Callable[[], object]):
        """``find()``, or what it gave for this image while neither its voxels nor these facts have changed."""
        key, facts = image.__this__, (image.GetMTime(), *facts)
        if key not in self._known:
            image.AddObserver(vtk.vtkCommand.DeleteEvent, lambda *_event: self._known.pop(key, None))
        elif self._known[key][0] == facts:
            return self._known[key][1]
        self._known.pop(key, None)
        if len(self._known) == self._most:
            del self._known[next(iter(self._known))]
        self._known[key] = facts, find()
        return self._known[key][1]
