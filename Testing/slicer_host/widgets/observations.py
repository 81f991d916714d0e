"""VTK observers of a widget, which end with the widget."""

import weakref

import vtk


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
            widget = self._widget()
            if widget is not None:
                getattr(widget, method_name)(caller)

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
