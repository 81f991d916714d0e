"""Combinations of system, PyTorch and numpy that are known not to work, and what to do about each."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass

from slicer.i18n import tr as _

OFFLINE_HELP = "https://github.com/CycleINRSlicer/SlicerCycleINR/blob/main/docs/offline.md"

_LAST_TORCH_OF_INTEL_MACS = "2.2.2"
_FIRST_BROKEN_TORCH_ON_WINDOWS = "2.13"


@dataclass(frozen=True)
class Computer:
    """``sys.platform``, the processor that Slicer was built for, and installed versions (None: not installed)."""

    system: str
    machine: str
    torch: str | None
    numpy: str | None


def thisComputer(installedVersion: Callable[[str], str | None]) -> Computer:
    """Under Rosetta the machine is x86_64, as Slicer's own processes are."""
    return Computer(sys.platform, platform.machine(), installedVersion("torch"), installedVersion("numpy"))


def torchLimit(computer: Computer) -> str:
    """What to add to torch's version requirement, such as ``,<2.13``; "" where nothing is known against any."""
    return f",<{_FIRST_BROKEN_TORCH_ON_WINDOWS}" if computer.system == "win32" else ""


def beforeInstalling(computer: Computer) -> str | None:
    """Why installing PyTorch is no use on this computer; None where it is."""
    if _isIntelMac(computer) and _atLeast(computer.numpy, "2"):
        return _macText(computer)
    return None


def explain(computer: Computer, failure: str) -> str:
    """What a failed trial means and what to do, for the reader.

    Args:
        computer: Where it failed.
        failure: What the trial said, one line.
    """
    if computer.system == "win32" and _atLeast(computer.torch, _FIRST_BROKEN_TORCH_ON_WINDOWS):
        cause = _(
            "PyTorch {torch} installs incompletely in Slicer on Windows: the paths of some of its files are longer "
            "than 260 characters. Uninstall PyTorch in the module PyTorch Utils, restart Slicer and press Apply; "
            "CycleINR then installs a version below {limit}."
        ).format(torch=computer.torch, limit=_FIRST_BROKEN_TORCH_ON_WINDOWS)
    elif _isIntelMac(computer) and _atLeast(computer.numpy, "2"):
        cause = _macText(computer)
    else:
        cause = _(
            "PyTorch {torch} is installed, but does not work. Uninstall PyTorch in the module PyTorch Utils, restart "
            "Slicer and press Apply again."
        ).format(torch=computer.torch)
    return cause + " " + _("The trial said: {failure}").format(failure=failure)


def _isIntelMac(computer: Computer) -> bool:
    return computer.system == "darwin" and computer.machine == "x86_64"


def _atLeast(version: str | None, limit: str) -> bool:
    from packaging.version import Version

    return version is not None and Version(version) >= Version(limit)


def _macText(computer: Computer) -> str:
    return _(
        "This Slicer is built for Intel Macs; on a Mac with an Apple chip it runs under Rosetta. The last PyTorch for "
        "Intel Macs, {torch}, needs numpy below 2, and this Slicer has numpy {numpy}, which must not be replaced. Make "
        "the volume finer with CycleINR's command line in another Python and open the result in Slicer: {help}"
    ).format(torch=_LAST_TORCH_OF_INTEL_MACS, numpy=computer.numpy, help=OFFLINE_HELP)
