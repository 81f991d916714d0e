"""``slicer.app``: a real QApplication with the calls that scripted modules make on it."""

import os
import sys
from pathlib import Path

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from . import launcher

VERSION = "5.12.0"
OPERATING_SYSTEMS = {"linux": "linux", "darwin": "macosx", "win32": "win"}


def _constant(value):
    return Property(type(value), lambda _self: value)


class SlicerApplication(QtWidgets.QApplication):
    """Settings, temporary files and the Slicer home folder lie in ``folder``; nothing of the user's is touched."""

    startupCompleted = Signal()

    majorVersion = _constant(5)
    minorVersion = _constant(12)
    revision = _constant("00000")
    os = _constant(OPERATING_SYSTEMS[sys.platform])
    arch = _constant("amd64")
    platform = _constant(f"{OPERATING_SYSTEMS[sys.platform]}-amd64")
    isInstalled = _constant(True)
    documentationBaseUrl = _constant("https://slicer.readthedocs.io/en/latest/")

    def __init__(self, folder, testing):
        super().__init__(["SlicerTestHost"])
        self._folder, self._testing = Path(folder), testing
        self._core = self._io_manager = self._module_manager = None
        self._layout_manager = self._main_window = None
        self.setOrganizationName("test")
        self.setApplicationName("SlicerTestHost")
        self.setApplicationVersion(VERSION)
        settings = QtCore.QSettings
        settings.setDefaultFormat(settings.IniFormat)
        settings.setPath(settings.IniFormat, settings.UserScope, str(self._folder / "settings"))
        self._make_home()
        slicer.app = self

    def attach(self, core, io_manager, module_manager):
        """Hand over what is made after the application object, and before any module is loaded."""
        self._core, self._io_manager, self._module_manager = core, io_manager, module_manager

    def attach_main_window(self, main_window, layout_manager):
        """None for both: Slicer without a main window has no layout manager either."""
        self._main_window, self._layout_manager = main_window, layout_manager

    def set_testing(self, testing):
        self._testing = testing

    def _make_home(self):
        """A home folder with ``bin/PythonSlicer``, which is on the PATH as in Slicer."""
        programs = self._folder / "home" / "bin"
        self._temporary_path = str(self._folder / "temporary")
        Path(self._temporary_path).mkdir(parents=True)
        launcher.write(programs / "PythonSlicer")
        os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"

    def _get_home(self):
        return str(self._folder / "home")

    def _get_temporary_path(self):
        return self._temporary_path

    def setTemporaryPath(self, path):
        Path(path).mkdir(parents=True, exist_ok=True)
        self._temporary_path = str(path)

    slicerHome = Property(str, _get_home)
    temporaryPath = Property(str, _get_temporary_path, setTemporaryPath)

    def testingEnabled(self):
        return self._testing

    def mrmlScene(self):
        return self._core.scene

    def applicationLogic(self):
        return self._core.application_logic

    def coreIOManager(self):
        return self._io_manager

    def ioManager(self):
        return self._io_manager

    def moduleManager(self):
        return self._module_manager

    def layoutManager(self):
        return self._layout_manager

    def mainWindow(self):
        return self._main_window

    def userSettings(self):
        return QtCore.QSettings()

    def settings(self):
        return QtCore.QSettings()

    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    def environment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    def translate(self, context, text):
        return text

    def moduleDocumentationUrl(self, name):
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def pauseRender(self):
        """Views render on demand here."""

    def resumeRender(self):
        """Views render on demand here."""


# QApplication is not patched like the other classes (see pythonqt), so its properties are named here
SlicerApplication.applicationName = property(lambda self: "SlicerTestHost")
SlicerApplication.applicationVersion = property(lambda self: VERSION)
