"""Waiting for something to happen in the event loop, without sleeping."""

from PySide6 import QtCore


def process_events(until, timeout_s=10.0):
    """Run the Qt event loop until ``until()`` is true.

    Args:
        until: Called after each batch of events; any true value ends the wait.
        timeout_s: Longest wait in seconds.

    Raises:
        TimeoutError: If ``until()`` stays false.
    """
    wake_up = QtCore.QTimer()  # WaitForMoreEvents blocks: something has to look at the clock
    wake_up.start(20)
    clock = QtCore.QElapsedTimer()
    clock.start()
    while not until():
        if clock.elapsed() > 1000 * timeout_s:
            raise TimeoutError(f"nothing happened within {timeout_s} s: {until}")
        QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.WaitForMoreEvents)
        # An application's own loop does so; processEvents leaves what was to be deleted before it was called
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    wake_up.stop()
