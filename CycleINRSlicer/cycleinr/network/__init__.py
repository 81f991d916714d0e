"""The CycleINR network in PyTorch: encoder, attention-enhanced latent code grid sampling (ALCGS), decoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .. import RequestError
from ..weights import read_parameters

if TYPE_CHECKING:
    from .model import CycleINR


def load_network(weights: Path, sha256: str | None = None) -> CycleINR:
    """Build the network that a weights file and its card describe, in evaluation mode on the CPU.

    Arguments and errors as ``weights.read_parameters``.

    Raises:
        RequestError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise RequestError(
            "The network is a PyTorch module, and PyTorch is not installed. Install it with: pip install torch"
        ) from error
    from .model import CycleINR

    parameters = read_parameters(weights, sha256)
    model = CycleINR(parameters.config)
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in parameters.arrays.items()})
    return model.eval()
