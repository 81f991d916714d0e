"""A headless Slicer host for tests: slicer-core's real scene and logics, PySide6 behind PythonQt's names.

``start()`` makes the modules ``qt`` and ``ctk``, ``slicer.app``, ``slicer.mrmlScene`` and Slicer's Python base classes
importable; ``Host.load_module(path)`` then builds a scripted module and its panel from the file that Slicer runs::

    host = slicer_host.start()
    loaded = host.load_module("CycleINRSlicer/CycleINRSlicer.py")
    loaded.widget.ui.applyButton.click()
    slicer_host.process_events(until=lambda: loaded.widget.ui.applyButton.enabled, timeout_s=10)

Importing this package needs neither slicer-core nor PySide6; ``missing_packages()`` says what ``start()`` would lack.
"""

from .availability import missing_packages

__all__ = ["missing_packages", "process_events", "start"]


def start(main_window=True, testing=True):
    """Start the host, once per process; see :class:`slicer_host.host.Host`."""
    from .host import Host

    return Host(main_window=main_window, testing=testing)


def process_events(until, timeout_s=10.0):
    """Run the Qt event loop until ``until()`` is true; see :func:`slicer_host.waiting.process_events`."""
    from .waiting import process_events as wait

    wait(until, timeout_s)
