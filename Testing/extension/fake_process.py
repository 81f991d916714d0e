"""A stand-in for the engine's process, so that the panel's and the tasks' logic is tested in milliseconds.

It speaks the real protocol, with real files in a real folder; what it computes is nearest-neighbour interpolation.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from cycleinr.worker.protocol import (
    FOLDER_PREFIX,
    CancelledEvent,
    DoneEvent,
    FailedEvent,
    PrepareRequest,
    ProgressEvent,
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
    """An ``EngineProcess`` that a test drives.

    Attributes:
        requests: (number, request) of each request that has not ended.
        answersAtOnce: Whether each request is done in the next turn of the event loop.
        heedsCancel: Whether cancelling ends a request.
        cannotStart: Why the process cannot start; empty where it can.
        discarded: Files that it was asked to delete.
    """

    def __init__(self, onLine, onDied):
        self._onLine, self._onDied = onLine, onDied
        from CycleINRSlicerLib.callbacks import OneShot

        self.requests, self.discarded = [], []
        self._answer = OneShot(0, self._finishOldest)
        self.answersAtOnce, self.heedsCancel, self.cannotStart = True, True, ""
        self._temporary, self.starts, self.workerPid = None, 0, None

    @property
    def isRunning(self):
        return self._temporary is not None

    @property
    def folder(self):
        return Path(self._temporary.name) if self.isRunning else None

    def start(self):
        if self.isRunning:
            return
        self.starts += 1
        if self.cannotStart:
            self._onDied(self.cannotStart)
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX)

    def stop(self):
        self.requests.clear()
        if self.isRunning:
            temporary, self._temporary = self._temporary, None
            temporary.cleanup()

    def die(self, reason):
        """End as a process does that the system kills."""
        self.stop()
        self._onDied(reason)

    def discard(self, files):
        for path in files:
            self.discarded.append(path)
            path.unlink(missing_ok=True)

    def waitForOutput(self, timeout_ms):
        if not self.requests:
            raise AssertionError("nothing will ever come")
        self.finish()

    def send(self, message):
        message = parse_line(format_line(message))
        if message["do"] == "cancel":
            if self.heedsCancel:
                self._last(CancelledEvent())
            return
        self.requests.append(parse_request(message))
        if self.answersAtOnce:
            self._answer.start()

    def say(self, event, number=None):
        """Tell of the oldest request; a number, or none, may be given in its place."""
        number = self.requests[0][0] if self.requests and number is None else number
        self._onLine(format_line(event_message(number, event)).rstrip())

    def progress(self, fraction):
        self.say(ProgressEvent("Computing slices", fraction, 1.0))

    def fail(self, kind, message):
        self._last(FailedEvent(kind, message))

    def finish(self, **changes):
        """Compute the oldest request and tell of it; ``changes`` replace fields of the answer."""
        request = self.requests[0][1]
        if isinstance(request, PrepareRequest):
            device = {"name": "cpu", "label": "CPU", "memory_gb": None}
            values = {"devices": [device], "auto": "cpu", "reason": "It is there.", "torch": "0"}
        else:
            values = self._upsample(request)
        self._last(DoneEvent({**values, **changes}))

    def _finishOldest(self):
        if self.requests:
            self.finish()
            self._answer.start()

    def _last(self, event):
        if self.requests:
            number = self.requests.pop(0)[0]
            self.say(event, number)

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
