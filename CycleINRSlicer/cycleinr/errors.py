"""Errors that a reader of the message can act on: each names the value, the cause and the remedy.

Every kind carries the exit code that the command line ends with, so that scripts can tell them apart.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


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


@contextmanager
def warnings_told_elsewhere() -> Iterator[None]:
    """No `RequestWarning` inside: whoever uses this shows the same sentences in a way of his own, or did so before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RequestWarning)
        yield


KINDS: dict[str, type[CycleinrError]] = {
    each.__name__: each
    for each in (
        *(InputError, GeometryError, ModalityError, RequestError, NothingToDoError, OutputError, ModelError),
        *(DeviceError, OutOfMemoryError, NonFiniteError, Cancelled),
        *(WorkerError, ProtocolError, ClusterError, PackageError),
    )
}
"""What each error is called in messages between processes."""


def kind_of(error: Exception) -> str:
    """What an error, or the nearest of its base classes that has a name there, is called in messages."""
    names = (base.__name__ for base in type(error).__mro__ if base in KINDS.values())
    return next(names, "UnexpectedError")


def error_of(kind: str, message: str) -> CycleinrError:
    """The error that a message tells of; a plain ``CycleinrError`` for a kind that is not known here."""
    return KINDS.get(kind, CycleinrError)(message)
