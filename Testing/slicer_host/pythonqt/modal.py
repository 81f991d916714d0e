"""Qt's modal entry points, answered by :class:`slicer_host.dialogs.Dialogs` instead of by a user."""

from PySide6 import QtWidgets

FILE_DIALOGS = ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory")
MESSAGE_BOXES = ("question", "information", "warning", "critical", "about")
INPUT_DIALOGS = ("getText", "getItem", "getInt", "getDouble", "getMultiLineText")


def _static_question(dialogs, kind):
    """A static function ``kind(parent, title, text, ...)`` that returns the prepared answer."""

    def ask(parent=None, title="", text="", *_arguments, **_keywords):
        return dialogs.ask(kind, title, text)

    return staticmethod(ask)


def _execute(dialogs):
    def execute(dialog):
        text = dialog.text if isinstance(dialog, QtWidgets.QMessageBox) else ""
        return dialogs.ask(type(dialog).__name__, dialog.windowTitle, text)

    return execute


def install(dialogs):
    """Route modal dialogs to ``dialogs``.

    File dialogs answer with the path alone, as in PythonQt; PySide6 would add the chosen filter.
    """
    for owner, names in (
        (QtWidgets.QFileDialog, FILE_DIALOGS),
        (QtWidgets.QMessageBox, MESSAGE_BOXES),
        (QtWidgets.QInputDialog, INPUT_DIALOGS),
    ):
        for name in names:
            setattr(owner, name, _static_question(dialogs, f"{owner.__name__}.{name}"))
    for owner in (QtWidgets.QDialog, QtWidgets.QMessageBox, QtWidgets.QFileDialog):
        owner.exec_ = owner.exec = _execute(dialogs)
