"""Weights on disk: one safetensors file and one model card (JSON) of the same name beside it.

The card holds the network's sizes, so the two files are enough to build the network; it also says what the weights
were trained on, how well they do and what they are for. safetensors holds numbers only: loading it runs no code.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import ModelError
from .architectures import CYCLEINR, build_network, sizes_of
from .safetensors_reader import FormatError, read_tensors

CARD_FORMAT = 1


def architecture(card: dict) -> str:
    """The network that a card describes; cards that do not say are CycleINR's."""
    return card.get("architecture", CYCLEINR)


def card_path(weights: Path) -> Path:
    return weights.with_suffix(".json")


def read_card(weights: Path) -> dict:
    """The model card of a weights file.

    Raises:
        ModelError: The card is missing, not JSON, or of a format that this version does not know.
    """
    path = card_path(weights)
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"The model card {path.name} beside {weights.name} cannot be read ({error.strerror}). "
            "Weights and card belong together: copy both."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"The model card {path.name} is damaged ({error}). Install the weights again.") from error
    if not (
        isinstance(card, dict)
        and card.get("format") == CARD_FORMAT
        and isinstance(card.get("network"), dict)
        and isinstance(card.get("sha256"), str)
    ):
        raise ModelError(f"The model card {path.name} is not of format {CARD_FORMAT}. Use weights of this release.")
    return card


def load_network(weights: Path, sha256: str | None = None):
    """Build the network that a weights file and its card describe, in evaluation mode on the CPU.

    Args:
        weights: The weights file.
        sha256: Hash of the weights that are meant, where the card was read before.

    Raises:
        ModelError: The file is missing, damaged, changed since its card was written, does not fit the card, or holds
            numbers that are not finite.
    """
    import torch

    card = read_card(weights)
    try:
        data = weights.read_bytes()
        tensors = {key: torch.from_numpy(value.copy()) for key, value in read_tensors(data).items()}
    except OSError as error:
        raise ModelError(f"The weights {weights.name} cannot be read: {error.strerror}.") from error
    except FormatError as error:
        raise ModelError(f"The weights {weights.name} are damaged ({error}). Install them again.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != card["sha256"]:
        raise ModelError(f"The weights {weights.name} are not those of their model card. Install both files again.")
    if sha256 is not None and found != sha256:
        raise ModelError(f"The weights {weights.name} were replaced by others while they were in use. Start again.")
    name = architecture(card)
    sizes = sizes_of(name, card["network"])
    # Without numbers first: a card with wrong sizes must not take memory for a network that the weights do not fit.
    with torch.device("meta"):
        wanted = build_network(name, sizes).state_dict()
    if {key: (value.shape, value.dtype) for key, value in tensors.items()} != {
        key: (value.shape, value.dtype) for key, value in wanted.items()
    }:
        raise ModelError(f"The weights {weights.name} do not fit the network of their card.")
    model = build_network(name, sizes)
    model.load_state_dict(tensors)
    return model.eval()
