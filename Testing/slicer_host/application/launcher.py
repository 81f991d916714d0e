"""``PythonSlicer`` as Slicer installs it: CTK's launcher, a parent process of the interpreter.

It forwards standard input, output and error, hands an exit code on, and turns an interpreter that a signal ended into a
sentence on standard error and exit code 1. A launcher that is killed leaves its interpreter behind.
"""

import sys

CURRENT, WINDOWS_OF_5_10 = "0.1.34", "0.1.33"
"""Launchers of Slicer 5.12, and of 5.10 on Windows, whose console launcher garbles arguments that are no ASCII."""

_TEXT = """\
#!{python} -IS
import os
import sys

arguments = sys.argv[1:]
if {garbles}:
    arguments = [argument.encode("ascii", "replace").decode() for argument in arguments]
child = os.posix_spawn({python!r}, [{python!r}, *arguments], os.environ)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
if code < 0:
    print("[{python}] exit abnormally - Report the problem.", file=sys.stderr, flush=True)
os._exit(1 if code < 0 else code)
"""


def write(path, version=CURRENT):
    """Write the launcher of that version to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_TEXT.format(python=sys.executable, garbles=version == WINDOWS_OF_5_10), encoding="utf-8")
    path.chmod(0o755)
