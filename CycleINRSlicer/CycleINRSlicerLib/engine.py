"""The one engine of the application: panel and scripts share its warm process and take turns in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import slicer

from .engine_process import EngineProcess

Listener = Callable[[dict], None]
"""Receives the events of one request; ``{"event": "died", "message": ...}`` where the process ended instead."""

_FINAL_EVENTS = ("done", "failed", "cancelled")
_shared = None


class Engine:
    """Hands requests to the process, and each of its events to whoever asked.

    Attributes:
        devices: What the process said about devices (see ``cycleinr.worker.serve``); None before it was asked.
        lastDeath: Why the process ended the last time that nobody asked it to.
    """

    def __init__(self):
        self._process = EngineProcess(self._onEvent, self._onDied)
        self._listeners: dict[int, Listener] = {}
        self._lastId = 0
        self.devices: dict | None = None
        self.lastDeath = ""

    @property
    def folder(self) -> Path:
        """Where volumes for the process belong; exists while it runs."""
        return self._process.folder

    @property
    def isRunning(self) -> bool:
        return self._process.isRunning

    @property
    def workerPid(self) -> int | None:
        return self._process.workerPid

    def start(self) -> None:
        self._process.start()

    def prepare(self, onPrepared: Callable[[], None]) -> None:
        """Warm the process up and ask for its devices; ``onPrepared`` is called when ``devices`` is there."""

        def listen(event: dict) -> None:
            if event["event"] == "done":
                self.devices = event
                onPrepared()

        self.start()
        self._submit({"do": "prepare"}, listen)

    def submit(self, message: dict, listener: Listener) -> int:
        """Send a request and return its id; ``listener`` hears of it until it is done, failed, cancelled or died."""
        self.start()
        return self._submit(message, listener)

    def _submit(self, message: dict, listener: Listener) -> int:
        number = self._lastId = self._lastId + 1
        self._listeners[number] = listener
        self._process.send({**message, "id": number})
        return number

    def cancel(self, number: int) -> None:
        """Ask the process to give a request up; its listener hears ``cancelled``."""
        if self.isRunning:
            self._process.send({"do": "cancel", "id": number})

    def waitForOutput(self, timeout_ms: int) -> None:
        """See ``EngineProcess.waitForOutput``."""
        if self.isRunning:
            self._process.waitForOutput(timeout_ms)

    def stop(self) -> None:
        """Kill the process; listeners of unfinished requests hear ``died``."""
        self._process.stop()
        self._tellAll({"event": "died", "message": "The engine was stopped."})

    def _onEvent(self, event: dict) -> None:
        listener = self._listeners.get(event.get("id"))
        if listener is None:
            return
        if event["event"] in _FINAL_EVENTS:
            del self._listeners[event["id"]]
        listener(event)

    def _onDied(self, reason: str) -> None:
        self.lastDeath = reason
        self._tellAll({"event": "died", "message": reason})

    def _tellAll(self, event: dict) -> None:
        listeners, self._listeners = self._listeners, {}
        for listener in listeners.values():
            listener(event)


def sharedEngine() -> Engine:
    """The application's engine; its process starts with the first request and ends with the application."""
    global _shared
    if _shared is None:
        _shared = Engine()
        slicer.app.connect("aboutToQuit()", _shared.stop)
    return _shared
