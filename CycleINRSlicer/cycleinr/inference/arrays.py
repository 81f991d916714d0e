"""NumPy arrays on the CPU or PyTorch tensors on a device, for code that is the same for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Union[np.ndarray, "torch.Tensor"]


@dataclass(frozen=True)
class Arrays:
    """One kind of arrays.

    Attributes:
        module: ``numpy`` or ``torch``, for the functions that both have under one name.
        of: Makes a float32 array of this kind from a NumPy array.
    """

    module: ModuleType
    of: Callable[[np.ndarray], Array]

    @classmethod
    def numpy(cls) -> Arrays:
        """Plain arrays; imports no torch."""
        return cls(np, lambda array: np.ascontiguousarray(array, dtype=np.float32))

    @classmethod
    def torch(cls, device: torch.device) -> Arrays:
        """Tensors on a device."""
        import torch

        return cls(torch, lambda array: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device))
