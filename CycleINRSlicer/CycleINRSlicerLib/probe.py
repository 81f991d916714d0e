"""A trial of the installed packages in a process of its own: importing PyTorch into Slicer itself has crashed it."""

from __future__ import annotations

import json
import subprocess
import time

import qt
import slicer
from slicer.i18n import tr as _

from .engine_process import pythonExecutable

TIMEOUT_S = 180.0
"""The first import after an installation reads gigabytes, which a virus scanner reads too."""

_POLL_S = 0.1
_MARK = "CycleINR-probe "
_PROGRAM = f"""
import json
failure = None
try:
    import numpy
    import torch
    import safetensors.torch
    image = torch.from_numpy(numpy.ones((1, 1, 3, 3), numpy.float32))
    value = float(torch.nn.functional.conv2d(image, torch.ones(1, 1, 3, 3)).numpy().sum())
    failure = None if value == 9 else "a test convolution gave %r instead of 9" % value
except Exception as error:
    failure = "%s: %s" % (type(error).__name__, (str(error).splitlines() or [""])[0])
print({_MARK!r} + json.dumps(failure))
"""


def run(timeout_s: float = TIMEOUT_S) -> str | None:
    """Import and use what the engine needs, in Slicer's Python. None if it works, else the reason in one line.

    Slicer's windows are redrawn meanwhile but take no input.
    """
    process = slicer.util.launchConsoleProcess([pythonExecutable(), "-c", _PROGRAM], useStartupEnvironment=False)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            output, _nothing = process.communicate(timeout=_POLL_S)
            return _failure(output, process.returncode)
        except subprocess.TimeoutExpired:
            slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)
        if time.monotonic() > deadline:
            process.kill()
            process.communicate()
            return _("no answer within {seconds:.0f} seconds").format(seconds=timeout_s)


def _failure(output: str, code: int) -> str | None:
    for line in output.splitlines():
        if line.startswith(_MARK):
            return json.loads(line[len(_MARK) :])
    last = (output.strip().splitlines() or [_("no output")])[-1]
    return _("the trial ended with code {code}: {last}").format(code=code, last=last)
