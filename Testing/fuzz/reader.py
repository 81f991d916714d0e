"""The outer side of ``reader_process``: hands files over, and sees crashes and hangs."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 60
_ALLOCATION = ("allocat", "bad_alloc", "not enough memory")


class Reader:
    """One reading process after the other; a new one is started when the last one is gone."""

    def __init__(self, torch: bool = False):
        self._arguments = ["torch"] if torch else []
        self._process: subprocess.Popen | None = None

    def read(self, kind: str, path: Path) -> dict:
        """What happened: "outcome" is read, refused (a CycleinrError), failed (anything else), crashed or hung."""
        process = self._process or self._start()
        process.stdin.write(json.dumps([kind, str(path)]) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], TIMEOUT_S)
        line = process.stdout.readline() if ready else ""
        if not line:
            return {"outcome": "crashed" if ready else "hung", "text": self._end()}
        answer = json.loads(line)
        if answer["outcome"] == "refused" and any(word in answer["text"].lower() for word in _ALLOCATION):
            return {"outcome": "failed", "text": f"tried to allocate: {answer['text']}"}
        return answer

    def close(self) -> None:
        if self._process is not None:
            # It ends with its input
            self._process.stdin.close()
            self._end()

    def _start(self) -> subprocess.Popen:
        command = [sys.executable, str(Path(__file__).with_name("reader_process.py")), *self._arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        return self._process

    def _end(self) -> str:
        """How the process ended."""
        process, self._process = self._process, None
        try:
            code = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        process.stdin.close()
        process.stdout.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
