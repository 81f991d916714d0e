"""The engine: a process that is started once, kept warm, driven by JSON lines, and gone with the application. Panel and
scripts share it and take turns in it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from cycleinr import CycleinrError, ProtocolError
from cycleinr.result import Progress
from cycleinr.worker.folder import PrivateFolder
from cycleinr.worker.protocol import (
    Event,
    PrepareRequest,
    Request,
    format_line,
    parse_event,
    parse_line,
    request_id,
)
from slicer.i18n import tr as _

from .callbacks import OneShot

IDLE_MS = 10 * 60 * 1000
"""An engine that nobody has used for so long ends, and with it what PyTorch and the graphics card hold for it."""

MODULE_FOLDER = Path(__file__).resolve().parents[1]
KEPT_LOG_LINES = 400
SHOWN_LOG_LINES = 3
KILL_WAIT_MS = 2000
LAUNCHER_SAYS_KILLED = "exit abnormally"

_shared = None


class EngineProcessError(CycleinrError):
    """The engine's process did not start, died, or answered what nobody can understand."""


Listener = Callable[[Event], None]
"""Receives the events of one request; the last is its answer or an error, also when the process dies."""


class Engine:
    """One ``PythonSlicer -m cycleinr worker``, and who waits for which of its answers.

    Args:
        newProcess: Makes the ``QProcess``, or a stand-in of a test.

    Attributes:
        folder: The ``PrivateFolder`` of files for the process; its path is None while none runs.
        workerPid: Of the process that runs, or ran last; None until it has said it.
        devices: The answer on this computer's devices; None before the process was asked.
        lastDeath: Why the process ended the last time.
    """

    def __init__(self, newProcess: Callable = qt.QProcess):
        self._newProcess = newProcess
        self._process = self._formerProcess = None
        self._buffer = b""
        self._log: deque[str] = deque(maxlen=KEPT_LOG_LINES)
        self._listeners: dict[int, Listener] = {}
        self._lastId = 0
        self._idle = OneShot(IDLE_MS, self._stopIfIdle)
        self.folder = PrivateFolder()
        self.workerPid: int | None = None
        self.devices: dict | None = None
        self.lastDeath = ""

    # -- requests
    @property
    def isRunning(self) -> bool:
        return self._process is not None

    def prepare(self, onPrepared: Callable[[], None]) -> None:
        """Warm the process up and ask for its devices; ``onPrepared`` is called when ``devices`` is there."""

        def listen(event: Event) -> None:
            if isinstance(event, dict):
                self.devices = event
                onPrepared()

        self.submit(PrepareRequest(), listen)

    def submit(self, request: Request, listener: Listener) -> int:
        """Send a request and return its id; ``listener`` hears of it until its last event."""
        self.start()
        number = self._lastId = self._lastId + 1
        if self.isRunning:
            self._send(request.to_message(number))
            self._listeners[number] = listener
        else:
            listener(EngineProcessError(self.lastDeath))
        return number

    def cancel(self, number: int) -> None:
        """Ask the process to give a request up; its listener hears how it ended."""
        if self.isRunning:
            self._send({"do": "cancel", "id": number})

    def waitForOutput(self, timeout_ms: int) -> None:
        """Let events arrive without the application's event loop, so that nothing else runs meanwhile."""
        if self.isRunning:
            self._process.waitForReadyRead(timeout_ms)

    def _send(self, message: dict) -> None:
        self._process.write(format_line(message))

    def _tell(self, number: int | None, event: Event) -> None:
        listener = self._listeners.get(number)
        if not isinstance(event, Progress):
            self._listeners.pop(number, None)
            if self.isRunning:
                self._idle.start()
        if listener is not None:
            listener(event)

    def _tellAll(self, event: Event) -> None:
        for number in list(self._listeners):
            self._tell(number, event)

    # -- the process
    def start(self) -> None:
        """Start the process; nothing if it runs. Whether it does then, ``isRunning`` tells."""
        if self.isRunning:
            return
        self._buffer, self.workerPid = b"", None
        self._log.clear()
        folder = self.folder.make(Path(slicer.app.temporaryPath))
        process = self._process = self._newProcess()
        process.setWorkingDirectory(str(MODULE_FOLDER))
        process.connect("readyReadStandardOutput()", self._onOutput)
        process.connect("readyReadStandardError()", self._onErrorOutput)
        process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._onError)
        process.start(pythonExecutable(), ["-m", "cycleinr", "worker"])
        if self.isRunning:  # Windows tells of a failure inside start()
            # Not as an argument, which the launcher of Slicer 5.10 on Windows garbles unless it is ASCII
            self._send({"folder": str(folder)})
            self._idle.start()

    def stop(self, reason: str = "") -> None:
        """End the process and remove its folder; who waits for an answer hears that it died. Never raises."""
        process, self._process = self._process, None
        if process is not None:
            process.blockSignals(True)
            # The launcher ends once its interpreter has, so that nothing holds the folder's files any more
            if not (_killWorker(self.workerPid) and process.waitForFinished(KILL_WAIT_MS)):
                process.kill()
                process.waitForFinished(KILL_WAIT_MS)
            self._formerProcess = process  # it may be in the middle of telling that it ended
        self._idle.stop()
        self.folder.remove()
        self.lastDeath = reason or _("The engine was stopped.")
        self._tellAll(EngineProcessError(self.lastDeath))

    def _stopIfIdle(self) -> None:
        if self._listeners:
            self._idle.start()
        else:
            self.stop()

    def _onOutput(self) -> None:
        if self._process is None:
            return
        *lines, self._buffer = (self._buffer + self._process.readAllStandardOutput().data()).split(b"\n")
        for line in lines:
            try:
                self._receive(line)
            except ProtocolError:
                self._log.append(line.decode("utf-8", "replace"))

    def _receive(self, line: bytes) -> None:
        message = parse_line(line)
        if message.get("event") == "ready":
            self.workerPid = message["pid"]
            return
        event, number = parse_event(message), request_id(message)
        if number is None and isinstance(event, CycleinrError):
            self._tellAll(event)  # it could not read a line, so no one knows whose request is lost
        else:
            self._tell(number, event)

    def _onErrorOutput(self) -> None:
        if self._process is not None:
            text = self._process.readAllStandardError().data().decode("utf-8", "replace")
            self._log.extend(line for line in text.splitlines() if line.strip())

    def _onError(self, error) -> None:
        """Only a failed start has no ``finished`` after it."""
        if self._process is not None and error == qt.QProcess.FailedToStart:
            self._died(_("The engine could not be started: {reason}.").format(reason=self._process.errorString()))

    def _onFinished(self, exitCode, exitStatus) -> None:
        if self._process is None:
            return
        self._onErrorOutput()
        # PythonSlicer is a parent process, which itself ends normally when the system kills the interpreter
        killed = any(LAUNCHER_SAYS_KILLED in line for line in self._log)
        if killed or exitStatus == qt.QProcess.CrashExit or exitCode < 0 or exitCode > 128:
            reason = _("The system stopped the engine, most likely because memory ran out.")
            remedy = _("Close other programs, set a lower memory limit under Advanced, or ask for fewer slices.")
            self._died(f"{reason} {remedy}")
        else:
            self._died(_("The engine ended unexpectedly (exit code {code}).").format(code=exitCode))

    def _died(self, reason: str) -> None:
        lastLines = [line for line in self._log if not line.startswith(("INFO", "  "))][-SHOWN_LOG_LINES:]
        if lastLines:
            reason += " " + _("Its last words: {lines}").format(lines=" | ".join(lastLines))
        # One file for the whole session, overwritten by the next failure
        path = Path(slicer.app.temporaryPath) / "CycleINR-engine.log"
        try:
            path.write_text("\n".join(self._log) + "\n", encoding="utf-8")
            reason += " " + _("The log is in {file}.").format(file=path)
        except OSError:  # a full disk may be why the engine died, and must not hide that it did
            pass
        self.stop(reason)


def pythonExecutable() -> str:
    """Slicer's own Python interpreter, which Slicer puts on its PATH, in a build as in an installation."""
    return shutil.which("PythonSlicer") or "PythonSlicer"  # which cannot be started, and that is told


def _killWorker(pid: int | None) -> bool:
    """Kill the interpreter, which outlives its launcher; whether it was told to end."""
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    except OSError:  # it has ended already; Windows calls that an access denied
        return False
    return True


def sharedEngine() -> Engine:
    """The application's engine; its process starts with the first request and ends with the application."""
    global _shared
    if _shared is None:
        _shared = Engine()
        slicer.app.connect("aboutToQuit()", _shared.stop)
    return _shared
