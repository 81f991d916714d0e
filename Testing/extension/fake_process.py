"""A stand-in for the engine's process, so that the panel's and the tasks' logic is tested in milliseconds.

It speaks the real protocol, with real files in a real folder; what it computes is nearest-neighbour interpolation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cycleinr import Cancelled
from cycleinr.result import Progress
from cycleinr.worker.protocol import (
    PrepareRequest,
    UpsampleRequest,
    event_message,
    format_line,
    parse_line,
    parse_request,
)

PROVENANCE = {
    "derived": "Derived by CycleINR, not acquired. Not for primary diagnosis.",
    "software": "CycleINR",
    "version": "0",
    "model": "nearest",
    "ratio": "2",
    "spacing_mm": "1.6",
    "slice_profile": "box",
}


class FakeProcess:
    """A ``QProcess`` that a test drives; the engine may start it again and again.

    Attributes:
        requests: (number, request) of each request that has not ended.
        answersAtOnce: Whether each request is done in the next turn of the event loop.
        heedsCancel: Whether cancelling ends a request.
        cannotStart: Why the process cannot start; empty where it can.
    """

    def __init__(self):
        from CycleINRSlicerLib.callbacks import OneShot

        self.requests, self.starts, self.folder = [], 0, None
        self.answersAtOnce, self.heedsCancel, self.cannotStart = True, True, ""
        self._slots, self._output, self._lastWords = {}, b"", b""
        self._answer = OneShot(0, self._finishOldest)

    # -- what the engine calls
    def connect(self, signal, slot):
        self._slots[signal.partition("(")[0]] = slot

    def setWorkingDirectory(self, _folder):
        pass

    def start(self, _program, _arguments):
        import qt

        self.starts += 1
        if self.cannotStart:
            self._slots["errorOccurred"](qt.QProcess.FailedToStart)

    def errorString(self):
        return self.cannotStart

    def blockSignals(self, _blocked):
        self.requests.clear()

    def kill(self):
        pass

    def waitForFinished(self, _timeout_ms):
        return True

    def waitForReadyRead(self, _timeout_ms):
        if not self.requests:
            raise AssertionError("nothing will ever come")
        self.finish()

    def readAllStandardOutput(self):
        return self._read("_output")

    def readAllStandardError(self):
        return self._read("_lastWords")

    def write(self, line):
        message = parse_line(line)
        if "folder" in message:
            self.folder = Path(message["folder"])
        elif message["do"] != "cancel":
            self.requests.append(parse_request(message))
            if self.answersAtOnce:
                self._answer.start()
        elif self.heedsCancel:
            self._last(Cancelled("Cancelled."))

    def _read(self, name):
        import qt

        content = getattr(self, name)
        setattr(self, name, b"")
        return qt.QByteArray(content)

    # -- what a test calls
    def die(self, reason):
        """End as a process does that fails, with these last words."""
        import qt

        self._lastWords = reason.encode()
        self._slots["finished"](1, qt.QProcess.NormalExit)

    def say(self, line):
        """Write a line."""
        self._output += line + b"\n"
        self._slots["readyReadStandardOutput"]()

    def tell(self, event, number):
        self.say(format_line(event_message(number, event)).rstrip())

    def progress(self, fraction):
        self.tell(Progress("Computing slices", fraction, 1.0), self.requests[0][0])

    def fail(self, kind, message):
        number, _request = self.requests.pop(0)
        self.say(format_line({"event": "failed", "id": number, "kind": kind, "message": message}).rstrip())

    def finish(self, **changes):
        """Compute the oldest request and tell of it; ``changes`` replace fields of the answer."""
        request = self.requests[0][1]
        if isinstance(request, PrepareRequest):
            device = {"name": "cpu", "label": "CPU", "memory_gb": None}
            values = {"devices": [device], "auto": "cpu", "reason": "It is there.", "torch": "0"}
        else:
            values = self._upsample(request)
        self._last({**values, **changes})

    def _finishOldest(self):
        if self.requests:
            self.finish()
            self._answer.start()

    def _last(self, event):
        if self.requests:
            self.tell(event, self.requests.pop(0)[0])

    def _upsample(self, request: UpsampleRequest):
        volume = np.load(self.folder / request.input.file, mmap_mode="r")
        result = np.repeat(volume, 2, axis=0)[:-1]
        np.save(self.folder / request.output, result)
        affine = np.array(request.input.ijk_to_ras)
        affine[:3, 2] /= 2
        return {
            "shape_kji": list(result.shape),
            "dtype": result.dtype.name,
            "ijk_to_ras": affine.tolist(),
            "provenance": PROVENANCE,
            "seconds": 0.1,
        }
