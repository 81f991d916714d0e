"""The main window: a module panel on the left, the views on the right."""

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property


class ModuleSelector(QtCore.QObject):
    """``mainWindow().moduleSelector()``: leaves one module and enters another."""

    def __init__(self, window):
        super().__init__(window)
        self._window, self._selected = window, ""

    def _get_selected(self):
        return self._selected

    selectedModule = Property(str, _get_selected)

    def selectModule(self, name):
        module = slicer.app.moduleManager().module(name) if name else None
        if name and module is None:
            raise ValueError(f"no module {name!r} is loaded")
        if self._selected:
            slicer.app.moduleManager().module(self._selected).widgetRepresentation().exit()
        self._selected = name
        self._window.show_panel(module.widgetRepresentation() if module else None)
        if module:
            module.widgetRepresentation().enter()


class MainWindow(QtWidgets.QMainWindow):
    PANEL_WIDTH = 420

    def __init__(self, viewport):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")  # slicer.util.mainWindow() looks for this name
        self.setWindowTitle("3D Slicer (test host)")
        self.resize(1400, 800)
        self._dock = QtWidgets.QDockWidget("Module", self)
        self._dock.setObjectName("PanelDockWidget")
        self._scroll_area = QtWidgets.QScrollArea()
        self._scroll_area.setWidgetResizable(True)
        self._scroll_area.setMinimumWidth(self.PANEL_WIDTH)
        self._dock.setWidget(self._scroll_area)
        self.addDockWidget(QtCore.Qt.LeftDockWidgetArea, self._dock)
        self.setCentralWidget(viewport)
        self._selector = ModuleSelector(self)

    def moduleSelector(self):
        return self._selector

    def show_panel(self, panel):
        """Show a module's panel, or none; the previous one stays alive without a parent."""
        previous = self._scroll_area.takeWidget()
        if previous is not None:
            previous.setParent(None)
        if panel is not None:
            self._scroll_area.setWidget(panel)
            panel.show()
