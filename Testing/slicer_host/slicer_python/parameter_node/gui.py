"""``createGui``: a widget for a type, or a form for a whole parameter node class."""

import enum
import math

import ctk
import qt
import slicer

from .annotations import Choice, Label, bounds, first, split
from .connectors import _node_classes


def createGui(datatype):
    """The widget that suits a (possibly annotated) type best."""
    if getattr(datatype, "_is_parameter_node_wrapper", False):
        return _form(datatype)
    kind, annotations = split(datatype)
    is_class = isinstance(kind, type)
    if first(annotations, Choice) or is_class and issubclass(kind, enum.Enum):
        return qt.QComboBox()
    if kind is float:
        return ctk.ctkSliderWidget() if all(map(math.isfinite, bounds(annotations))) else qt.QDoubleSpinBox()
    if _node_classes(datatype):
        return slicer.qMRMLNodeComboBox()
    simple = {bool: qt.QCheckBox, int: qt.QSpinBox, str: qt.QLineEdit}
    if kind not in simple:
        raise RuntimeError(f"unable to make a GUI for {datatype}")
    return simple[kind]()


def _form(wrapper_class):
    widget = slicer.qSlicerWidget()
    layout = qt.QFormLayout(widget)
    for name, parameter in wrapper_class.allParameters.items():
        piece = createGui(parameter.hint)
        piece.setProperty("SlicerParameterName", name)
        label = first(split(parameter.hint)[1], Label)
        layout.addRow(label.label if label else name, piece)
        if hasattr(piece, "setMRMLScene"):
            widget.mrmlSceneChanged.connect(piece.setMRMLScene)
    return widget
