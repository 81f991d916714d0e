"""Which weights serve a volume, and why. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..inspection import Inspection, inspect
from ..network.weights import CYCLEINR, architecture, read_card
from ..volume import Volume

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
