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
from pathlib import Path
from typing import Any, BinaryIO

from .. import CycleinrError, PackageError, ProtocolError, __version__
from ..computer import keep_freed_memory, wait_politely
from ..result import Monitor, Progress, throttled
from . import protocol
from .folder import check_plain_file, load_volume, save_array

_PROGRESS_INTERVAL_S = 0.05
_NICENESS = 5
"""The viewer's own work goes first: its window must stay responsive while all cores compute."""


def main() -> int:
    """``python -m cycleinr worker``: serve until standard input closes. Returns the exit code."""
    # As the application reads it, which on Windows is not what a pipe has
    sys.stderr.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        folder = protocol.parse_folder(sys.stdin.buffer.readline(protocol.MAX_LINE_BYTES + 1))
    except ProtocolError as error:
        print(f"cycleinr worker: {error} The first line of standard input names a folder.", file=sys.stderr)
        return error.exit_code
    keep_freed_memory()
    wait_politely()
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    # Whatever a library prints must not end up among the messages
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    Worker(folder, sys.stdin.buffer, messages).run()
    return 0


class Worker:
    """Serves requests from ``lines`` with events on ``messages``; volumes lie in ``folder``."""

    def __init__(self, folder: Path, lines: BinaryIO, messages: BinaryIO):
        self._folder, self._lines, self._messages = folder, lines, messages
        self._requests: queue.Queue[dict] = queue.Queue()
        self._write_lock = threading.Lock()
        self._cancelled_ids: set[int | None] = set()

    def run(self) -> None:
        """Never returns: the process ends when the input closes."""
        self._write({"event": "ready", "protocol": protocol.PROTOCOL, "version": __version__, "pid": os.getpid()})
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            message = self._requests.get()
            answer = self._answer(message)
            self._cancelled_ids.discard(answer["id"])
            self._write(answer)

    def _read(self) -> None:
        """Its own thread, so that cancelling and the application's end are heard during a computation."""
        for line in protocol.lines_of(self._lines):
            try:
                message = protocol.parse_line(line)
            except ProtocolError as error:
                self._write(protocol.event_message(None, error))
                continue
            if message.get("do") == "cancel":
                self._cancelled_ids.add(protocol.request_id(message))
            else:
                self._requests.put(message)
        # The application is gone: nobody can want what is being computed, and nobody else removes the folder
        if self._folder.name.startswith(protocol.FOLDER_PREFIX):
            shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)

    def _answer(self, message: dict) -> dict:
        """Do what a request asks for; gives the message of its last event.

        The caller sends it: in here, an exception's traceback holds the maps of the request's files, and Windows lets
        nobody delete a mapped file.
        """
        number = protocol.request_id(message)
        try:
            _, request = protocol.parse_request(message)
            monitor = self._monitor(number)
            monitor.check()
            return protocol.event_message(number, getattr(self, f"_{request.do}")(request, monitor))
        except ImportError as error:
            text = f"A Python package that the engine needs cannot be loaded: {error}"
            return protocol.event_message(number, PackageError(text))
        except Exception as error:
            if not isinstance(error, CycleinrError):
                # The traceback goes into the log of the application; the reader gets one sentence
                traceback.print_exc(file=sys.stderr)
            return protocol.event_message(number, error)

    def _write(self, message: dict) -> None:
        with self._write_lock:
            self._messages.write(protocol.format_line(message))

    def _prepare(self, _request: protocol.PrepareRequest, _monitor: Monitor) -> dict[str, Any]:
        from ..computer import choose_device, list_devices, torch_version
        from ..inference import upsample  # noqa: F401

        devices = [{"name": d.name, "label": d.label, "memory_gb": d.memory_gb} for d in list_devices()]
        best = choose_device("auto")
        return {"devices": devices, "auto": best.device.name, "reason": best.reason, "torch": torch_version() or ""}

    def _upsample(self, request: protocol.UpsampleRequest, monitor: Monitor) -> dict[str, Any]:
        monitor.tell("Starting the engine", 0.0)
        from ..inference import upsample

        volume = load_volume(self._folder, request.input)
        started = time.monotonic()
        result = upsample(volume, request.options, monitor)
        monitor.tell("Handing over", 1.0, 0.0)
        save_array(self._folder, request.output, result.volume.array)
        return {
            "shape_kji": list(result.volume.shape_kji),
            "dtype": result.volume.array.dtype.name,
            "ijk_to_ras": result.volume.ijk_to_ras.tolist(),
            "provenance": result.provenance.to_dict(),
            "seconds": time.monotonic() - started,
        }

    def _check(self, request: protocol.CheckRequest, monitor: Monitor) -> dict[str, Any]:
        monitor.tell("Starting the engine", 0.0)
        from ..checks.run import check_result, numbers

        scan, result = (load_volume(self._folder, each) for each in (request.input, request.result))
        check = check_result(scan, result, request.options, monitor)
        monitor.tell("Handing over", 1.0, 0.0)
        answer = {"numbers": numbers(check), "shape_kji": None, "ijk_to_ras": None}
        if check.self_check is not None:
            shown = check.expected_error
            save_array(self._folder, request.output, shown.array)
            answer.update(shape_kji=list(shown.shape_kji), ijk_to_ras=shown.ijk_to_ras.tolist())
        return answer

    def _export(self, request: protocol.ExportRequest, monitor: Monitor) -> dict[str, Any]:
        monitor.tell("Writing the DICOM series", 0.0)
        result = load_volume(self._folder, request.result)
        listed = self._folder / request.sources
        check_plain_file(listed)
        sources = protocol.read_sources(listed)
        monitor.check()
        from ..dicom_out import write_dicom_series

        series = write_dicom_series(result, sources, Path(request.folder), request.provenance)
        return {"files": len(series.files), "max_error": series.max_error}

    def _monitor(self, number: int | None) -> Monitor:
        """Tells the caller of a request as often as a reader can see."""

        def send(progress: Progress) -> None:
            remaining_s = None if progress.remaining_s is None else round(progress.remaining_s, 2)
            told = Progress(progress.phase, round(progress.fraction, 4), remaining_s)
            self._write(protocol.event_message(number, told))

        return Monitor(throttled(send, _PROGRESS_INTERVAL_S), lambda: number in self._cancelled_ids)
