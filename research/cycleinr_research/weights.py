"""Trained weights out to disk, and checkpoints back in."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from cycleinr import ModelError
from cycleinr.weights import CARD_FORMAT, card_path

_FIRST_SAFE_TORCH = "2.6"


def save_network(model, path: Path, card: dict) -> None:
    """Write weights to ``path`` (.safetensors) and the card beside it, each atomically.

    Args:
        model: A network of ``architectures``.
        path: Where the weights go.
        card: What is known of the weights; ``format``, ``architecture``, ``network`` and ``sha256`` are filled
            in here.
    """
    from safetensors.torch import save

    data = save({name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()})
    full = {
        "format": CARD_FORMAT,
        **card,
        "architecture": model.architecture,
        "network": model.config.to_dict(),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in ((path, data), (card_path(path), json.dumps(full, indent=2).encode() + b"\n")):
        temporary = target.with_name(target.name + ".partial")
        temporary.write_bytes(content)
        os.replace(temporary, target)


def load_pickled_numbers(path: Path) -> dict:
    """A file of ``torch.save`` that holds numbers only, on the CPU.

    Raises:
        ModelError: This PyTorch can be made to run code by such a file, even with ``weights_only`` (CVE-2025-32434).
        Exception: Whatever ``torch.load`` raises for a file that is none.
    """
    import torch

    if torch.torch_version.TorchVersion(torch.__version__) < _FIRST_SAFE_TORCH:
        raise ModelError(
            f"{path.name} is not loaded: PyTorch {torch.__version__} can be made to run code by such a file. "
            f"Install PyTorch {_FIRST_SAFE_TORCH} or newer."
        )
    return torch.load(path, map_location="cpu", weights_only=True)
