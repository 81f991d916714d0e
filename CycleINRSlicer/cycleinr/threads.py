"""Threads that wait politely: a computation on all cores must not collapse because something else runs beside it.

PyTorch's threads (libgomp) wait for each other thousands of times a second, and by default they wait in a busy loop.
When another program has one of the cores, the loop takes the time that the late thread needs: on two cores with one
busy program beside it a scan took 23.7 s, 10.8 s with a short loop, and 6.6 s against 7.0 s on idle cores.
"""

from __future__ import annotations

import os

_SPIN_COUNT = "1000"


def wait_politely() -> None:
    """Make libgomp's threads sleep soon while they wait; to be called before torch is imported.

    Settings of the user's own (``GOMP_SPINCOUNT``, ``OMP_WAIT_POLICY``) win. Other OpenMP libraries ignore it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
