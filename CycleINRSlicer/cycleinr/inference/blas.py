"""NumPy's BLAS held to one thread a caller, while threads of ours compute.

Each of our threads multiplies small matrices; a BLAS that spread every one of them over all cores would have the
threads wait for each other thousands of times a second. threadpoolctl does the same for many more libraries, but
Slicer has none.

OpenBLAS (NumPy's own, on Windows and Linux), MKL and Accelerate from macOS 15 on are held. Before macOS 15 Accelerate
cannot be told, and computes products of this size in the calling thread anyway. A BLAS that is not known keeps its
threads: the usual one, the reference BLAS, has none, and what else a run does is the larger part for a slow BLAS.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

_PREFIXES, _SUFFIXES = ("", "scipy_"), ("", "64_", "_64", "64", "_64_")


@dataclass(frozen=True)
class Library:
    """A BLAS in this process.

    Attributes:
        name: Of its file.
        get, set: Its number of threads.
    """

    name: str
    get: Callable[[], int]
    set: Callable[[int], None]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """One thread a product; as many as before are back when the last of several users is done, however it ends."""
    global _users, _usual
    with _lock:
        if _users == 0:
            found = libraries()
            _usual = [(library, library.get()) for library in found]
            for library in found:
                library.set(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for library, count in _usual:
                    library.set(count)


_lock, _users = threading.Lock(), 0
_usual: list[tuple[Library, int]] = []


def hold() -> None:
    """For a thread that begins while others are held: a BLAS built with OpenMP counts for each of its callers.

    Values beyond all bounds are found in the result; NumPy need not warn of them.
    """
    np.seterr(over="ignore", invalid="ignore")
    for library in libraries():
        library.set(1)


@lru_cache(maxsize=1)
def libraries() -> tuple[Library, ...]:
    """Every BLAS in this process whose threads can be told."""
    found = []
    for path in _loaded_files():
        name = Path(path).name.lower()
        if any(part in name for part in ("openblas", "mkl_rt", "veclib", "libblas")):
            library = _library(path)
            if library is not None:
                found.append(library)
    return tuple(found)


def _library(path: str) -> Library | None:
    try:
        file = ctypes.CDLL(path)
    except OSError:
        return None
    return _openblas(file, path) or _mkl(file, path) or _accelerate(file, path)


def _openblas(file: ctypes.CDLL, path: str) -> Library | None:
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            get = getattr(file, f"{prefix}openblas_get_num_threads{suffix}", None)
            if get is not None:
                return Library(Path(path).name, get, getattr(file, f"{prefix}openblas_set_num_threads{suffix}"))
    return None


def _mkl(file: ctypes.CDLL, path: str) -> Library | None:
    get = getattr(file, "MKL_Get_Max_Threads", None)
    return None if get is None else Library(Path(path).name, get, file.MKL_Set_Num_Threads)


def _accelerate(file: ctypes.CDLL, path: str) -> Library | None:
    """Its mode: 0 for threads of its own, 1 for none."""
    get = getattr(file, "BLASGetThreading", None)
    return None if get is None else Library(Path(path).name, get, file.BLASSetThreading)


def _loaded_files() -> list[str]:
    """Paths of the libraries in this process."""
    if sys.platform == "win32":
        return _loaded_on_windows()
    if sys.platform == "darwin":
        return _loaded_on_macos()
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return sorted({line.split(maxsplit=5)[5] for line in lines if ".so" in line and len(line.split(maxsplit=5)) == 6})


def _loaded_on_macos() -> list[str]:
    system = ctypes.CDLL("/usr/lib/libSystem.dylib")
    system._dyld_get_image_name.restype = ctypes.c_char_p
    names = (system._dyld_get_image_name(n) for n in range(system._dyld_image_count()))
    return [name.decode(errors="surrogateescape") for name in names if name]


def _loaded_on_windows() -> list[str]:
    from ctypes import wintypes

    kernel, size = ctypes.WinDLL("kernel32"), ctypes.sizeof(wintypes.HMODULE)  # type: ignore[attr-defined]  # Windows only
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    kernel.K32EnumProcessModules.argtypes = (wintypes.HANDLE, ctypes.c_void_p, wintypes.DWORD, ctypes.c_void_p)
    kernel.GetModuleFileNameW.argtypes = (wintypes.HMODULE, wintypes.LPWSTR, wintypes.DWORD)
    modules, needed = (wintypes.HMODULE * 4096)(), wintypes.DWORD()
    kernel.K32EnumProcessModules(
        kernel.GetCurrentProcess(), modules, ctypes.sizeof(modules), ctypes.byref(needed)
    )
    buffer, found = ctypes.create_unicode_buffer(32768), []
    for module in modules[: needed.value // size]:
        if kernel.GetModuleFileNameW(module, buffer, len(buffer)):
            found.append(buffer.value)
    return found


_ready = 0


def touch_buffers(callers: int) -> None:
    """Have OpenBLAS touch all of the memory in which it sorts matrices, for as many callers at a time.

    It takes that memory once and then never uses more of it than its products need. Products of short rows prefetch
    beyond that, into pages that do not exist; each attempt costs a walk through the page tables, and such products
    take 1.6 times as long until a larger one has touched those pages.
    """
    global _ready
    with _lock:
        if callers <= _ready:
            return
        _ready = callers
    square, together = np.zeros((512, 512), np.float32), threading.Barrier(callers)

    def touch() -> None:
        with suppress(threading.BrokenBarrierError):
            together.wait()
            np.matmul(square, square)

    threads = [threading.Thread(target=touch, name="cycleinr-touch") for _ in range(callers)]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError as error:
        # There is no room for another thread's stack; those that wait must not wait for it
        together.abort()
        raise MemoryError(str(error)) from error
    for thread in threads:
        thread.join()
