"""The engine's process seen from Slicer: started once, kept warm, driven by JSON lines, gone with the application."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import qt
import slicer
from cycleinr.errors import ProtocolError
from cycleinr.worker.folder import PrivateFolder
from cycleinr.worker.protocol import format_line, parse_line
from slicer.i18n import tr as _

MODULE_FOLDER = Path(__file__).resolve().parents[1]
KEPT_LOG_LINES = 400
SHOWN_LOG_LINES = 3
KILL_WAIT_MS = 2000
LAUNCHER_SAYS_KILLED = "exit abnormally"


class EngineProcess:
    """One ``PythonSlicer -m cycleinr worker`` and its private folder.

    Args:
        onLine: Receives each line that the worker writes; raises ``ProtocolError`` for one that is no message.
        onDied: Receives a sentence on why the process ended, when nobody asked it to. Both may be called from within
            ``start``, ``waitForOutput`` or the event loop.

    Attributes:
        workerPid: None until the process has said it.
    """

    def __init__(self, onLine: Callable[[bytes], None], onDied: Callable[[str], None]):
        self._onLine, self._onDied = onLine, onDied
        self._process = self._formerProcess = None
        self._buffer = b""
        self._log: deque[str] = deque(maxlen=KEPT_LOG_LINES)
        self._folder = PrivateFolder()
        self.workerPid: int | None = None

    @property
    def isRunning(self) -> bool:
        return self._process is not None

    @property
    def folder(self) -> Path | None:
        """Where files for the process belong; None while it does not run."""
        return self._folder.path

    def start(self) -> None:
        """Start the process; nothing if it runs. One that cannot start tells of its end."""
        if self.isRunning:
            return
        self._buffer, self.workerPid = b"", None
        self._log.clear()
        folder = self._folder.make(Path(slicer.app.temporaryPath))
        process = self._process = qt.QProcess()
        process.setWorkingDirectory(str(MODULE_FOLDER))
        process.connect("readyReadStandardOutput()", self._onOutput)
        process.connect("readyReadStandardError()", self._onErrorOutput)
        process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._onError)
        process.start(pythonExecutable(), ["-m", "cycleinr", "worker"])
        # Not as an argument, which the launcher of Slicer 5.10 on Windows garbles unless it is ASCII
        if self.isRunning:  # Windows tells of a failure inside start()
            self.send({"folder": str(folder)})

    def send(self, message: dict) -> None:
        self._process.write(format_line(message))

    def waitForOutput(self, timeout_ms: int) -> None:
        """Let lines arrive without the application's event loop, so that nothing else runs meanwhile."""
        if self.isRunning:
            self._process.waitForReadyRead(timeout_ms)

    def discard(self, files: Iterable[Path]) -> None:
        """Delete files of its folder, now or as soon as nobody has them in use. Never raises."""
        self._folder.discard(files)

    def stop(self) -> None:
        """End the process and remove its folder; nothing if none runs. Never raises."""
        process, self._process = self._process, None
        if process is not None:
            process.blockSignals(True)
            # The launcher ends once its interpreter has, so that nothing holds the folder's files any more
            if not (_killWorker(self.workerPid) and process.waitForFinished(KILL_WAIT_MS)):
                process.kill()
                process.waitForFinished(KILL_WAIT_MS)
            self._formerProcess = process  # it may be in the middle of telling that it ended
        self.workerPid = None
        self._folder.remove()

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
            if self.workerPid is None and (message := parse_line(line)).get("event") == "ready":
                self.workerPid = message["pid"]
            else:
                self._onLine(line)
        except ProtocolError:
            self._log.append(line.decode("utf-8", "replace"))

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
        details = " " + _("Its last words: {lines}").format(lines=" | ".join(lastLines)) if lastLines else ""
        whereLog = self._writeLog()
        self.stop()
        self._onDied(f"{reason}{details}{whereLog}")

    def _writeLog(self) -> str:
        """One file for the whole session, overwritten by the next failure; says where it is."""
        path = Path(slicer.app.temporaryPath) / "CycleINR-engine.log"
        try:
            path.write_text("\n".join(self._log) + "\n", encoding="utf-8")
        except OSError:  # a full disk may be why the engine died, and must not hide that it did
            return ""
        return " " + _("The log is in {file}.").format(file=path)


def pythonExecutable() -> str:
    """Slicer's own Python interpreter, which Slicer puts on its PATH; a build has it elsewhere than an installation."""
    name = "PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer"
    return shutil.which("PythonSlicer") or os.path.join(slicer.app.slicerHome, "bin", name)


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
