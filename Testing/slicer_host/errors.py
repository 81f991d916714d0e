"""Exceptions that no caller sees: those raised in Qt slots and VTK observers.

Qt and VTK print them and go on, in Slicer as here; a test must not pass over them. Both end in ``sys.excepthook``.
"""

import sys


class ErrorRecorder:
    """Collects unhandled exceptions while installed, and still prints them."""

    def __init__(self):
        self._errors = []
        self._previous_hook = None

    def install(self):
        self._previous_hook = sys.excepthook
        sys.excepthook = self._record

    def uninstall(self):
        sys.excepthook = self._previous_hook

    def _record(self, kind, error, traceback):
        self._errors.append(error)
        self._previous_hook(kind, error, traceback)

    def take(self):
        """The exceptions since the last call, oldest first."""
        errors, self._errors = self._errors, []
        return errors
