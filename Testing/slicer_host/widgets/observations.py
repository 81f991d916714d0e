"""VTK observers of a widget, which end with the widget."""

import gc
import weakref

import shiboken6
import vtk
from PySide6.QtCore import QObject


class Observations:
    """Observers whose callbacks are methods of ``widget``.

    Qt may delete a widget while the scene lives on; its observers must not outlive it, nor keep it alive. As Slicer's
    widgets they keep no node alive either.
    """

    def __init__(self, widget):
        self._widget = weakref.ref(widget)
        self._entries = []
        widget.destroyed.connect(self.clear)

    def add(self, subject, event, method_name):
        """Call ``widget.<method_name>(subject)`` at each ``event``."""

        def callback(caller, _event):
            # Collected in the midst of it, the panel around the widget would take its parts away
            collecting = gc.isenabled()
            gc.disable()
            try:
                widget = self._widget()
                # `destroyed` does not always come: PySide drops connections at times when it collects garbage
                if widget is None or not _is_whole(widget):
                    self.clear()
                else:
                    getattr(widget, method_name)(caller)
            finally:
                if collecting:
                    gc.enable()

        reference = vtk.vtkWeakReference()
        reference.Set(subject)
        self._entries.append((reference, subject.AddObserver(event, callback)))

    def clear(self, *_):
        """Remove all observers."""
        for reference, tag in self._entries:
            subject = reference.Get()
            if subject is not None:
                subject.RemoveObserver(tag)
        self._entries = []


def _is_whole(widget):
    """Whether neither the widget nor what it is made of has been deleted; its parts go first."""
    parts = (part for part in vars(widget).values() if isinstance(part, QObject))
    return all(map(shiboken6.isValid, (widget, *parts)))
