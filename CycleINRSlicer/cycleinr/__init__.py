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
    from collections.abc import Callable, Mapping
    from inspect import Signature
    from typing import ParamSpec, TypeVar

    from .api import Upsampler, check, load_model, plan, read, upsample, write
    from .checks.run import Check
    from .result import Forecast, Progress, Provenance, Result
    from .volume import Volume

    _P = ParamSpec("_P")
    _R = TypeVar("_R")

__all__ = [
    "upsample",
    "Upsampler",
    "plan",
    "check",
    "read",
    "write",
    "load_model",
    "Volume",
    "Result",
    "Provenance",
    "Forecast",
    "Check",
    "Progress",
    "CycleinrError",
    "InputError",
    "GeometryError",
    "ModalityError",
    "RequestError",
    "NothingToDoError",
    "OutputError",
    "ModelError",
    "DeviceError",
    "OutOfMemoryError",
    "NonFiniteError",
    "Cancelled",
    "RequestWarning",
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


def checked_call(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Refuse calls that a function's signature does not allow with a ``RequestError`` that names the right keyword."""
    from functools import wraps
    from inspect import signature

    own = signature(function)

    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            own.bind(*args, **kwargs)
        except TypeError as error:
            name = function.__qualname__.removesuffix(".__init__")
            raise _misuse(name, own, kwargs, error) from None
        return function(*args, **kwargs)

    return checked


def _misuse(name: str, own: Signature, given: Mapping[str, object], error: TypeError) -> RequestError:
    from difflib import get_close_matches

    kinds = {each.name: each.kind for each in own.parameters.values() if each.name not in ("self", "cls")}
    by_name = [key for key, kind in kinds.items() if kind is kind.KEYWORD_ONLY]
    places = [key for key in kinds if key not in by_name]
    takes = f"{name} takes {', '.join(places)}"
    if by_name:
        takes += f"{' and, ' if places else ''}by name{', ' if places else ' '}{', '.join(by_name)}"
    unknown = next((key for key in given if key not in kinds), None)
    if unknown is None:
        return RequestError(f"{name} cannot be called like this: {error}. {takes}.")
    close = get_close_matches(unknown, kinds, 1)
    hint = f"Do you mean {close[0]}? " if close else ""
    return RequestError(f"{name} has no keyword {unknown}. {hint}{takes}.")


def number(name: str, value: object) -> float | None:
    """A keyword's number as a float, or None; what is neither is refused with a ``RequestError``."""
    from contextlib import suppress
    from numbers import Real

    if value is None:
        return None
    if isinstance(value, Real) and not isinstance(value, bool):
        with suppress(OverflowError):
            return float(value)
    raise RequestError(f"The {name} is {value!r:.80}, which is no number. Give one, or leave {name}= away.")


def flag(name: str, value: object) -> bool:
    """A keyword that is on or off; a text, which would always be on, is refused with a ``RequestError``."""
    import numpy as np

    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise RequestError(f"{name}={value!r:.80} is neither True nor False. Give one of them, or leave {name}= away.")


def path_text(name: str, value: object, wanted: str = "Give one of these.") -> str:
    """An argument's path or text as text; what is neither is refused with a ``RequestError`` that says what to give."""
    from os import PathLike, fspath

    if isinstance(value, (str, PathLike)):
        return fspath(value)
    raise RequestError(f"The {name} is {value!r:.80}, which is neither a text nor a path. {wanted}")


def callback(name: str, value: Callable[..., _R] | None) -> Callable[..., _R] | None:
    """A keyword's function, or None; what cannot be called is refused with a ``RequestError``."""
    if value is None or callable(value):
        return value
    raise RequestError(f"{name}={value!r:.80} is no function. Give one for use during the run, or leave it away.")


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
