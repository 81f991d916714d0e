"""Networks by the name that training configurations and model cards use.

All of them are called as ``network(stack, positions, slicing)`` with the shapes of ``CycleINR.forward``, so one
training loop and one evaluation serve them all. A network class carries:

- ``architecture``: its name here, and ``method``: its source in a sentence.
- ``sizes``: the frozen dataclass of its sizes, a ``config.Sizes``.
- ``memory_format``: the layout in which its weights are trained.
- ``ratio`` (of an instance): the one ratio that it is made for, or None for any.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import ModelError
from .config import Sizes

CYCLEINR = "cycleinr"
_PLACES = {CYCLEINR: "cycleinr.network.model:CycleINR"}


def register(name: str, place: str) -> None:
    """Make another network known, as "module:class"; the module is imported when the network is first asked for."""
    _PLACES[name] = place


def network_class(name: str) -> type[Any]:
    """The class of an architecture.

    Raises:
        ModelError: No architecture has this name.
    """
    if not isinstance(name, str) or name not in _PLACES:
        raise ModelError(f"There is no architecture {name!r}. Choose of {', '.join(_PLACES)}.")
    module, _, cls = _PLACES[name].partition(":")
    return getattr(import_module(module), cls)


def sizes_of(name: str, values: dict) -> Sizes:
    """Sizes of an architecture from plain values, as a model card or a configuration holds them.

    Raises:
        ModelError: No such architecture, or a size that it does not have.
    """
    return network_class(name).sizes.from_dict(values)


def build_network(name: str, sizes: Sizes):
    """A network with random weights."""
    return network_class(name)(sizes)
