"""``qMRMLWidget``, which hands the scene on, and ``qSlicerWidget``, which behaves the same here."""

from PySide6 import QtWidgets
from PySide6.QtCore import Signal


class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qSlicerWidget(qMRMLWidget):
    """Base class of Slicer's own widgets."""
