"""CycleINR: through-plane super-resolution of CT and MR volumes at any ratio.

>>> import cycleinr as ci
>>> scan = ci.read("ct_head_5mm.nii.gz")
>>> fine = ci.upsample(scan[:20, 200:216, 170:186], spacing=1.0)
>>> fine.volume
Volume(16 x 16 x 96, ...)
>>> fine.save("fine.nii.gz")

Volumes are arrays in (K, J, I) order with a 4x4 matrix from (i, j, k) to RAS millimetres. Results are derived, not
acquired: not for primary diagnosis. Every error that is raised on purpose is a ``CycleinrError``, whose text names
value, cause and remedy, for the person who reads it; its kind has the exit code that the command line ends with.

The package is free of Slicer and Qt. Importing it imports nothing else: torch, SimpleITK and NumPy load when something
that needs them is used, so that the command line answers ``--help`` at once and Slicer starts no slower.
"""

from __future__ import annotations

__version__ = "0.1.0"

# As typing's, whose import takes longer than all else here
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .api import Upsampler, check, load_model, plan, read, upsample, write
    from .checks.run import Check
    from .result import Forecast, Progress, Provenance, Result
    from .volume import Volume

__all__ = [
    "Cancelled",
    "Check",
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


class CycleinrError(Exception):
    """Base of all errors that CycleINR raises on purpose; the text is written for the person who reads it."""

    exit_code = 1


class InputError(CycleinrError):
    """The input cannot be read, or is no CT or MR volume that super-resolution makes sense for."""

    exit_code = 3


class GeometryError(InputError):
    """The volume's axes, spacings or slice positions rule the request out."""


class ModalityError(InputError):
    """The values leave open whether the scan is CT or MR, or look like neither; choosing the model answers it."""


class RequestError(CycleinrError):
    """What was asked for (spacing, ratio, thickness, memory limit) contradicts the input or itself."""

    exit_code = 4


class NothingToDoError(RequestError):
    """The volume is as fine as what was asked for already."""


class OutputError(CycleinrError):
    """The result cannot be written where it was asked for."""

    exit_code = 5


class ModelError(CycleinrError):
    """The weights or their model card are missing, damaged or of another format."""

    exit_code = 6


class DeviceError(CycleinrError):
    """The compute device that was asked for does not exist or fails a real operation."""

    exit_code = 7


class OutOfMemoryError(CycleinrError):
    """The work does not fit into the memory that is allowed or there."""

    exit_code = 8


class NonFiniteError(CycleinrError):
    """The network gave NaN or infinity, from broken weights or a device that computes wrongly; nothing was written."""

    exit_code = 12


class Cancelled(CycleinrError):
    """The user cancelled; nothing was written."""

    exit_code = 130


class WorkerError(CycleinrError):
    """A process that computes for a batch could not be started, or ended before it was ready."""

    exit_code = 1


class ProtocolError(CycleinrError):
    """A message between an application and the engine's process does not follow their protocol."""

    exit_code = 2


class ClusterError(CycleinrError):
    """A Dask cluster cannot be reached, was lost, or cannot do the work."""

    exit_code = 11


class PackageError(CycleinrError):
    """A Python package that the engine needs is missing, or cannot be loaded."""


class RequestWarning(UserWarning):
    """The request can be done, but its result deserves a second look; the text says why."""


KINDS = {
    name: kind
    for name, kind in globals().items()
    if isinstance(kind, type) and issubclass(kind, CycleinrError) and kind is not CycleinrError
}
"""What each error is called in messages between processes."""


def kind_of(error: Exception) -> str:
    """What an error, or the nearest of its base classes that has a name there, is called in messages."""
    names = (base.__name__ for base in type(error).__mro__ if base in KINDS.values())
    return next(names, "UnexpectedError")


def error_of(kind: str, message: str) -> CycleinrError:
    """The error that a message tells of; a plain ``CycleinrError`` for a kind that is not known here."""
    return KINDS.get(kind, CycleinrError)(message)


_HOMES = {
    **dict.fromkeys(("upsample", "Upsampler", "plan", "check", "read", "write", "load_model"), "api"),
    **dict.fromkeys(("Forecast", "Progress", "Provenance", "Result"), "result"),
    "Check": "checks.run",
    "Volume": "volume",
}
"""Which module a public name comes from, when it is first asked for; errors are here."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
