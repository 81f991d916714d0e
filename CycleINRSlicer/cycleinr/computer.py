"""What a run computes on: how much memory it may take, where a result goes that is too large for it, and which device.

Page faults cost more than the arithmetic when memory goes back and forth between glibc and the kernel, and PyTorch's
threads (libgomp) wait for each other in a busy loop, in which a run can take three times as long when another program
has one of the cores. ``keep_freed_memory`` and ``wait_politely`` end both.

Every device is tried with a real convolution before it is trusted. ``is_available()`` says yes on cards that the
installed torch has no kernels for ("no kernel image is available"), so it is only the first question. PyTorch is loaded
only where there may be a GPU for it.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import DeviceError, OutOfMemoryError, RequestError
from .resampling import counted
from .threads import computing_threads

_LOG = logging.getLogger(__name__)

DEFAULT_LIMIT_BYTES = 0.65e9
"""Beside the volumes. More makes no run faster: a strip's working set is far beyond every cache anyway."""

_DEFAULT_SHARE = 0.5
_RESULT_SHARE = 0.4
"""A result beyond this share of the free memory goes to disk: writing its file takes as much memory once more."""

_DISK_RESERVE_BYTES = 1e9
_CGROUP = Path("/sys/fs/cgroup")


def limit_bytes(memory_limit_gb: float | None) -> float:
    """Bound on a run's memory beside its volumes, in bytes; None gives the default.

    Raises:
        RequestError: The limit is not positive.
    """
    if memory_limit_gb is None:
        return min(DEFAULT_LIMIT_BYTES, _DEFAULT_SHARE * available_memory_bytes())
    if not memory_limit_gb > 0:
        raise RequestError(f"The memory limit is {memory_limit_gb} GB. Give a positive number of gigabytes.")
    return memory_limit_gb * 1e9


def available_memory_bytes() -> float:
    """Memory that can be had without swapping, within the limits of the container and of this process."""
    return max(0.0, min(_of_system(), _of_container(), _of_process()))


def empty_result(shape_kji: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
    """Room for a result: in memory, or in a temporary file where it would fill too much of the memory.

    The file has no name that outlives the process, and its pages are the system's to write out and read back.

    Raises:
        OutOfMemoryError: Neither has room.
    """
    size = int(np.prod(shape_kji)) * np.dtype(dtype).itemsize
    if size > _RESULT_SHARE * available_memory_bytes():
        try:
            return _on_disk(shape_kji, dtype, size)
        except OSError as error:
            _LOG.warning("The result cannot be kept in a temporary file: %s", error.strerror or error)
    try:
        return np.empty(shape_kji, dtype)
    except MemoryError as error:
        raise OutOfMemoryError(
            f"The result takes {size / 1e9:.1f} GB, and neither the memory nor the temporary folder has room for it. "
            "Close other programs, ask for fewer slices, or crop the scan."
        ) from error


def check_room(name: str, size: Sequence[int], itemsize: int) -> None:
    """Check that a scan's voxels fit into the memory that is free.

    Args:
        name: What the message calls the scan.
        size: Number of samples along each axis.
        itemsize: Bytes of one sample.

    Raises:
        OutOfMemoryError: They do not.
    """
    needed, free = math.prod(size) * itemsize, available_memory_bytes()
    if needed > free:
        raise OutOfMemoryError(
            f"{name} takes {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free. "
            "Close other programs, or crop the scan."
        )


def out_of_memory(name: str) -> OutOfMemoryError:
    """What to raise when the memory ran out while a scan was read."""
    return OutOfMemoryError(f"There is no memory left to read {name}. Close other programs, or crop the scan.")


def _on_disk(shape_kji: tuple[int, int, int], dtype: np.dtype, size: int) -> np.ndarray:
    """Room in a temporary file; OSError where the temporary folder is missing or has too little room."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < size + _DISK_RESERVE_BYTES:
        raise OSError(errno.ENOSPC, f"{size / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free there")
    with tempfile.TemporaryFile(prefix="cycleinr-") as file:
        if hasattr(os, "posix_fallocate"):
            # A mapped file with holes on a disk that fills up later ends the process.
            os.posix_fallocate(file.fileno(), 0, size)
        _LOG.info("The result takes %.1f GB and is kept in a temporary file.", size / 1e9)
        return np.asarray(np.memmap(file, dtype, "w+", shape=shape_kji))


def _of_system() -> float:
    """Linux's MemAvailable, and what Windows says is the same; else half of the installed memory, or 4 GB."""
    if sys.platform == "win32":
        # Its length, load, then total and available bytes of the memory, of that with the page file, and of addresses
        status = (ctypes.c_uint64 * 8)(64)
        return float(min(status[2], status[4])) if ctypes.windll.kernel32.GlobalMemoryStatusEx(status) else 4e9
    there = _bytes_in("/proc/meminfo", "MemAvailable:")
    if there is not None:
        return there
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    return 4e9


def _of_container() -> float:
    """What a control group (version 2) leaves; containers and batch systems limit memory with these."""
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = (_CGROUP / "memory.current").read_text(encoding="ascii")
    except OSError:
        return float("inf")
    return float("inf") if limit == "max" else float(limit) - float(used)


def _of_process() -> float:
    """What ``ulimit -d`` and ``ulimit -v`` leave."""
    try:
        import resource
    except ImportError:
        return float("inf")
    left = float("inf")
    for kind, field in ((resource.RLIMIT_DATA, "VmData:"), (resource.RLIMIT_AS, "VmSize:")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            left = min(left, limit - (_bytes_in("/proc/self/status", field) or 0.0))
    return left


def _bytes_in(file: str, field: str) -> float | None:
    """A field of one of Linux's tables of kilobytes; None where there is none."""
    lines = Path(file).read_text(encoding="ascii", errors="replace").splitlines() if os.path.exists(file) else []
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)


_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Make glibc reuse freed memory instead of handing it back; call once, early, before large allocations.

    Returns:
        Whether it took effect; False on systems without glibc, where nothing needs doing.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    settings = [(_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1)]
    return all(libc.mallopt(key, value) == 1 for key, value in settings)


def wait_politely() -> None:
    """Make libgomp's threads sleep soon while they wait; to be called before torch is imported.

    Settings of the user's own (``GOMP_SPINCOUNT``, ``OMP_WAIT_POLICY``) win. Other OpenMP libraries ignore it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


_DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What Linux has where a driver for NVIDIA's cards, for those of the Windows around it, or for AMD's is loaded."""


class DeviceFailed(Exception):
    """A device could not do its part, most often for want of memory: PyTorch's errors do not say which on every one."""


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
    # Takes a third of the time in which the engine's process starts, and is asked later
    from importlib.metadata import PackageNotFoundError, version

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


def _gpus() -> tuple[list[Device], str]:
    """GPUs that torch reports, fastest kind first, not yet tried; and why there is none, in half a sentence."""
    reason = no_gpu_reason()
    if reason is not None:
        return [], reason
    try:
        import torch
    except (ImportError, OSError) as error:
        return [], f"PyTorch cannot be loaded ({error})"
    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found.append(Device(f"cuda:{index}", properties.name, properties.total_memory / 1e9))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU"))
    return found, "PyTorch finds no GPU"


def list_devices() -> list[Device]:
    """Every device that passes its trial, GPUs first, the CPU last."""
    return [device for device in _gpus()[0] if trial_failure(device.name) is None] + [cpu()]


def cpu() -> Device:
    threads = computing_threads()
    return Device("cpu", f"CPU, {counted(threads, 'thread')}")


def choose_device(request: str) -> DeviceChoice:
    """The device for ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.

    Raises:
        DeviceError: A device that was asked for by name does not exist or fails its trial.
    """
    if request == "cpu":
        return DeviceChoice(cpu(), "CPU, as asked for.")
    found, why_cpu = _gpus()
    wanted = "cuda:0" if request == "cuda" else request
    tried = [device for device in found if wanted in ("auto", device.name)]
    if not tried and wanted != "auto":
        there = ", ".join(device.name for device in [*found, cpu()])
        raise DeviceError(f"There is no device {request!r} here; this machine has {there}. Use one of these, or auto.")
    failures = []
    for device in tried:
        failure = trial_failure(device.name)
        if failure is None:
            why = "as asked for" if wanted == device.name else "the fastest device that passed its test"
            return DeviceChoice(device, f"{device.label}, {why}.")
        if wanted == device.name:
            raise DeviceError(f"The device {wanted} ({device.label}) does not work: {failure}. Use --device cpu.")
        failures.append(f"{device.label} failed its test ({failure})")
    return DeviceChoice(cpu(), f"CPU, since {'; '.join(failures) or why_cpu}.")
