"""Networks that optional packages bring and whose weights they fetch from the internet when first used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def load_from_library(metric: str, load: Callable[[], T]) -> tuple[T | None, str]:
    """Load what a metric needs, or say why it is not available.

    Args:
        metric: The metric's name, for the reason.
        load: Imports the package, builds the network, and has the package find or fetch its weights.

    Returns:
        What ``load`` returned and ""; or None and the reason with its remedy.
    """
    try:
        return load(), ""
    except ImportError as error:
        reason = f"a package is not installed ({error}). Install what it needs: pip install './research[perceptual]'."
    except OSError as error:
        # A download that fails raises URLError, which is an OSError, as an unreadable file does.
        reason = f"its weights could not be fetched or read ({error}). Run it once with a connection to the internet."
    except Exception as error:  # noqa: BLE001 - packages of others: whatever they raise, the answer is this one.
        reason = (
            f"its packages do not fit together, or its weights are damaged ({error}). Install torchvision in the "
            "version that belongs to the installed torch, and empty PyTorch's cache of weights."
        )
    return None, f"{metric} is not available: {reason}"
