"""Keeps window and level of original and result equal while both are reviewed."""

from __future__ import annotations

import vtk
from slicer.util import VTKObservationMixin


class DisplayLink(VTKObservationMixin):
    """Between ``link`` and ``unlink``, a window/level that the reader sets on one volume goes to the other too."""

    def __init__(self):
        super().__init__()
        self._displays = ()

    def link(self, *volumeNodes) -> None:
        """Link the display nodes of these volumes, in place of those that were linked before."""
        self.unlink()
        self._displays = tuple(node.GetDisplayNode() for node in volumeNodes if node.GetDisplayNode() is not None)
        for display in self._displays:
            self.addObserver(display, vtk.vtkCommand.ModifiedEvent, self._onModified)

    def unlink(self) -> None:
        self.removeObservers()
        self._displays = ()

    def _onModified(self, changed, _event) -> None:
        window, level = changed.GetWindow(), changed.GetLevel()
        for display in self._displays:
            if display is not changed and (display.GetWindow(), display.GetLevel()) != (window, level):
                display.SetAutoWindowLevel(False)
                display.SetWindowLevel(window, level)
