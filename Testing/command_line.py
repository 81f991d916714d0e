"""The command line in a process of its own, as its users start it."""

from __future__ import annotations

import os
import subprocess
import sys

from places import REPOSITORY

COMMAND = [sys.executable, "-m", "cycleinr"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "CycleINRSlicer"), "COLUMNS": "100"}


def cycleinr(*arguments, environment: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess:
    """Run a command to its end; ``environment`` is added to ours, ``options`` are those of ``subprocess.run``."""
    environment = {**ENVIRONMENT, **(environment or {})}
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, **options)
