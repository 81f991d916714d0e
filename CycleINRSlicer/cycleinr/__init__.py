"""CycleINR: through-plane super-resolution of CT and MR volumes at any ratio.

>>> import cycleinr as ci
>>> scan = ci.read("ct_head_5mm.nii.gz")
>>> fine = ci.upsample(scan[:20, 200:216, 170:186], spacing=1.0)
>>> fine.volume
Volume(16 x 16 x 96, ...)
>>> fine.save("fine.nii.gz")

Volumes are arrays in (K, J, I) order with a 4x4 matrix from (i, j, k) to RAS millimetres. Results are derived, not
acquired: not for primary diagnosis. Every error that is raised on purpose is a ``CycleinrError``, whose text names
value, cause and remedy.

The package is free of Slicer and Qt. Importing it imports nothing else: torch, SimpleITK and NumPy load when something
that needs them is used, so that the command line answers ``--help`` at once and Slicer starts no slower.
"""

from __future__ import annotations

__version__ = "0.1.0"

# As typing's, whose import takes longer than all else here
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .api import Upsampler, check, load_model, plan, read, upsample, write
    from .errors import (
        Cancelled,
        CycleinrError,
        DeviceError,
        GeometryError,
        InputError,
        ModalityError,
        ModelError,
        NonFiniteError,
        NothingToDoError,
        OutOfMemoryError,
        OutputError,
        RequestError,
        RequestWarning,
    )
    from .result import Forecast, Progress, Provenance, Result
    from .volume import Volume

__all__ = [
    "Cancelled",
    "CycleinrError",
    "DeviceError",
    "Forecast",
    "GeometryError",
    "InputError",
    "ModalityError",
    "ModelError",
    "NonFiniteError",
    "NothingToDoError",
    "OutOfMemoryError",
    "OutputError",
    "Progress",
    "Provenance",
    "RequestError",
    "RequestWarning",
    "Result",
    "Upsampler",
    "Volume",
    "check",
    "load_model",
    "plan",
    "read",
    "upsample",
    "write",
]


_HOMES = {
    **dict.fromkeys(("upsample", "Upsampler", "plan", "check", "read", "write", "load_model"), "api"),
    **dict.fromkeys(("Forecast", "Progress", "Provenance", "Result"), "result"),
    "Volume": "volume",
}
"""Which module a public name comes from, when it is first asked for; all others from errors."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
