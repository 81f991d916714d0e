"""Calling back once, later or in the next turn of the event loop, without anything staying behind."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer


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
