"""What a caller asks for: scans in every form, keywords, whose misuse is told before anything begins, options, and the
weights that serve them; also what was asked for when a result was made. Imports no torch."""

from __future__ import annotations

import difflib
import math
import numbers
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, Union

import numpy as np

from . import GeometryError, InputError, ModelError, RequestError
from .geometry import as_affine, is_sheared
from .grid import AXIS_OF_ARRAY, COLUMN_OF_AXIS, EXTENTS, Target, acquired_spacings, uneven_slices
from .inspection import Inspection, inspect
from .result import Provenance, Result
from .volume import Volume, path_text
from .weights import check_is_cycleinr, read_card

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
    header_only: bool = False,
) -> Volume:
    """The scan as a volume, of a path without its samples perhaps; arguments and errors as ``upsample`` has them."""
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
        return read_scan(scan, series, frame, header_only)
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
    if np.ma.is_masked(array):
        raise InputError("The array's masked values would count as measured. Give a Volume with valid=~mask.")
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


def callback(name: str, value: Callable[..., _R] | None) -> Callable[..., _R] | None:
    """A keyword's function, or None; what cannot be called is refused with a ``RequestError``."""
    if value is None or callable(value):
        return value
    raise RequestError(f"{name}={value!r} is no function. Give one that is called during the run, or leave it away.")


def _misuse(name: str, own: Signature, given: Mapping[str, object], error: TypeError) -> RequestError:
    kinds = {each.name: each.kind for each in own.parameters.values() if each.name != "self"}
    by_name = [key for key, kind in kinds.items() if kind is Parameter.KEYWORD_ONLY]
    places = [key for key in kinds if key not in by_name]
    takes = f"{name} takes {', '.join(places)}{' and, by name, ' if places else 'by name '}{', '.join(by_name)}."
    unknown = next((key for key in given if key not in kinds), None)
    if unknown is None:
        return RequestError(f"{name} cannot be called like this: {error}. {takes}")
    close = difflib.get_close_matches(unknown, by_name, 1, 0.5)
    hint = f"Do you mean {close[0]}? " if close else ""
    return RequestError(f"{name} has no keyword {unknown}. {hint}{takes}")


_HERE = Path(__file__).resolve().parent
_PLACES = (_HERE.parent / "Resources" / "Models", _HERE / "models")
MODELS_FOLDER = next((folder for folder in _PLACES if folder.is_dir()), _PLACES[0])
"""Bundled weights: beside the engine in a checkout and in Slicer, inside the package where pip installed it."""

BUNDLED = ("ct", "mr")


@dataclass(frozen=True)
class ModelChoice:
    """Weights and their card, the modality they are for, and one sentence on why they were chosen."""

    weights: Path
    card: dict[str, Any]
    modality: str
    reason: str


def bundled_weights(name: str) -> Path:
    """The file of a bundled model, ``"ct"`` or ``"mr"``."""
    return MODELS_FOLDER / f"{name}.safetensors"


def find_weights(request: str) -> Path:
    """The file of a bundled model, or the weights file of that path.

    Raises:
        ModelError: No such file.
    """
    weights = bundled_weights(request) if request in BUNDLED else Path(request)
    # pathlib would raise for a name that is too long.
    if not os.path.isfile(weights):
        raise ModelError(
            f"There are no weights {weights}. Give auto, ct, mr, or the path of a .safetensors file that was "
            "trained with cycleinr train."
        )
    return weights


def choose_model(volume: Volume, request: str, seen: Inspection | None = None) -> ModelChoice:
    """Find the weights that ``request`` means for this volume.

    Args:
        volume: Decides between CT and MR for ``"auto"``: by its modality, else by its values.
        request: ``"auto"``, ``"ct"``, ``"mr"`` or the path of a weights file.
        seen: The volume's values, where they have been looked at.

    Raises:
        ModalityError: Neither the scan nor its values say which it is.
        ModelError: No such file, or its card does not say for which modality it is.
    """
    if request == "auto":
        seen = seen or inspect(volume)
        modality = seen.checked_modality()
        weights, reason = find_weights(modality.lower()), f"{modality} model: {seen.reason}"
    else:
        weights, known = find_weights(request), request in BUNDLED
        reason = f"{request.upper()} model, as asked for." if known else f"The weights {weights.name}, as asked for."
    card = read_card(weights)
    check_is_cycleinr(weights, card)
    if card.get("modality") not in ("CT", "MR"):
        raise ModelError(f"The model card of {weights.name} does not say CT or MR under modality. Complete the card.")
    return ModelChoice(weights, card, card["modality"], reason)


_REGION = re.compile(r"\s*,\s*".join([r"(-?\d+)\s*:\s*(-?\d+)"] * 3))


@dataclass(frozen=True)
class Region:
    """A part of the scan that is computed alone: voxels ``first <= n < stop`` along i, j and k of the input.

    The result has the slices of the whole scan's result whose centres lie within these voxels.

    Attributes:
        i, j, k: First voxel and the one behind the last.
    """

    i: tuple[int, int]
    j: tuple[int, int]
    k: tuple[int, int]

    @classmethod
    def of(cls, given: str | Region) -> Region:
        """A region from text, ``i0:i1,j0:j1,k0:k1``.

        Raises:
            RequestError: The text is not of this form.
        """
        if isinstance(given, Region):
            return given
        found = _REGION.fullmatch(str(given).strip())
        if not found:
            raise RequestError(
                f"The region is {given!r:.80}. Give the first voxel and the one behind the last along i, j and k, for "
                "example 100:196,120:216,10:30."
            )
        ends = [int(text) for text in found.groups()]
        return cls(*zip(ends[::2], ends[1::2], strict=True))

    def __str__(self) -> str:
        return ",".join(f"{first}:{stop}" for first, stop in astuple(self))

    def check_inside(self, shape_kji: tuple[int, int, int]) -> None:
        """Check that the region lies inside a scan of this shape.

        Raises:
            RequestError: It is empty, or reaches beyond the scan.
        """
        for letter, (first, stop), size in zip("ijk", astuple(self), shape_kji[::-1], strict=True):
            if not 0 <= first < stop <= size:
                raise RequestError(
                    f"The region {first}:{stop} along {letter} is not a part of the scan's {size} voxels. "
                    f"Give a part of 0:{size}."
                )


@dataclass(frozen=True)
class UpsampleOptions:
    """One request for a finer volume; ``cycleinr.upsample`` explains what is asked for."""

    target: Target
    axis: str = "auto"
    extent: str = "centres"
    thickness_mm: float | None = None
    model: str = "auto"
    device: str = "auto"
    memory_limit_gb: float | None = None
    equalize_slices: bool = False
    intensity_offset: float = 0.0
    fill_gaps: bool = False
    region: Region | None = None

    def __post_init__(self) -> None:
        if self.axis not in ("auto", *AXIS_OF_ARRAY):
            text = "give 'i', 'j', 'k', or 'auto' for the one with the largest spacing."
            raise RequestError(f"The axis is {self.axis!r}; {text}")
        if self.extent not in EXTENTS:
            raise RequestError(f"The extent is {self.extent!r}; give 'centres' or 'edges'.")
        if self.thickness_mm is not None and not 0 <= self.thickness_mm < math.inf:
            raise RequestError(f"The slice thickness is {self.thickness_mm:g} mm. Give 0 or more, or leave it away.")
        if not math.isfinite(self.intensity_offset):
            raise RequestError(f"The intensity offset is {self.intensity_offset}. Give a number, for example -1024.")


def options_of_result(scan: Volume, result: Result, model: str = "auto") -> UpsampleOptions:
    """The options with which ``upsample`` makes this result of this scan again.

    Args:
        scan: The acquired scan.
        result: What was made of it.
        model: The weights file, where they do not come with CycleINR.

    Raises:
        RequestError: The provenance names no axis.
        ModelError: The weights are not there, or are others than those that the result was made with.
    """
    how = result.provenance
    if how.axis not in COLUMN_OF_AXIS:
        raise RequestError(f"The result's provenance names the axis {how.axis!r}. Make the result again.")
    column = COLUMN_OF_AXIS[how.axis]
    spacing_mm = min(acquired_spacings(scan, how.axis))
    return UpsampleOptions(
        target=Target(ratio=max(1.0, spacing_mm / result.volume.spacing_ijk_mm[column])),
        axis=how.axis,
        extent=how.extent,
        thickness_mm=_thickness_mm(scan, how),
        model=_model_of(result, model),
        intensity_offset=float(how.more.get("intensity_offset", 0)),
        equalize_slices=how.more.get("equalized_slices") == "yes",
        fill_gaps="gaps" in how.more,
        region=Region.of(how.more["region"]) if "region" in how.more else None,
    )


def _thickness_mm(scan: Volume, how: Provenance) -> float | None:
    """What gives the result's relative thickness again; one number does not say it of slices that are not even."""
    if uneven_slices(scan) is None:
        return how.tau * scan.spacing_ijk_mm[COLUMN_OF_AXIS[how.axis]]
    asked = how.more.get("thickness_mm")
    return None if asked is None else float(asked)


def _model_of(result: Result, model: str) -> str:
    how = result.provenance
    for name in BUNDLED if model == "auto" else (model,):
        if read_card(find_weights(name))["sha256"] == how.weights_sha256:
            return name
    given = "which do not come with this version" if model == "auto" else f"and {model} are others"
    raise ModelError(
        f"The result was made with the weights {how.model}, {given}. Make the result again, or give the file of its "
        "weights as the model."
    )
