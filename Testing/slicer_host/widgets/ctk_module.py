"""The module ``ctk`` with the widgets that the host provides; any other name fails."""

import sys
import types

from PySide6 import QtWidgets
from PySide6.QtCore import Property

from .collapsible_button import ctkCollapsibleButton
from .slider_widget import ctkSliderWidget


class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box; CTK's indicator icons are not drawn."""


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box; CTK's default text and elision are not drawn."""


class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    """A spin box; CTK's decimals options are missing and therefore fail."""


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box; "do not show again" is stored in the settings key only."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._settings_key = ""

    def _get_settings_key(self):
        return self._settings_key

    def _set_settings_key(self, key):
        self._settings_key = key

    dontShowAgainSettingsKey = Property(str, _get_settings_key, _set_settings_key)


PROVIDED = (
    ctkCheckBox,
    ctkCollapsibleButton,
    ctkComboBox,
    ctkDoubleSpinBox,
    ctkMessageBox,
    ctkSliderWidget,
)


def _refuse(name):
    raise AttributeError(f"ctk.{name} is not provided by the test host")


def install(ui_loader):
    """Register ``ctk`` and make its widgets known to .ui files."""
    module = types.ModuleType("ctk", __doc__)
    for widget_class in PROVIDED:
        setattr(module, widget_class.__name__, widget_class)
        ui_loader.custom_widgets[widget_class.__name__] = widget_class
    module.__getattr__ = _refuse
    sys.modules["ctk"] = module
