"""Which of the host's own packages are not installed.

PySide6 is pinned: 6.12.0 drops a reference to None in every call that returns nothing, which ends Python 3.11.
"""

import importlib.util

NEEDED = {"slicer_core": "slicer-core==5.12.4.0", "vtk": "vtk==9.6.0", "PySide6": "PySide6-Essentials==6.10.3"}


def missing_packages():
    """Requirements of the host that cannot be imported here; an empty list means that it can start."""
    return [requirement for module, requirement in NEEDED.items() if importlib.util.find_spec(module) is None]
