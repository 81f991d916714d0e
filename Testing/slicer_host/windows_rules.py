"""What Windows refuses, on Linux: a file that any process has open or mapped is neither deleted, renamed nor
replaced, and a folder with such a file, or that a process works in, is not renamed.

``install()`` patches this process; a process that starts with ``SITE_FOLDER`` on its PYTHONPATH patches itself. Only
paths below ``roots`` are looked at, and what a process holds is read from /proc, so it needs Linux.
"""

import contextlib
import errno
import os
from pathlib import Path

ROOTS_VARIABLE = "SLICER_HOST_WINDOWS_ROOTS"
SITE_FOLDER = Path(__file__).with_name("windows_site")
ERROR_SHARING_VIOLATION = 32
_PATCHED = ("unlink", "remove", "rename", "replace", "kill")


def holders(path):
    """Process ids that hold ``path``, or something in it, open or mapped, or work in it."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _holds(f"/proc/{entry}", str(path))]


def _holds(process, path):
    inside = path + os.sep
    try:
        links = [os.readlink(f"{process}/cwd")]
        links += [_link(f"{process}/fd/{number}") for number in os.listdir(f"{process}/fd")]
        with open(f"{process}/maps", encoding="utf-8", errors="surrogateescape") as file:
            maps = file.read()
    except OSError:  # it has ended, or is not ours
        return False
    if any(link == path or link.startswith(inside) for link in links):
        return True
    return path in maps and any(
        name == path or name.startswith(inside) for name in (line[73:] for line in maps.splitlines())
    )


def _link(path):
    try:
        return os.readlink(path)
    except OSError:  # closed meanwhile
        return ""


class _Rules:
    def __init__(self, roots):
        self._roots = tuple(os.path.realpath(root) + os.sep for root in roots)
        self._originals = {name: getattr(os, name) for name in _PATCHED}

    def install(self):
        for name in ("unlink", "remove", "rename", "replace"):
            setattr(os, name, self._checked(name))
        os.kill = self._kill

    def uninstall(self):
        for name, original in self._originals.items():
            setattr(os, name, original)

    def _checked(self, name):
        original = self._originals[name]

        def checked(path, *arguments, dir_fd=None, **named):
            self._check(path if dir_fd is None else os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path))
            if dir_fd is not None:
                named["dir_fd"] = dir_fd
            for target in arguments[:1]:
                self._check(target)
            return original(path, *arguments, **named)

        return checked

    def _check(self, path):
        path = os.fsdecode(path)
        full = os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))
        if full.startswith(self._roots) and os.path.lexists(full) and holders(full):
            raise PermissionError(errno.EACCES, f"[WinError {ERROR_SHARING_VIOLATION}] in use by a process", path)

    def _kill(self, pid, number):
        """TerminateProcess: refused for a process that has ended, and nothing waits for it to be gone."""
        try:
            self._originals["kill"](pid, number)
        except ProcessLookupError:
            raise PermissionError(errno.EACCES, "[WinError 5] Access is denied") from None


def install_from_environment():
    """In a process that the application started."""
    roots = os.environ.get(ROOTS_VARIABLE)
    if roots:
        _Rules(roots.split(os.pathsep)).install()


@contextlib.contextmanager
def windows_rules(*roots):
    """Within this context Windows' rules hold below ``roots``, here and in processes that are started meanwhile."""
    rules = _Rules(roots)
    before = {name: os.environ.get(name) for name in (ROOTS_VARIABLE, "PYTHONPATH")}
    os.environ[ROOTS_VARIABLE] = os.pathsep.join(map(str, roots))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(SITE_FOLDER), before["PYTHONPATH"])))
    rules.install()
    try:
        yield
    finally:
        rules.uninstall()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
