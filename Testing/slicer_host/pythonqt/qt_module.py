"""The flat module ``qt``: QtCore, QtGui, QtWidgets and QtUiTools under one name."""

import inspect
import sys
import types

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from . import connections, modal, properties
from .ui_loader import QUiLoader

SOURCES = (QtCore, QtGui, QtWidgets, QtUiTools)


def _native_classes():
    """All QObject classes. ``dir()`` and ``getattr``, because PySide6 makes its classes on first use."""
    members = [getattr(source, name) for source in SOURCES[:3] for name in dir(source)]
    objects = {member for member in members if inspect.isclass(member) and issubclass(member, QtCore.QObject)}
    excluded = (QtWidgets.QLayout, QtCore.QCoreApplication)
    return [c for c in objects if c is QtCore.QObject or not issubclass(c, excluded)]


def _refuse(name):
    raise AttributeError(f"module 'qt' has no attribute {name!r} (Qt 6: what Qt 5 alone has is missing on purpose)")


def install(dialogs):
    """Patch PySide6 to PythonQt's ways and register ``qt``."""
    module = types.ModuleType("qt", __doc__)
    for source in SOURCES:
        for name in dir(source):
            if name.startswith("Q"):
                setattr(module, name, getattr(source, name))
    native_classes = _native_classes()
    properties.install(native_classes)
    connections.install(native_classes)
    modal.install(dialogs)
    QtCore.QEventLoop.exec_ = QtCore.QEventLoop.exec  # Qt 5's name, without PySide6's warning
    module.QUiLoader = QUiLoader
    module.__getattr__ = _refuse
    sys.modules["qt"] = module
    return module
