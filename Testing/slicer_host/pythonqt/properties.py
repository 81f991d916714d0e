"""Qt properties as attributes: ``button.enabled = False``, ``label.text``; a misspelt attribute fails.

Native classes are patched in place. PySide6's own ``true_property`` would remove ``setText()`` and the like, and
subclasses would break ``type(widget) == qt.QPushButton``, which Slicer's parameter node connectors compare.
"""

import contextlib

from PySide6 import QtCore

HOST_PACKAGE = __name__.split(".")[0]
# C++ calls these back through Python: as attributes they would recurse
CALLED_BY_QT = {"sizeHint", "minimumSizeHint", "spacing", "contentsMargins"}
_seal = {"broken": False}


@contextlib.contextmanager
def broken_seal():
    """Within this context any attribute may be set: PySide6's .ui loader makes one of each child widget."""
    _seal["broken"] = True
    try:
        yield
    finally:
        _seal["broken"] = False


class QtProperty:
    """The descriptor of one Qt property of one native class."""

    def __init__(self, name, writable, class_attribute):
        self.name, self.writable, self.class_attribute = name, writable, class_attribute

    def __get__(self, instance, owner=None):
        if instance is None:  # QTimer.singleShot is a static function as well as a property
            return self if self.class_attribute is None else self.class_attribute
        return instance.property(self.name)

    def __set__(self, instance, value):
        _set_property(instance, self.name, value, self.writable)


def _set_property(instance, name, value, writable):
    if not writable:
        raise AttributeError(f"property {name!r} of {type(instance).__name__} is not writable")
    if not instance.setProperty(name, value):
        raise AttributeError(f"property {name!r} of {type(instance).__name__} does not accept {value!r}")


def add_properties(native_class):
    """Turn the Qt properties that ``native_class`` itself declares into attributes."""
    meta = native_class.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        declared = meta.property(index)
        name = declared.name()
        if name not in CALLED_BY_QT:
            setattr(native_class, name, QtProperty(name, declared.isWritable(), getattr(native_class, name, None)))


def _is_sealed(instance, name):
    """Whether a new attribute ``name`` would be a typing error: native and host classes, but not a module's own."""
    if _seal["broken"]:
        return False
    module = type(instance).__module__
    if module.startswith("PySide6."):
        return True
    return module.startswith(HOST_PACKAGE + ".") and not name.startswith("_")


def strict_setattr(instance, name, value):
    """``__setattr__`` of all Qt objects: descriptors first, dynamic properties next, new names only where allowed."""
    declared = next((c.__dict__[name] for c in type(instance).__mro__ if name in c.__dict__), None)
    if isinstance(declared, QtCore.Property):  # of a host class; PySide6 gives it no __set__
        _set_property(instance, name, value, declared.fset is not None)
    elif hasattr(type(declared), "__set__"):
        declared.__set__(instance, value)
    elif declared is None and name not in instance.__dict__ and _is_sealed(instance, name):
        if name.encode() not in [bytes(dynamic) for dynamic in instance.dynamicPropertyNames()]:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {name!r}")
        instance.setProperty(name, value)
    else:
        instance.__dict__[name] = value


def install(native_classes):
    """Patch all native classes."""
    for native_class in native_classes:
        add_properties(native_class)
    for native_class in native_classes:
        if "__setattr__" in native_class.__dict__ or native_class is QtCore.QObject:
            native_class.__setattr__ = strict_setattr
    QtCore.QObject.name = property(lambda self: self.objectName, lambda self, name: self.setObjectName(name))
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.delete = QtCore.QObject.deleteLater
