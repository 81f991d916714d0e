"""The host itself: starts the application, loads and unloads modules, takes pictures."""

import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import shiboken6

from . import windows_rules
from .application import launcher
from .dialogs import Dialogs
from .errors import ErrorRecorder
from .pythonqt import connections
from .waiting import process_events

_running = None


@dataclass(frozen=True)
class LoadedModule:
    """A scripted module as the application holds it."""

    name: str
    python_module: object  # the executed .py file
    instance: object  # <Name>(parent)
    parent: object  # qSlicerScriptedLoadableModule

    @property
    def widget(self):
        """The Python panel, <Name>Widget; built when it is first asked for."""
        return self.parent.widgetRepresentation().self()


class Host:
    """A running Slicer application without its C++ user interface. One per process.

    Args:
        main_window: False is Slicer's ``--no-main-window``: no ``slicer.util.mainWindow()``, no layout manager.
        testing: What ``slicer.app.testingEnabled()`` says; False makes ``slicer.util`` ask its questions.
    """

    def __init__(self, main_window=True, testing=True):
        global _running
        if _running is not None:
            raise RuntimeError("the test host can be started once per process only")
        _running = self
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        self.dialogs, self.errors = Dialogs(), ErrorRecorder()
        self._folder = Path(tempfile.mkdtemp(prefix="slicer-host-"))
        self._modules, self._layout_manager, self._main_window = {}, None, None
        self._start_application(testing)
        self.errors.install()
        if main_window:
            self.open_main_window()

    def _start_application(self, testing):
        from .pythonqt import qt_module

        qt = qt_module.install(self.dialogs)
        from .widgets import ctk_module, qmrml_classes

        ctk_module.install(qt.QUiLoader)
        qmrml_classes.install(qt.QUiLoader)
        from .application import core, io_manager, module_manager, slicer_app, subject_hierarchy

        self.application = slicer_app.SlicerApplication(self._folder, testing)
        self._core = core.Core(self._folder / "cache")
        self._hierarchy_keeper = subject_hierarchy.SubjectHierarchyKeeper(self._core.scene)
        modules = self._make_module_manager(module_manager)
        self.application.attach(self._core, io_manager.IOManager(self._core), modules)
        from .slicer_python import registration

        registration.install()

    def _make_module_manager(self, module_manager):
        import slicer

        slicer.qSlicerScriptedLoadableModule = module_manager.qSlicerScriptedLoadableModule
        self._module_class = module_manager.qSlicerScriptedLoadableModule
        return module_manager.ModuleManager(self._core)

    # -- main window
    def open_main_window(self):
        """Open the main window with its views; nothing if it is open already."""
        if self._main_window is not None:
            return
        from .application.layout_manager import LayoutManager
        from .application.main_window import MainWindow

        self._layout_manager = LayoutManager(self._core)
        self._main_window = MainWindow(self._layout_manager.viewport())
        self.application.attach_main_window(self._main_window, self._layout_manager)
        self._reset_layout()

    def _reset_layout(self):
        import slicer

        self._layout_manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def close_main_window(self):
        """From here on there is no main window and no layout manager."""
        if self._main_window is None:
            return
        self._main_window.show_panel(None)
        self._main_window.close()
        self._layout_manager.close()
        self._core.application_logic.GetSliceLogics().RemoveAllItems()
        self.application.attach_main_window(None, None)
        self._main_window.setObjectName("")
        self._main_window.deleteLater()
        self._main_window = self._layout_manager = None

    @contextlib.contextmanager
    def without_main_window(self):
        """Within this context there is no main window."""
        self.close_main_window()
        try:
            yield
        finally:
            self.open_main_window()

    # -- options
    @contextlib.contextmanager
    def without_testing_mode(self):
        """Within this context ``slicer.util`` opens its message boxes; prepare answers with ``dialogs``."""
        self.application.set_testing(False)
        try:
            yield self.dialogs
        finally:
            self.application.set_testing(True)

    @contextlib.contextmanager
    def with_launcher(self, version):
        """Within this context ``PythonSlicer`` is that version of CTK's launcher (see ``application.launcher``)."""
        program = Path(self.application.slicerHome) / "bin" / "PythonSlicer"
        launcher.write(program, version)
        try:
            yield
        finally:
            launcher.write(program)

    @contextlib.contextmanager
    def as_build_tree(self):
        """Within this context ``PythonSlicer`` lies where a build of Slicer has it: on the PATH, not in the home."""
        import slicer

        program = Path(slicer.app.slicerHome) / "bin" / "PythonSlicer"
        elsewhere = self._folder / "python-install" / "bin" / "PythonSlicer"
        path = os.environ["PATH"]
        program.unlink()
        launcher.write(elsewhere)
        os.environ["PATH"] = f"{elsewhere.parent}{os.pathsep}{path}"
        try:
            yield
        finally:
            os.environ["PATH"] = path
            launcher.write(program)

    @contextlib.contextmanager
    def windows_rules(self, *roots):
        """Within this context files below the temporary path and ``roots`` are kept as Windows keeps them.

        What a process has open or mapped is neither deleted nor renamed, ending a process that has ended is an
        ``OSError``, and a program that cannot be started says so inside ``QProcess.start``.
        """
        with windows_rules.windows_rules(self.application.temporaryPath, *roots), connections.failing_inside_start():
            yield

    @contextlib.contextmanager
    def temporary_path(self, path):
        """Within this context ``slicer.app.temporaryPath`` is ``path``."""
        former = self.application.temporaryPath
        self.application.setTemporaryPath(str(path))
        try:
            yield
        finally:
            self.application.setTemporaryPath(former)

    # -- modules
    def load_module(self, path, enter=True):
        """Load a scripted module from its .py file as the application does at start-up.

        Args:
            path: The module file; its folder goes onto ``sys.path``.
            enter: Show the panel and call ``enter()``, as if the user had selected the module.
        """
        import slicer

        path = Path(path).resolve()
        name = path.stem
        if name in self._modules:
            raise RuntimeError(f"{name} is loaded already; unload_module() it first")
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        python_module = _execute(name, path)
        parent = self._module_class(name, str(path))
        instance = getattr(python_module, name)(parent)
        setattr(slicer.modules, f"{name}Instance", instance)
        slicer.app.moduleManager().add(parent)
        loaded = self._modules[name] = LoadedModule(name, python_module, instance, parent)
        if hasattr(instance, "setup"):
            instance.setup()
        slicer.app.startupCompleted.emit()
        slicer.app.disconnect("startupCompleted()")  # the application emits it once
        if enter:
            self.enter_module(name)
        return loaded

    def enter_module(self, name):
        """Select a module (""  for none) as the user does; works without a main window too."""
        if self._main_window is not None:
            self._main_window.moduleSelector().selectModule(name)
            return
        for loaded in self._modules.values():
            if loaded.parent.has_widget() and loaded.parent.widgetRepresentation().isEntered:
                loaded.parent.widgetRepresentation().exit()
        if name:
            self._modules[name].parent.widgetRepresentation().enter()

    def unload_module(self, name):
        """Leave the module, let its widget clean up, and forget it."""
        import slicer

        loaded = self._modules.pop(name)
        panel = loaded.parent.widgetRepresentation() if loaded.parent.has_widget() else None
        if panel is not None and panel.isEntered:
            self.enter_module("") if self._main_window is not None else panel.exit()
        slicer.app.moduleManager().remove(name)
        slicer.selfTests.pop(name, None)
        sys.modules.pop(name, None)
        if panel is not None:
            loaded.parent.forget_widget()
            shiboken6.delete(panel)  # with all that is in it, before any timer fires
        self.application.processEvents()

    # -- scene, events, pictures
    @staticmethod
    def clear_scene():
        """Close the scene, as the user does."""
        import slicer

        slicer.mrmlScene.Clear(0)

    def data_tree(self):
        """The names that the module Data lists."""
        return self._hierarchy_keeper.tree

    process_events = staticmethod(process_events)

    def screenshot(self, path, size=None):
        """Render all views and write the main window, panel included, as a PNG file."""
        import slicer

        if size is not None:
            self._main_window.resize(*size)
        self._main_window.show()
        self.application.processEvents()
        slicer.util.forceRenderAllViews()
        self.application.processEvents()
        if not self._main_window.grab().save(str(path)):
            raise OSError(f"could not write {path}")

    def reset(self):
        """Between tests: no modules, an empty scene, nothing recorded. Returns what the test left unnoticed."""
        import slicer

        for name in list(self._modules):
            self.unload_module(name)
        self.clear_scene()
        self.open_main_window()
        self._reset_layout()
        self.application.set_testing(True)
        vars(slicer.modules).pop("sampleDataSources", None)
        self._forget_single_shots()
        self.application.processEvents()
        unused = [f"answer {answer!r} that no dialog asked for" for answer in self.dialogs.clear()]
        return unused + [f"{error!r} in a slot or observer" for error in self.errors.take()]

    @staticmethod
    def _forget_single_shots():
        """A test begins as an application does, which has started no one-shot timer yet."""
        for timer in connections.SINGLE_SHOTS:
            timer.disconnect("timeout()")
            timer.deleteLater()
        connections.SINGLE_SHOTS.clear()

    def close(self):
        """End of the process's work with the host: it cannot be started again."""
        self.application.aboutToQuit.emit()
        self.reset()
        self.close_main_window()
        self._hierarchy_keeper.close()
        self.application.processEvents()
        self.errors.uninstall()
        shutil.rmtree(self._folder, ignore_errors=True)


def _execute(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    python_module = importlib.util.module_from_spec(spec)
    sys.modules[name] = python_module
    try:
        spec.loader.exec_module(python_module)
    except BaseException:
        del sys.modules[name]
        raise
    return python_module
