"""``qSlicerScriptedLoadableModuleWidget``: the C++ widget around a scripted module's Python widget."""

import sys

import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property

from .mrml_widget import qSlicerWidget


class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    def __init__(self, module_name):
        super().__init__()
        QtWidgets.QVBoxLayout(self)
        self._module_name, self._python_widget, self._entered = module_name, None, False
        self.setObjectName(f"{module_name}ModuleWidget")

    def _get_entered(self):
        return self._entered

    isEntered = Property(bool, _get_entered)

    def self(self):
        """The Python widget."""
        return self._python_widget

    def build(self):
        """Instantiate the Python widget, set it up, then hand over the scene: Slicer's order."""
        class_name = f"{self._module_name}Widget"
        self._python_widget = getattr(sys.modules[self._module_name], class_name)(self)
        setattr(slicer.modules, class_name, self._python_widget)
        self._python_widget.setup()
        self.setMRMLScene(slicer.mrmlScene)

    def reload(self):
        """What ``slicer.util.reloadScriptedModule`` calls after it has executed the file again."""
        self.build()

    def enter(self):
        self._entered = True
        self._call_if_defined("enter")

    def exit(self):
        self._entered = False
        self._call_if_defined("exit")

    def _call_if_defined(self, name):
        if hasattr(self._python_widget, name):
            getattr(self._python_widget, name)()
