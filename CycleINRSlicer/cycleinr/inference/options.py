"""What a user asks for, and what he hears while it is done. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import RequestError
from ..grid import Target


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

    def __post_init__(self) -> None:
        if not math.isfinite(self.intensity_offset):
            raise RequestError(f"The intensity offset is {self.intensity_offset}. Give a number, for example -1024.")


@dataclass(frozen=True)
class Progress:
    """How far a run is: the phase in words, the fraction of the whole run, and the seconds left (None: unknown)."""

    phase: str
    fraction: float
    remaining_s: float | None = None


ProgressCallback = Callable[[Progress], None]
"""Receives progress from the thread that computes."""


def no_progress(progress: Progress) -> None:
    """For callers that do not want to hear."""


def never_cancelled() -> bool:
    return False
