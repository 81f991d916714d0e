"""``object.connect("signal(types)", slot)`` and its ``disconnect``; an unknown signature fails."""

import contextlib
import inspect
import re
import types

from PySide6 import QtCore


def _normalized(signature):
    """Qt's spelling of a signature; MRML pointers travel as Python objects."""
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
    return re.sub(r"vtk\w+\*", "PyObject", normalized)


def _positional_limit(slot):
    """How many arguments ``slot`` takes; None for any number, and for all but functions and methods, as in PythonQt."""
    function = getattr(slot, "__func__", slot)
    if not isinstance(function, types.FunctionType) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - (function is not slot)


def _trimmed(slot, count):
    """Call ``slot`` with as many of a signal's ``count`` arguments as it takes, as PythonQt does.

    The result takes exactly ``count`` arguments: PySide6 chooses among a signal's overloads by that number.
    """
    limit = _positional_limit(slot)
    targets = (
        lambda: slot(),
        lambda first: slot(*(first,)[:limit]),
        lambda first, second: slot(*(first, second)[:limit]),
        lambda first, second, third: slot(*(first, second, third)[:limit]),
    )
    return targets[count]


def connect(sender, signature, slot, *_connection_type):
    """Connect a signal given by its C++ signature."""
    normalized = _normalized(signature)
    if sender.metaObject().indexOfSignal(normalized) < 0:
        raise ValueError(f"{type(sender).__name__} has no signal {signature!r}")
    if not callable(slot):
        raise TypeError(f"{slot!r} is no slot: only Python callables are connected")
    name, arguments = normalized.rstrip(")").split("(")
    target = _trimmed(slot, len(arguments.split(",")) if arguments else 0)
    sender.__dict__.setdefault("_host_connections", []).append((normalized, slot, target))
    getattr(sender, name).connect(target)
    return True


def disconnect(sender, signature, slot=None):
    """Undo ``connect``; false when nothing was connected."""
    normalized = _normalized(signature)
    connections = sender.__dict__.get("_host_connections", [])
    matching = [entry for entry in connections if entry[0] == normalized and (slot is None or entry[1] == slot)]
    for entry in matching:
        getattr(sender, normalized.split("(")[0]).disconnect(entry[2])
        connections.remove(entry)
    return bool(matching)


def _add_methods(native_class):
    """PySide6 resolves ``connect`` before it looks into the class, so look it up first."""
    original = native_class.__getattribute__

    def getattribute(instance, name):
        if name == "connect":
            return types.MethodType(connect, instance)
        if name == "disconnect":
            return types.MethodType(disconnect, instance)
        return original(instance, name)

    native_class.__getattribute__ = getattribute


SINGLE_SHOTS = []
"""Timers that ``single_shot`` made; nothing in Slicer ever deletes them."""


def single_shot(msec, slot):
    """``QTimer.singleShot`` as Slicer replaces it: a timer of the module manager that never lets go of the callable."""
    import slicer

    timer = QtCore.QTimer(slicer.app.moduleManager())
    timer.setSingleShot(True)
    timer.connect("timeout()", slot)
    timer.start(msec)
    SINGLE_SHOTS.append(timer)


@contextlib.contextmanager
def failing_inside_start():
    """Within this context a ``QProcess`` that cannot start says so before ``start`` returns, as on Windows."""
    original = QtCore.QProcess.start

    def start(process, *arguments):
        original(process, *arguments)
        process.waitForStarted()

    QtCore.QProcess.start = start
    try:
        yield
    finally:
        QtCore.QProcess.start = original


def install(native_classes):
    """Give every QObject these two methods, and QTimer its static one."""
    for native_class in native_classes:
        if "__getattribute__" in native_class.__dict__:
            _add_methods(native_class)
    QtCore.QTimer.__dict__["singleShot"].class_attribute = single_shot
