"""Where to compute: every device is tried with a real convolution before it is trusted.

``is_available()`` says yes on cards that the installed torch has no kernels for ("no kernel image is available"), so
it is only the first question. PyTorch is loaded only where there may be a GPU for it.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..errors import DeviceError
from ..threads import computing_threads

_DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What Linux has where a driver for NVIDIA's cards, for those of the Windows around it, or for AMD's is loaded."""


class DeviceMemoryError(MemoryError):
    """A device with memory of its own has too little of it."""


@dataclass(frozen=True)
class Device:
    """A device that passed its trial: torch's name, a label for people, its memory (None: shared with the system)."""

    name: str
    label: str
    memory_gb: float | None = None


@dataclass(frozen=True)
class DeviceChoice:
    """The device to use and one sentence on why, or on why no GPU is used."""

    device: Device
    reason: str


def torch_version() -> str | None:
    """Of the PyTorch that is installed; does not load it."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return None


def no_gpu_reason() -> str | None:
    """Why PyTorch cannot have a GPU here, in half a sentence; None where it has to be asked. Does not load it."""
    if not has_gpu_driver():
        is_mac = sys.platform == "darwin"
        return "PyTorch uses no GPU of Intel Macs" if is_mac else "there is no driver of a GPU that PyTorch could use"
    installed = torch_version()
    if installed is None:
        return "PyTorch, which a GPU needs, is not installed"
    if installed.endswith("+cpu"):
        return "the installed PyTorch was built without GPU support"
    return None


def has_gpu_driver() -> bool:
    """Whether this system has a driver of a GPU that PyTorch could use, by a look at files; without PyTorch, too."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    return any(Path(name).exists() for name in _DRIVER_FILES)


def trial_failure(name: str) -> str | None:
    """Run a small convolution on a device; None if the values are right, else the reason in one line."""
    import torch

    try:
        image = torch.arange(64, dtype=torch.float32, device=name).reshape(1, 1, 8, 8)
        blurred = torch.nn.functional.conv2d(image, torch.ones(1, 1, 3, 3, device=name), padding=1)
        value = float(blurred[0, 0, 4, 4])
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return str(error).strip().splitlines()[0]
    return None if value == 9 * 36 else f"a test convolution gave {value} instead of 324"


def candidates() -> list[Device]:
    """GPUs that torch reports, fastest kind first, not yet tried."""
    if no_gpu_reason() is not None or _load_failure() is not None:
        return []
    import torch

    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found.append(Device(f"cuda:{index}", properties.name, properties.total_memory / 1e9))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU"))
    return found


def _load_failure() -> str | None:
    """What is wrong with a broken PyTorch, which the CPU does without."""
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        return f"PyTorch cannot be loaded ({error})"
    return None


def list_devices() -> list[Device]:
    """Every device that passes its trial, GPUs first, the CPU last."""
    return [device for device in candidates() if trial_failure(device.name) is None] + [cpu()]


def cpu() -> Device:
    threads = computing_threads()
    return Device("cpu", f"CPU, {threads} thread{'' if threads == 1 else 's'}")


def choose_device(request: str) -> DeviceChoice:
    """The device for ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.

    Raises:
        DeviceError: A device that was asked for by name does not exist or fails its trial.
    """
    if request == "cpu":
        return DeviceChoice(cpu(), "CPU, as asked for.")
    if request == "auto":
        return _best_device()
    wanted = "cuda:0" if request == "cuda" else request
    for device in candidates():
        if device.name == wanted:
            failure = trial_failure(wanted)
            if failure:
                raise DeviceError(f"The device {wanted} ({device.label}) does not work: {failure}. Use --device cpu.")
            return DeviceChoice(device, f"{device.label}, as asked for.")
    there = ", ".join(device.name for device in [*candidates(), cpu()])
    raise DeviceError(f"There is no device {request!r} here; this machine has {there}. Use one of these, or auto.")


def _best_device() -> DeviceChoice:
    failures = []
    for device in candidates():
        failure = trial_failure(device.name)
        if failure is None:
            return DeviceChoice(device, f"{device.label}, the fastest device that passed its test.")
        failures.append(f"{device.label} failed its test ({failure})")
    if failures:
        return DeviceChoice(cpu(), f"CPU, since {'; '.join(failures)}.")
    return DeviceChoice(cpu(), f"CPU, since {no_gpu_reason() or _load_failure() or 'PyTorch finds no GPU'}.")
