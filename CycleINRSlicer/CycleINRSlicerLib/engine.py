"""The one engine of the application: panel and scripts share its warm process and take turns in it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import slicer
from cycleinr.errors import CycleinrError
from cycleinr.worker.protocol import (
    CancelledEvent,
    DoneEvent,
    Event,
    FailedEvent,
    PrepareRequest,
    Request,
    parse_event,
    parse_line,
    request_id,
)
from slicer.i18n import tr as _

from .callbacks import OneShot

if TYPE_CHECKING:
    from .engine_process import EngineProcess

IDLE_MS = 10 * 60 * 1000
"""An engine that nobody has used for so long ends, and with it what PyTorch and the graphics card hold for it."""

_shared = None


class EngineProcessError(CycleinrError):
    """The engine's process did not start, died, or answered what nobody can understand."""


@dataclass(frozen=True)
class DiedEvent:
    """The process ended before the request did; ``reason`` is for people."""

    reason: str


Listener = Callable[["Event | DiedEvent"], None]
"""Receives the events of one request, of which the last is done, failed, cancelled or died."""

_LAST = (DoneEvent, FailedEvent, CancelledEvent, DiedEvent)


class Engine:
    """Hands requests to the process, and each of its events to whoever asked.

    Args:
        connect: Makes the ``EngineProcess``, or a stand-in of a test.

    Attributes:
        process: The ``EngineProcess``.
        devices: The answer on this computer's devices; None before the process was asked.
        lastDeath: Why the process ended the last time.
    """

    def __init__(self, connect: Callable[[Callable[[bytes], None], Callable[[str], None]], EngineProcess]):
        self.process = connect(self._onLine, self._onDied)
        self._listeners: dict[int, Listener] = {}
        self._lastId = 0
        self._idle = OneShot(IDLE_MS, self._endIfIdle)
        self.devices: dict | None = None
        self.lastDeath = ""

    def start(self) -> None:
        """Start the process; nothing if it runs. Whether it does then, ``process.isRunning`` tells."""
        self.process.start()
        self._restUntilUsed()

    def prepare(self, onPrepared: Callable[[], None]) -> None:
        """Warm the process up and ask for its devices; ``onPrepared`` is called when ``devices`` is there."""

        def listen(event: Event | DiedEvent) -> None:
            if isinstance(event, DoneEvent):
                self.devices = event.answer
                onPrepared()

        self.submit(PrepareRequest(), listen)

    def submit(self, request: Request, listener: Listener) -> int:
        """Send a request and return its id; ``listener`` hears of it until its last event."""
        number = self._lastId = self._lastId + 1
        self.start()
        if not self.process.isRunning:
            listener(DiedEvent(self.lastDeath))
            return number
        self._listeners[number] = listener
        self.process.send(request.to_message(number))
        return number

    def cancel(self, number: int) -> None:
        """Ask the process to give a request up; its listener hears how it ended."""
        if self.process.isRunning:
            self.process.send({"do": "cancel", "id": number})

    def stop(self) -> None:
        """End the process; listeners of unfinished requests hear that it died."""
        self.process.stop()
        self._idle.stop()
        self._onDied(_("The engine was stopped."))

    def _onLine(self, line: bytes) -> None:
        """One line of the process.

        Raises:
            ProtocolError: Nobody can understand it; it goes into the log.
        """
        message = parse_line(line)
        event, number = parse_event(message), request_id(message)
        if number is None and isinstance(event, FailedEvent):
            self._tellAll(event)  # it could not read a line, so no one knows whose request is lost
        else:
            self._tell(number, event)

    def _tell(self, number: int | None, event: Event | DiedEvent) -> None:
        listener = self._listeners.get(number)
        if isinstance(event, _LAST):
            self._listeners.pop(number, None)
            self._restUntilUsed()
        if listener is None:
            return
        try:
            listener(event)
        except Exception:  # as with an exception in a slot: reported, and the others are told all the same
            sys.excepthook(*sys.exc_info())

    def _tellAll(self, event: Event | DiedEvent) -> None:
        for number in list(self._listeners):
            self._tell(number, event)

    def _onDied(self, reason: str) -> None:
        self.lastDeath = reason
        self._tellAll(DiedEvent(reason))

    def _restUntilUsed(self) -> None:
        """The process ends when nobody has used it for some time; the next request starts another."""
        if self.process.isRunning:
            self._idle.start()
        else:
            self._idle.stop()

    def _endIfIdle(self) -> None:
        if self._listeners:
            self._idle.start()
        else:
            self.process.stop()


def sharedEngine() -> Engine:
    """The application's engine; its process starts with the first request and ends with the application."""
    global _shared
    if _shared is None:
        from .engine_process import EngineProcess

        _shared = Engine(EngineProcess)
        slicer.app.connect("aboutToQuit()", _shared.stop)
    return _shared
