"""Networks by the names that cards and training configurations use: CycleINR, and the peers that it is compared with.

All of them are called as ``network(stack, positions, slicing)`` with the shapes of ``CycleINR.forward``, so one
training loop and one evaluation serve them all. A network class carries:

- ``architecture``: its name here, and ``method``: its source in a sentence.
- ``sizes``: the frozen dataclass of its sizes, a ``cycleinr.weights.Sizes``.
- ``memory_format``: the layout in which its weights are trained.
- ``ratio`` (of an instance): the one ratio that it is made for, or None for any.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from cycleinr import ModelError
from cycleinr.weights import CYCLEINR, architecture, read_weights

_PEERS = "cycleinr_research.evaluation.peers"
_PLACES = {
    CYCLEINR: "cycleinr.network.model:CycleINR",
    "arssr": f"{_PEERS}.arssr:ArSSR",
    "saint": f"{_PEERS}.saint:SAINT",
    "tvsrn": f"{_PEERS}.tvsrn:TVSRN",
}


def network_class(name: str) -> type[Any]:
    """The class of an architecture; ``sizes.from_dict`` and a call with these make one with random weights.

    Raises:
        ModelError: No architecture has this name.
    """
    if not isinstance(name, str) or name not in _PLACES:
        raise ModelError(f"There is no architecture {name!r}. Choose of {', '.join(_PLACES)}.")
    module, _, cls = _PLACES[name].partition(":")
    return getattr(import_module(module), cls)


def load_network(weights: Path):
    """Build the network of any architecture that a weights file and its card describe, as ``cycleinr.load_model``.

    Raises:
        ModelError: The file is missing, damaged, changed since its card was written, or does not fit the card.
    """
    import torch

    card, arrays = read_weights(weights)
    kind = network_class(architecture(card))
    model = kind(kind.sizes.from_dict(card["network"]))
    try:
        model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
    except RuntimeError as error:
        raise ModelError(f"The weights {weights.name} do not fit the network of their card.") from error
    return model.eval()
