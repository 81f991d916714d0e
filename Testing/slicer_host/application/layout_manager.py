"""``slicer.app.layoutManager()``: slice views arranged by the real layout logic."""

import xml.etree.ElementTree as ElementTree

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from ..widgets.slice_widget import qMRMLSliceWidget
from .slice_view import SliceView


class LayoutManager(QtCore.QObject):
    """Builds the widgets of the current layout. Other views than slices appear as labels."""

    layoutChanged = Signal(int)

    def __init__(self, core):
        super().__init__()
        self._core, self._views, self._widgets = core, {}, {}
        self._shown_names, self._description = [], None
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(core.scene)
        self._layout_node = self._logic.GetLayoutNode()
        self._viewport = QtWidgets.QWidget()
        QtWidgets.QVBoxLayout(self._viewport).setContentsMargins(0, 0, 0, 0)
        self._observer = self._layout_node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update())
        self._update()

    def _get_layout(self):
        return self._layout_node.GetViewArrangement()

    def setLayout(self, layout):
        self._layout_node.SetViewArrangement(layout)

    def _no_view_of_other_kind(self):
        return 0

    layout = Property(int, _get_layout, setLayout)
    threeDViewCount = Property(int, _no_view_of_other_kind)
    tableViewCount = Property(int, _no_view_of_other_kind)
    plotViewCount = Property(int, _no_view_of_other_kind)

    def viewport(self):
        return self._viewport

    def mrmlScene(self):
        return self._core.scene

    def layoutLogic(self):
        return self._logic

    def mrmlSliceLogics(self):
        return self._core.application_logic.GetSliceLogics()

    def sliceViewNames(self):
        return list(self._shown_names)

    def sliceWidget(self, name):
        return self._widgets.get(name)

    def resetSliceViews(self):
        for name in self._shown_names:
            self._views[name].fit()

    def close(self):
        self._layout_node.RemoveObserver(self._observer)
        for view in self._views.values():
            view.close()
        self._viewport.deleteLater()

    def _update(self):
        description = self._layout_node.GetCurrentLayoutDescription()
        if not description or description == self._description:  # it is empty while the scene is closing
            return
        self._description, self._shown_names = description, []
        self._clear()
        self._viewport.layout().addWidget(self._build(ElementTree.fromstring(description)))
        for name, view in self._views.items():
            view.slice_node.SetMappedInLayout(name in self._shown_names)
        self.layoutChanged.emit(self._layout_node.GetViewArrangement())

    def _clear(self):
        """Take the views out of the old frames; they are used again."""
        layout = self._viewport.layout()
        for widget in self._widgets.values():
            widget.setParent(None)
        while layout.count():
            frame = layout.takeAt(0).widget()
            frame.hide()
            frame.deleteLater()

    def _build(self, element):
        if element.tag == "view":
            return self._build_view(element)
        frame = QtWidgets.QWidget()
        vertical = element.get("type") == "vertical"
        layout = (QtWidgets.QVBoxLayout if vertical else QtWidgets.QHBoxLayout)(frame)
        layout.setContentsMargins(1, 1, 1, 1)
        layout.setSpacing(2)
        for item in element.findall("item"):
            layout.addWidget(self._build(item[0]), 1)
        return frame

    def _build_view(self, element):
        if element.get("class") != "vtkMRMLSliceNode":
            return QtWidgets.QLabel(element.get("class"))
        name = element.get("singletontag")
        if name not in self._views:
            orientation = next(p.text for p in element if p.get("name") == "orientation")
            self._views[name] = SliceView(self._core, name, orientation)
            self._widgets[name] = qMRMLSliceWidget(self._views[name])
        self._shown_names.append(name)
        self._widgets[name].show()
        return self._widgets[name]
