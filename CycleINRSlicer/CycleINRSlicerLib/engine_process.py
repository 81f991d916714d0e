"""The engine's process seen from Slicer: started once, kept warm, driven by JSON lines, gone with the application."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from cycleinr.worker.protocol import FOLDER_PREFIX, format_line
from slicer.i18n import tr as _

MODULE_FOLDER = Path(__file__).resolve().parents[1]
KEPT_LOG_LINES = 400
SHOWN_LOG_LINES = 3
KILL_WAIT_MS = 2000
LAUNCHER_SAYS_KILLED = "exit abnormally"


class EngineProcess:
    """One ``PythonSlicer -m cycleinr worker`` and the private folder through which volumes travel.

    Args:
        onEvent: Receives each event of the worker as a dict.
        onDied: Receives a sentence on why the process ended, when nobody asked it to.
    """

    def __init__(self, onEvent: Callable[[dict], None], onDied: Callable[[str], None]):
        self._onEvent, self._onDied = onEvent, onDied
        self._process = self._formerProcess = None
        self._buffer = b""
        self._log: deque[str] = deque(maxlen=KEPT_LOG_LINES)
        self.folder: Path | None = None
        self.workerPid = None

    @property
    def isRunning(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Start the process; nothing if it runs. A failure to start arrives through ``onDied``."""
        if self.isRunning:
            return
        self._buffer, self.workerPid = b"", None
        self._log.clear()
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=slicer.app.temporaryPath))
        process = self._process = qt.QProcess()
        process.setWorkingDirectory(str(MODULE_FOLDER))
        # PythonQt calls slots only while somebody holds them
        self._slots = (self._onOutput, self._onErrorOutput, self._onFinished, self._onError)
        process.connect("readyReadStandardOutput()", self._slots[0])
        process.connect("readyReadStandardError()", self._slots[1])
        process.connect("finished(int,QProcess::ExitStatus)", self._slots[2])
        process.connect("errorOccurred(QProcess::ProcessError)", self._slots[3])
        process.start(pythonExecutable(), ["-m", "cycleinr", "worker", str(self.folder)])

    def send(self, message: dict) -> None:
        self._process.write(format_line(message))

    def waitForOutput(self, timeout_ms: int) -> None:
        """Let events arrive without the application's event loop, so that nothing else runs meanwhile."""
        self._process.waitForReadyRead(timeout_ms)

    def stop(self) -> None:
        """Kill the process with all that belongs to it and remove its folder; nothing if none runs."""
        process, self._process = self._process, None
        if process is not None:
            process.blockSignals(True)
            # The launcher ends once its interpreter has, so that nothing holds the folder's files any more
            if not (_killWorker(self.workerPid) and process.waitForFinished(KILL_WAIT_MS)):
                process.kill()
                process.waitForFinished(KILL_WAIT_MS)
            self._formerProcess = process  # it may be in the middle of telling that it ended
        self._removeFolder()

    def _removeFolder(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def _onOutput(self) -> None:
        if self._process is None:
            return
        self._buffer += _bytes(self._process.readAllStandardOutput())
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            if self._process is None:  # an event's receiver may have stopped the process
                return
            self._receive(line)

    def _receive(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            self._log.append(line.decode("utf-8", "replace"))
            return
        if event.get("event") == "ready":
            self.workerPid = event["pid"]
        self._onEvent(event)

    def _onErrorOutput(self) -> None:
        if self._process is not None:
            text = _bytes(self._process.readAllStandardError()).decode("utf-8", "replace")
            self._log.extend(line for line in text.splitlines() if line.strip())

    def _onError(self, _error) -> None:
        """Only a failed start has no ``finished`` after it."""
        if self._process is not None and self._process.state() == qt.QProcess.NotRunning and self.workerPid is None:
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
        logFile = self._writeLog()
        self.workerPid = None
        self.stop()
        details = " " + _("Its last words: {lines}").format(lines=" | ".join(lastLines)) if lastLines else ""
        self._onDied(f"{reason}{details} " + _("The log is in {file}.").format(file=logFile))

    def _writeLog(self) -> Path:
        """One file for the whole session, overwritten by the next failure."""
        path = Path(slicer.app.temporaryPath) / "CycleINR-engine.log"
        path.write_text("\n".join(self._log) + "\n", encoding="utf-8")
        return path


def pythonExecutable() -> str:
    """Slicer's own Python interpreter."""
    name = "PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer"
    return os.path.join(slicer.app.slicerHome, "bin", name)


def _killWorker(pid: int | None) -> bool:
    """Kill the interpreter, which outlives its launcher; whether it was told to end."""
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    except OSError:  # it has ended already; Windows calls that an access denied
        return False
    return True


def _bytes(data) -> bytes:
    """The content of a QByteArray."""
    content = data.data()
    return content if isinstance(content, bytes) else bytes(content, "utf-8")
