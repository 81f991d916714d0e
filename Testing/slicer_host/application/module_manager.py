"""``slicer.app.moduleManager()``, ``slicer.modules`` and the object that a module's class gets as ``parent``."""

import sys
import types

import slicer
from PySide6 import QtCore
from PySide6.QtCore import Signal

from ..widgets.module_widget import qSlicerScriptedLoadableModuleWidget


class qSlicerScriptedLoadableModule:
    """The C++ side of a scripted module; only the attributes that Slicer has can be set."""

    __slots__ = (
        "acknowledgementText", "associatedNodeTypes", "categories", "contributors", "dependencies", "helpText",
        "hidden", "icon", "index", "name", "path", "title", "widgetRepresentationCreationEnabled", "_widget",
    )  # fmt: skip

    def __init__(self, name, path):
        self.name, self.path, self.title = name, path, name
        self.categories, self.contributors, self.dependencies, self.associatedNodeTypes = [], [], [], []
        self.helpText = self.acknowledgementText = ""
        self.icon, self.hidden, self.index = None, False, -1
        self.widgetRepresentationCreationEnabled = True
        self._widget = None

    def logic(self):
        """Scripted modules have no C++ logic."""
        return None

    def mrmlScene(self):
        return slicer.mrmlScene

    def widgetRepresentation(self):
        """The panel, built when it is first asked for; it is the module's, too, if its ``setup`` fails."""
        if self._widget is None and self.widgetRepresentationCreationEnabled:
            self._widget = qSlicerScriptedLoadableModuleWidget(self.name)
            self._widget.build()
        return self._widget

    def has_widget(self):
        """Whether the panel has been built."""
        return self._widget is not None

    def forget_widget(self):
        self._widget = None


class CoreModule:
    """A module written in C++ of which the host has the logic alone."""

    def __init__(self, name, logic):
        self.name, self._logic = name, logic

    def logic(self):
        return self._logic


class ModuleFactoryManager:
    def __init__(self, modules):
        self._modules = modules

    def loadedModuleNames(self):
        return list(self._modules)


class ModuleManager(QtCore.QObject):
    moduleAboutToBeUnloaded = Signal(str)

    def __init__(self, core):
        super().__init__()
        self._modules = {}
        slicer.modules = types.ModuleType("slicer.modules")
        slicer.moduleNames = types.SimpleNamespace()
        sys.modules["slicer.modules"] = slicer.modules
        for name, logic in core.module_logics.items():
            self.add(CoreModule(name, logic))

    def add(self, module):
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)
        setattr(slicer.moduleNames, module.name, module.name)

    def remove(self, name):
        """Let the module clean up, then take it out of ``slicer.modules``."""
        self.moduleAboutToBeUnloaded.emit(name)
        del self._modules[name]
        delattr(slicer.moduleNames, name)
        for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
            if hasattr(slicer.modules, attribute):
                delattr(slicer.modules, attribute)

    def module(self, name):
        return self._modules.get(name)

    def modulesNames(self):
        return list(self._modules)

    def factoryManager(self):
        return ModuleFactoryManager(self._modules)
