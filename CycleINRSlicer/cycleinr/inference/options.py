"""What a user asks for, which weights serve it, and what was asked for when a result was made. Imports no torch."""

from __future__ import annotations

import math
import os
import re
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError, RequestError
from ..grid import COLUMN_OF_AXIS, Target, acquired_spacings, uneven_slices
from ..inspection import Inspection, inspect
from ..result import Provenance, Result
from ..volume import Volume
from ..weights import CYCLEINR, architecture, read_card

_PLACES = (Path(__file__).resolve().parents[2] / "Resources" / "Models", Path(__file__).resolve().parents[1] / "models")
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
    if not os.path.exists(weights):
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
    if architecture(card) != CYCLEINR:
        raise ModelError(
            f"The weights {weights.name} are of {architecture(card)}, a network that CycleINR is compared with. "
            "Only cycleinr evaluate runs it, a command of the research package."
        )
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
    """One request for a finer volume.

    Attributes:
        target: Spacing, ratio or isotropic.
        axis: Through-plane axis ``"i"``, ``"j"``, ``"k"``, or ``"auto"`` for the one with the largest spacing.
        extent: ``"centres"`` ends at the outermost slices' centres; ``"edges"`` covers their outer halves too.
        thickness_mm: Slice thickness; 0 for thin slices with gaps, None for what the scan says (DICOM), else
            contiguous slabs.
        model: ``"auto"``, ``"ct"``, ``"mr"`` or the path of a weights file.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.
        memory_limit_gb: Bound on memory beside the input and output volumes; None for 0.65 GB,
            or half of what is free where that is less (on a GPU, a share of its own memory).
        intensity_offset: What makes HU of a CT's values when it is added, -1024 for one that is stored without its
            negative values; it acts on the way to the network only.
        equalize_slices: Even the slices' brightness out before the network and put it back into the result, for 2D MR
            whose brightness jumps from slice to slice.
        fill_gaps: Compute also where several slices are missing, instead of refusing the scan.
        region: Compute this part of the scan only; None for all of it.
    """

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
