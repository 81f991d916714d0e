"""Keyword arguments of the Python console as the engine's options."""

from __future__ import annotations

from cycleinr.grid import Target
from cycleinr.inference.options import UpsampleOptions


def upsampleOptions(
    *,
    spacing: float | None = None,
    ratio: float | None = None,
    isotropic: bool = False,
    axis: str = "auto",
    extent: str = "centres",
    thickness: float | None = None,
    model: str = "auto",
    device: str = "auto",
    memoryLimit: float | None = None,
    equalizeSlices: bool = False,
) -> UpsampleOptions:
    """What to compute; give exactly one of spacing, ratio and isotropic.

    Args:
        spacing: Distance between the result's slice centres in mm.
        ratio: How many times finer; need not be whole.
        isotropic: True for the mean of the in-plane spacings.
        axis: Through-plane axis ``"i"``, ``"j"``, ``"k"`` or ``"auto"``.
        extent: ``"centres"`` or ``"edges"``, which covers the outer slice halves too.
        thickness: Slice thickness in mm; 0 for thin slices with gaps, None for DICOM's, else contiguous slabs.
        model: ``"auto"``, ``"ct"``, ``"mr"`` or the path of a weights file.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.
        memoryLimit: Memory beside the volumes in GB; None leaves it to the engine (0.65 GB).
        equalizeSlices: True for 2D MR whose brightness jumps from slice to slice: even it out before the network.

    Raises:
        RequestError: None or several of the three targets, or a number that makes no sense.
    """
    target = Target(spacing_mm=spacing, ratio=ratio, isotropic=isotropic)
    return UpsampleOptions(target, axis, extent, thickness, str(model), device, memoryLimit, equalizeSlices)
