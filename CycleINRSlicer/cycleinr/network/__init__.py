"""The CycleINR network: encoder, attention-enhanced latent code grid sampling (ALCGS), fully connected decoder.

Networks go by the name that cards and training configurations use. All of them are called as
``network(stack, positions, slicing)`` with the shapes of ``model.CycleINR.forward``, so one training loop and one
evaluation serve them all. A network class carries:

- ``architecture``: its name here, and ``method``: its source in a sentence.
- ``sizes``: the frozen dataclass of its sizes, a ``weights.Sizes``.
- ``memory_format``: the layout in which its weights are trained.
- ``ratio`` (of an instance): the one ratio that it is made for, or None for any.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from .. import ModelError, RequestError
from ..weights import CYCLEINR, architecture, read_weights

_PLACES = {CYCLEINR: "cycleinr.network.model:CycleINR"}


def load_network(weights: Path, sha256: str | None = None):
    """Build the network that a weights file and its card describe, in evaluation mode on the CPU.

    Args:
        weights: The weights file.
        sha256: Hash of the weights that are meant, where the card was read before.

    Raises:
        RequestError: PyTorch is not installed.
        ModelError: The file is missing, damaged, changed since its card was written, does not fit the card, or holds
            numbers that are not finite.
    """
    try:
        import torch
    except ImportError as error:
        raise RequestError(
            "The network is a PyTorch module, and PyTorch is not installed. Install it with: pip install torch"
        ) from error
    card, arrays = read_weights(weights, sha256)
    tensors = {key: torch.from_numpy(value.copy()) for key, value in arrays.items()}
    kind = network_class(architecture(card))
    sizes = kind.sizes.from_dict(card["network"])
    # Without numbers first: a card with wrong sizes must not take memory for a network that the weights do not fit.
    with torch.device("meta"):
        wanted = kind(sizes).state_dict()
    if {key: (value.shape, value.dtype) for key, value in tensors.items()} != {
        key: (value.shape, value.dtype) for key, value in wanted.items()
    }:
        raise ModelError(f"The weights {weights.name} do not fit the network of their card.")
    model = kind(sizes)
    model.load_state_dict(tensors)
    return model.eval()


def register(name: str, place: str) -> None:
    """Make another network known, as "module:class"; the module is imported when the network is first asked for."""
    _PLACES[name] = place


def network_class(name: str) -> type[Any]:
    """The class of an architecture; ``sizes.from_dict`` and a call with these make one with random weights.

    Raises:
        ModelError: No architecture has this name.
    """
    if not isinstance(name, str) or name not in _PLACES:
        raise ModelError(f"There is no architecture {name!r}. Choose of {', '.join(_PLACES)}.")
    module, _, cls = _PLACES[name].partition(":")
    return getattr(import_module(module), cls)
