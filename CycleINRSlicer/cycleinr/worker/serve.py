"""The worker's side: reads requests, computes one at a time, and ends with the application that started it."""

from __future__ import annotations

import logging
import os
import queue
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .. import __version__
from ..errors import Cancelled, CycleinrError, InputError
from ..inference.options import Progress
from ..memory import keep_freed_memory
from ..threads import wait_politely
from ..volume import Volume
from .protocol import (
    FOLDER_PREFIX,
    PROTOCOL,
    ProtocolError,
    VolumeMessage,
    file_in,
    format_line,
    parse_check,
    parse_export,
    parse_line,
    parse_upsample,
    request_id,
)

_PROGRESS_INTERVAL_S = 0.05
_NICENESS = 5
"""The viewer's own work goes first: its window must stay responsive while all cores compute."""


def main(arguments: list[str] | None = None) -> int:
    """``python -m cycleinr worker FOLDER``: serve until standard input closes. Returns the exit code."""
    arguments = sys.argv[2:] if arguments is None else arguments
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("Usage: python -m cycleinr worker FOLDER, where FOLDER is private and exists.", file=sys.stderr)
        return 2
    keep_freed_memory()
    wait_politely()
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    # Whatever a library prints must not end up among the messages
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    Worker(Path(arguments[0]), sys.stdin.buffer, messages).run()
    return 0


class Worker:
    """Serves requests from ``lines`` with events on ``messages``; volumes lie in ``folder``."""

    def __init__(self, folder: Path, lines: BinaryIO, messages: BinaryIO):
        self._folder, self._lines, self._messages = folder, lines, messages
        self._requests: queue.Queue[dict] = queue.Queue()
        self._write_lock = threading.Lock()
        self._cancelled_ids: set[int] = set()
        self._handlers: dict[str, Callable[[dict], dict]] = {
            "prepare": self._prepare,
            "upsample": self._upsample,
            "check": self._check,
            "export": self._export,
        }

    def run(self) -> None:
        """Never returns: the process ends when the input closes."""
        self._send({"event": "ready", "protocol": PROTOCOL, "version": __version__, "pid": os.getpid()})
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            self._serve(self._requests.get())

    def _read(self) -> None:
        """Its own thread, so that cancelling and the application's end are heard during a computation."""
        for line in self._lines:
            try:
                message = parse_line(line)
            except ProtocolError as error:
                self._send_failed(None, error)
                continue
            if message.get("do") == "cancel":
                self._cancel(request_id(message))
            else:
                self._requests.put(message)
        self._leave()

    def _leave(self) -> None:
        """The application is gone: nobody can want what is being computed, and nobody else removes the folder."""
        if self._folder.name.startswith(FOLDER_PREFIX):
            shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)

    def _cancel(self, number: int | None) -> None:
        if number is not None:
            self._cancelled_ids.add(number)

    def _is_cancelled(self, number: int) -> bool:
        return number in self._cancelled_ids

    def _serve(self, message: dict) -> None:
        number = request_id(message)
        try:
            handler = self._handlers.get(message.get("do")) if isinstance(message.get("do"), str) else None
            if handler is None:
                raise ProtocolError(f"There is no request {message.get('do')!r:.80}.")
            self._send({"event": "done", "id": number, **handler(message)})
        except Cancelled:
            self._send({"event": "cancelled", "id": number})
        except CycleinrError as error:
            self._send_failed(number, error)
        except Exception as error:
            # The traceback goes into the log of the application; the reader gets one sentence
            traceback.print_exc(file=sys.stderr)
            self._send_failed(number, error)
        finally:
            self._cancelled_ids.discard(number)

    def _send_failed(self, number: int | None, error: Exception) -> None:
        self._send({"event": "failed", "id": number, "kind": type(error).__name__, "message": str(error)})

    def _send(self, message: dict) -> None:
        with self._write_lock:
            self._messages.write(format_line(message))

    def _prepare(self, message: dict) -> dict:
        """Load what the first request would wait for, and say which devices there are."""
        import torch

        from ..inference import upsample  # noqa: F401
        from ..inference.devices import choose_device, list_devices

        devices = [{"name": d.name, "label": d.label, "memory_gb": d.memory_gb} for d in list_devices()]
        best = choose_device("auto")
        return {"devices": devices, "auto": best.device.name, "reason": best.reason, "torch": torch.__version__}

    def _upsample(self, message: dict) -> dict:
        request = parse_upsample(message)
        report = _Reporter(self._send, request.id)
        report(Progress("Starting the engine", 0.0))
        volume = load_volume(self._folder, request.input)
        self._stop_if_cancelled(request.id)
        from ..inference.upsample import upsample

        started = time.monotonic()
        result = upsample(volume, request.options, report, lambda: self._is_cancelled(request.id))
        report(Progress("Handing over", 1.0, 0.0))
        np.save(file_in(self._folder, request.output), result.volume.array, allow_pickle=False)
        self._stop_if_cancelled(request.id)
        return {
            "shape_kji": list(result.volume.shape_kji),
            "dtype": result.volume.array.dtype.name,
            "ijk_to_ras": result.volume.ijk_to_ras.tolist(),
            "provenance": result.provenance.to_dict(),
            "seconds": time.monotonic() - started,
        }

    def _check(self, message: dict) -> dict:
        request = parse_check(message)
        report = _Reporter(self._send, request.id)
        report(Progress("Starting the engine", 0.0))
        scan, result = (load_volume(self._folder, each) for each in (request.input, request.result))
        self._stop_if_cancelled(request.id)
        from ..check import check_result, numbers

        check = check_result(scan, result, request.options, report, lambda: self._is_cancelled(request.id))
        report(Progress("Handing over", 1.0, 0.0))
        place = {"shape_kji": None, "ijk_to_ras": None}
        if check.self_check is not None:
            shown = check.expected_error
            np.save(file_in(self._folder, request.output), shown.array, allow_pickle=False)
            place = {"shape_kji": list(shown.shape_kji), "ijk_to_ras": shown.ijk_to_ras.tolist()}
        self._stop_if_cancelled(request.id)
        return {"numbers": numbers(check), **place}

    def _export(self, message: dict) -> dict:
        request = parse_export(message)
        report = _Reporter(self._send, request.id)
        report(Progress("Writing the DICOM series", 0.0))
        result = load_volume(self._folder, request.result)
        self._stop_if_cancelled(request.id)
        from ..dicom_out import write_dicom_series

        sources = [Path(path) for path in request.sources]
        series = write_dicom_series(result, sources, Path(request.folder), request.provenance)
        return {"files": len(series.files), "max_error": series.max_error}

    def _stop_if_cancelled(self, number: int) -> None:
        if self._is_cancelled(number):
            raise Cancelled("Cancelled; nothing was written.")


def load_volume(folder: Path, message: VolumeMessage) -> Volume:
    """The volume of a message; its array is mapped from the file, not copied.

    Raises:
        InputError: The file is missing or is no plain array.
    """
    try:
        array = np.load(file_in(folder, message.file), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"The volume's file {message.file} cannot be read: {error}.") from error
    return Volume(array, np.array(message.ijk_to_ras), message.modality, message.slice_thickness_mm)


class _Reporter:
    """Passes progress on, as often as a reader can see: each new phase, and a fraction every 50 ms."""

    def __init__(self, send: Callable[[dict], None], number: int):
        self._send, self._number = send, number
        self._phase, self._due_s = "", 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.phase == self._phase and now < self._due_s:
            return
        self._phase, self._due_s = progress.phase, now + _PROGRESS_INTERVAL_S
        remaining_s = None if progress.remaining_s is None else round(progress.remaining_s, 2)
        fraction = round(progress.fraction, 4)
        event = {"phase": progress.phase, "fraction": fraction, "remaining_s": remaining_s}
        self._send({"event": "progress", "id": self._number, **event})
