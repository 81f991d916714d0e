"""``qt.QUiLoader`` that refuses what it does not know.

Qt's own loader takes a plain QWidget for an unknown class and a dynamic property for an unknown property.
"""

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from .properties import broken_seal


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file whose custom widgets are those registered in ``custom_widgets`` (class name -> class)."""

    custom_widgets = {}

    def __init__(self, parent=None):
        super().__init__(parent)
        for widget_class in self.custom_widgets.values():
            self.registerCustomWidget(widget_class)

    def load(self, device, parent=None):
        root = ElementTree.fromstring(bytes(device.readAll()))
        self._check_classes(root)
        connections = self._take_connections(root)
        source = QtCore.QBuffer()
        source.setData(ElementTree.tostring(root))
        source.open(QtCore.QIODevice.ReadOnly)
        with broken_seal():
            top = super().load(source, parent)
        objects = {child.objectName: child for child in [top, *top.findChildren(QtCore.QObject)]}
        _check_properties(root, objects)
        for sender, signal, receiver, slot in connections:
            slot = getattr(objects[receiver], slot.split("(")[0])
            objects[sender].connect(signal, slot)
        return top

    def _check_classes(self, root):
        for element in root.iter("widget"):
            name = element.get("class")
            if name not in self.custom_widgets and not hasattr(QtWidgets, name):
                raise RuntimeError(f"widget class {name} is not provided by the test host")

    @staticmethod
    def _take_connections(root):
        """Remove ``<connections>`` and return them: MRML signals carry VTK objects, which Qt cannot connect itself."""
        element = root.find("connections")
        if element is None:
            return []
        root.remove(element)
        return [[c.findtext(tag) for tag in ("sender", "signal", "receiver", "slot")] for c in element]


def _check_properties(root, objects):
    """Every property in the file is one that the widget declares, unless the file says that it is dynamic."""
    for element in root.iter("widget"):
        widget = objects[element.get("name")]
        for entry in element.findall("property"):
            name = entry.get("name")
            if entry.get("stdset") != "0" and widget.metaObject().indexOfProperty(name) < 0:
                raise RuntimeError(f"{element.get('class')} {element.get('name')!r} has no property {name!r}")
