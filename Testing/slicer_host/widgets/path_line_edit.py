"""``ctkPathLineEdit``: a line edit for a file or folder with a browse button."""

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal


class ctkPathLineEdit(QtWidgets.QWidget):
    currentPathChanged = Signal(str)
    # ctkPathLineEdit::Filter, whose values are those of QDir::Filter
    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable, Hidden = 1, 2, 4, 8, 16, 32, 64, 256

    def __init__(self, parent=None):
        super().__init__(parent)
        self._line_edit, self._button = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        self._filters, self._name_filters, self._setting_key = self.Files, [], ""
        self._button.setText("...")
        self._button.clicked.connect(self.browse)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line_edit)
        layout.addWidget(self._button)
        self._line_edit.textChanged.connect(self.currentPathChanged)

    def _get_current_path(self):
        return self._line_edit.text

    def setCurrentPath(self, path):
        self._line_edit.setText(path)

    def _get_filters(self):
        return self._filters

    def setFilters(self, filters):
        self._filters = int(filters)

    def _get_name_filters(self):
        return self._name_filters

    def setNameFilters(self, name_filters):
        self._name_filters = list(name_filters)

    def _get_setting_key(self):
        return self._setting_key

    def setSettingKey(self, key):
        self._setting_key = key

    currentPath = Property(str, _get_current_path, setCurrentPath)
    filters = Property(int, _get_filters, setFilters)
    nameFilters = Property("QStringList", _get_name_filters, setNameFilters)
    settingKey = Property(str, _get_setting_key, setSettingKey)

    def addCurrentPathToHistory(self):
        """The history is not shown here."""

    @QtCore.Slot()
    def browse(self):
        ask = "getExistingDirectory" if self._filters & self.Dirs else "getOpenFileName"
        path = getattr(QtWidgets.QFileDialog, ask)(self, "Select", self.currentPath)
        if path:
            self.setCurrentPath(path)
