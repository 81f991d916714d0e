"""What the front door takes: scans in every form, and keywords, whose misuse is told before anything begins."""

from __future__ import annotations

import difflib
import inspect
import numbers
import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, Union

import numpy as np

from .errors import GeometryError, InputError, RequestError
from .geometry import as_affine, is_sheared
from .volume import Volume

if TYPE_CHECKING:
    import nibabel
    import numpy.typing as npt
    import SimpleITK

Scan: TypeAlias = Union[  # noqa: UP007  "|" would evaluate names that are imported for type checkers only
    "str", "os.PathLike[str]", Volume, "SimpleITK.Image", "nibabel.spatialimages.SpatialImage", "npt.NDArray[Any]"
]
"""A path that `read` takes, a `Volume`, an image of SimpleITK or nibabel, or an array with its affine and axes."""

_P = ParamSpec("_P")
_R = TypeVar("_R")

_SLENDER, _LESS_SLENDER = 16.0, 4.0
"""A scan that is so many times longer than thin is none of a body; transposed arrays of thick slices are far beyond."""


def read_scan(
    path: str | os.PathLike[str], series: int | str | None = None, frame: int | None = None, header_only: bool = False
) -> Volume:
    """What `read` and `plan` read; arguments and errors as ``read`` explains them."""
    from .files import read_volume

    if frame is not None and (isinstance(frame, bool) or not isinstance(frame, numbers.Integral)):
        raise RequestError(f"The frame is {frame!r}. Give a whole number from 1.")
    return read_volume(path_text("path", path), "" if series is None else str(series), frame, header_only)


def volume_of(
    scan: Scan,
    affine: npt.ArrayLike | None = None,
    axes: str | None = None,
    series: int | str | None = None,
    frame: int | None = None,
) -> Volume:
    """The scan as a volume; arguments and errors as ``upsample`` explains them."""
    if (series is not None or frame is not None) and not isinstance(scan, (str, os.PathLike)):
        raise RequestError(f"series= and frame= are for paths, and this is {_text_of(scan)}. Leave them away.")
    if isinstance(scan, np.ndarray):
        return _volume_of_array(scan, affine, axes)
    if affine is not None or axes is not None:
        raise RequestError(
            f"affine= and axes= are for arrays, and {_text_of(scan)} knows its own place. Leave them away."
        )
    if isinstance(scan, Volume):
        return scan
    if isinstance(scan, (str, os.PathLike)):
        return read_scan(scan, series, frame)
    # What has not been imported, nobody can have an object of
    if (itk := sys.modules.get("SimpleITK")) and isinstance(scan, itk.Image):
        return Volume.from_simpleitk(scan)
    if (nibabel := sys.modules.get("nibabel")) and isinstance(scan, nibabel.spatialimages.SpatialImage):
        return Volume.from_nibabel(scan)
    raise InputError(
        f"The scan is {_text_of(scan)}, which cannot be read. Give a path, a cycleinr.Volume, an image of SimpleITK or "
        "nibabel, or a NumPy array with affine= and axes=."
    )


def _volume_of_array(array: np.ndarray, affine: npt.ArrayLike | None, axes: str | None) -> Volume:
    if affine is None or axes is None:
        missing = " and ".join(name for name, value in (("affine=", affine), ("axes=", axes)) if value is None)
        raise InputError(
            f"The scan is an array of shape {array.shape} without {missing}, so its place would be a guess. "
            "Give affine= (4 x 4, from (i, j, k) to RAS mm) and axes='kji' (SimpleITK's arrays) or 'ijk' (nibabel's)."
        )
    if axes not in ("kji", "ijk"):
        raise RequestError(f"The axes are {axes!r}. Give 'kji' for shape (K, J, I), or 'ijk' for shape (I, J, K).")
    if array.ndim != 3:
        from .files.bridges import check_size

        check_size("The array", array.shape)
        raise InputError(f"The array has {array.ndim} dimensions with shape {array.shape}. Take one volume out of it.")
    matrix = as_affine(affine)
    array_kji = array if axes == "kji" else array.T
    if is_sheared(matrix):
        from .straighten import rectangular

        volume = rectangular(array_kji, matrix)
    else:
        volume = Volume(array_kji, matrix)
    _check_not_transposed(volume, array.shape, axes)
    return volume


def _check_not_transposed(volume: Volume, shape: tuple[int, ...], axes: str) -> None:
    """Refuse an array whose other order of axes fits its affine far better; only thick slices can show it."""
    told, turned = (np.array(size) * volume.spacing_ijk_mm for size in (volume.shape_kji[::-1], volume.shape_kji))
    if told.max() > _SLENDER * told.min() and told.max() / told.min() > _LESS_SLENDER * turned.max() / turned.min():
        sizes = [" x ".join(f"{mm:.0f}" for mm in sides) for sides in (told, turned)]
        other = "ijk" if axes == "kji" else "kji"
        raise GeometryError(
            f"An array of shape {shape} with axes={axes!r} and this affine is {sizes[0]} mm large along i, j, k; "
            f"with axes={other!r} it is {sizes[1]} mm. It seems to be transposed: give axes={other!r}, or a "
            "cycleinr.Volume if it is right as it is."
        )


def _text_of(thing: object) -> str:
    kind = type(thing)
    return f"an object of type {f'{kind.__module__}.{kind.__qualname__}'.removeprefix('builtins.')}"


def checked_call(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Refuse calls that a function's signature does not allow with a ``RequestError`` that names the right keyword."""
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            name = function.__qualname__.removesuffix(".__init__")
            raise _misuse(name, signature, kwargs, error) from None
        return function(*args, **kwargs)

    return checked


def number(name: str, value: object) -> float | None:
    """A keyword's number as a float, or None; what is neither is refused with a ``RequestError``."""
    if value is None:
        return None
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    raise RequestError(f"The {name} is {value!r}, which is no number. Give one, or leave {name}= away.")


def path_text(name: str, value: object, wanted: str = "Give one of these.") -> str:
    """An argument's path or text as text; what is neither is refused with a ``RequestError`` that says what to give."""
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    raise RequestError(f"The {name} is {value!r:.80}, which is neither a text nor a path. {wanted}")


def callback(name: str, value: Callable[..., _R] | None) -> Callable[..., _R] | None:
    """A keyword's function, or None; what cannot be called is refused with a ``RequestError``."""
    if value is None or callable(value):
        return value
    raise RequestError(f"{name}={value!r} is no function. Give one that is called during the run, or leave it away.")


def _misuse(name: str, signature: inspect.Signature, given: Mapping[str, object], error: TypeError) -> RequestError:
    kinds = {each.name: each.kind for each in signature.parameters.values() if each.name != "self"}
    by_name = [key for key, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY]
    places = [key for key in kinds if key not in by_name]
    takes = f"{name} takes {', '.join(places)}{' and, by name, ' if places else 'by name '}{', '.join(by_name)}."
    unknown = next((key for key in given if key not in kinds), None)
    if unknown is None:
        return RequestError(f"{name} cannot be called like this: {error}. {takes}")
    close = difflib.get_close_matches(unknown, by_name, 1, 0.5)
    hint = f"Do you mean {close[0]}? " if close else ""
    return RequestError(f"{name} has no keyword {unknown}. {hint}{takes}")
