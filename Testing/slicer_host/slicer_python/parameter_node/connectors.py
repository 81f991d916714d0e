"""The pairs of widget and type that Slicer can keep in step; any other pair fails.

Slicer compares the exact class of a widget, so a subclass does not connect.
"""

import enum
import math

import ctk
import qt
import slicer

from .annotations import Choice, Decimals, SingleStep, bounds, first, split

WHOLE_NUMBER_WIDGETS = (qt.QSlider, qt.QSpinBox)
NUMBER_WIDGETS = (qt.QDoubleSpinBox, ctk.ctkDoubleSpinBox, ctk.ctkSliderWidget)
INT_LIMITS = (-(2**31), 2**31 - 1)


class Connector:
    """Reads and writes one widget; ``on_changed`` connects its signal to one callback, or to none."""

    def __init__(self, signal, read, write):
        self._signal, self.read, self.write, self._slot = signal, read, write, None

    def on_changed(self, callback):
        if self._slot is not None:
            self._signal.disconnect(self._slot)
        self._slot = None if callback is None else lambda *_: callback()
        if self._slot is not None:
            self._signal.connect(self._slot)


def _property_connector(widget, signal, name):
    return Connector(signal, lambda: getattr(widget, name), lambda value: setattr(widget, name, value))


def _number_connector(widget, kind, annotations):
    decimals, step = first(annotations, Decimals), first(annotations, SingleStep)
    if type(widget) in NUMBER_WIDGETS and (kind is int or decimals):
        widget.decimals = 0 if kind is int else decimals.value
    if step:
        widget.singleStep = step.value
    low, high = bounds(annotations)
    if type(widget) in (qt.QSlider, ctk.ctkSliderWidget) and math.inf in (-low, high):
        raise RuntimeError(f"a {type(widget).__name__} needs a bounded number")
    if type(widget) in WHOLE_NUMBER_WIDGETS:
        low, high = max(low, INT_LIMITS[0]), min(high, INT_LIMITS[1])
    widget.minimum, widget.maximum = low, high
    return Connector(widget.valueChanged, lambda: kind(widget.value), lambda value: _set_value(widget, kind(value)))


def _set_value(widget, value):
    widget.value = value


def _choice_connector(widget, labels, values):
    widget.clear()
    for label in labels:
        widget.addItem(label)

    def write(value):
        widget.currentIndex = values.index(value)

    return Connector(widget.currentIndexChanged, lambda: values[widget.currentIndex], write)


def _enum_connector(widget, kind):
    label = getattr(kind, "label", lambda member: member.name)
    return _choice_connector(widget, [label(member) for member in kind], list(kind))


def _node_connector(widget, kinds):
    widget.nodeTypes = [kind().GetClassName() for kind in kinds]
    return Connector(widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode)


def _text_connector(widget):
    """Line edits and labels; a label has no signal, so it only shows."""
    if type(widget) is qt.QLineEdit:
        return _property_connector(widget, widget.textChanged, "text")
    connector = _property_connector(widget, None, "text")
    connector.on_changed = lambda _callback: None
    return connector


def _node_classes(hint):
    """The node classes of a hint that Slicer accepts for a selector: a class, or ``typing.Union`` of classes."""
    kind, _ = split(hint)
    members = [member for member in getattr(kind, "__args__", (kind,)) if member is not type(None)]
    are_nodes = all(isinstance(member, type) and issubclass(member, slicer.vtkMRMLNode) for member in members)
    return members if members and are_nodes else []


def make_connector(widget, hint):
    """Connector of ``widget`` for values of type ``hint``."""
    kind, annotations = split(hint)
    widget_class = type(widget)
    choice = first(annotations, Choice)
    if widget_class in (qt.QComboBox, ctk.ctkComboBox):
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return _enum_connector(widget, kind)
        if choice:
            return _choice_connector(widget, [str(value) for value in choice.choices], list(choice.choices))
    if widget_class is slicer.qMRMLNodeComboBox and _node_classes(hint):
        return _node_connector(widget, _node_classes(hint))
    if kind is bool and widget_class in (qt.QCheckBox, ctk.ctkCheckBox, qt.QPushButton):
        widget.setCheckable(True)
        return _property_connector(widget, widget.toggled, "checked")
    whole = kind is int and widget_class in WHOLE_NUMBER_WIDGETS
    if whole or kind in (int, float) and widget_class in NUMBER_WIDGETS:
        return _number_connector(widget, kind, annotations)
    if kind is str and widget_class in (qt.QLineEdit, qt.QLabel):
        return _text_connector(widget)
    raise RuntimeError(f"unable to connect a {widget_class.__name__} to values of type {hint}")
