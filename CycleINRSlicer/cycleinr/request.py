"""What a caller asks for: scans in every form, options, and the weights that serve them; also what was asked for when a
result was made. Imports no torch."""

from __future__ import annotations

import math
import numbers
import os
import re
import sys
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast

import numpy as np

from . import DeviceError, GeometryError, InputError, ModelError, RequestError, path_text
from .geometry import as_affine, is_sheared
from .grid import AXIS_OF_ARRAY, COLUMN_OF_AXIS, EXTENTS, Target, acquired_spacings, uneven_slices
from .inspection import Inspection, inspect
from .result import Provenance, Result
from .volume import Volume
from .weights import check_is_cycleinr, read_card

if TYPE_CHECKING:
    import nibabel
    import numpy.typing as npt
    import SimpleITK

Scan: TypeAlias = Union[  # noqa: UP007  "|" would evaluate names that are imported for type checkers only
    "str", "os.PathLike[str]", Volume, "SimpleITK.Image", "nibabel.spatialimages.SpatialImage", "npt.NDArray[Any]"
]
"""A path that `read` takes, a `Volume`, an image of SimpleITK or nibabel, or an array with its affine and axes."""

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
    # What has not been imported, nobody can have an object of
    itk, nib = sys.modules.get("SimpleITK"), sys.modules.get("nibabel")
    is_itk = itk is not None and isinstance(scan, itk.Image)
    is_nibabel = nib is not None and isinstance(scan, nib.spatialimages.SpatialImage)
    if not (is_itk or is_nibabel or isinstance(scan, (Volume, str, os.PathLike))):
        raise InputError(
            f"The scan is {_text_of(scan)}, which cannot be read. Give a path, a cycleinr.Volume, an image of "
            "SimpleITK or nibabel, or a NumPy array with affine= and axes=."
        )
    if affine is not None or axes is not None:
        raise RequestError(
            f"affine= and axes= are for arrays, and {_text_of(scan)} knows its own place. Leave them away."
        )
    if is_itk:
        return Volume.from_simpleitk(cast("SimpleITK.Image", scan))
    if is_nibabel:
        return Volume.from_nibabel(cast("nibabel.spatialimages.SpatialImage", scan))
    return scan if isinstance(scan, Volume) else read_scan(cast("str", scan), series, frame, header_only)


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


_HERE = Path(__file__).resolve().parent
_PLACES = (_HERE.parent / "Resources" / "Models", _HERE / "models")
MODELS_FOLDER = next((folder for folder in _PLACES if folder.is_dir()), _PLACES[0])
"""Bundled weights: beside the engine in a checkout and in Slicer, inside the package where pip installed it."""

BUNDLED = ("ct", "mr")


@dataclass(frozen=True)
class ChosenModel:
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


def choose_model(volume: Volume, request: str, seen: Inspection | None = None) -> ChosenModel:
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
    return ChosenModel(weights, card, card["modality"], reason)


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
        # An array is compared value by value
        if str(self.axis) not in ("auto", *AXIS_OF_ARRAY):
            text = "give 'i', 'j', 'k', or 'auto' for the one with the largest spacing."
            raise RequestError(f"The axis is {self.axis!r}; {text}")
        if str(self.extent) not in EXTENTS:
            raise RequestError(f"The extent is {self.extent!r}; give 'centres' or 'edges'.")
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?|mps", str(self.device)):
            raise DeviceError(f"The device is {self.device!r:.80}; give 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'.")
        if self.thickness_mm is not None and not 0 <= self.thickness_mm < math.inf:
            raise RequestError(f"The slice thickness is {self.thickness_mm:g} mm. Give 0 or more, or leave it away.")
        if not math.isfinite(self.intensity_offset):
            raise RequestError(f"The intensity offset is {self.intensity_offset}. Give a number, for example -1024.")


def parse_number(text: str, name: str = "") -> float:
    """A number as people write it on a command line or in a table, a fraction too; else a ``RequestError``."""
    above, stroke, below = text.partition("/")
    try:
        return float(above) / float(below if stroke else 1)
    except (ValueError, ZeroDivisionError):
        what = f"The {name} {text!r}" if name else repr(text)
        raise RequestError(f"{what} is no number. Give one such as 2, 0.7 or 5/3.") from None


def parse_thickness(text: str) -> float | None:
    """Of the slices, in mm, as ``UpsampleOptions`` has it; None for "auto", a ``RequestError`` for what is neither."""
    try:
        return None if text == "auto" else parse_number(text)
    except RequestError:
        raise RequestError(
            f"The thickness is {text!r}. Give millimetres, 0 for thin slices with gaps, or auto."
        ) from None


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
