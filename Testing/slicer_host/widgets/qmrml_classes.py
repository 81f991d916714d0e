"""Puts the qMRML and qSlicer classes that the host provides into ``slicer``; any other name fails."""

import slicer

from .module_widget import qSlicerScriptedLoadableModuleWidget
from .mrml_widget import qMRMLWidget, qSlicerWidget
from .node_combo_box import qMRMLNodeComboBox
from .slice_widget import qMRMLSliceWidget

IN_UI_FILES = (qMRMLWidget, qSlicerWidget, qMRMLNodeComboBox)
IN_PYTHON_ONLY = (qMRMLSliceWidget, qSlicerScriptedLoadableModuleWidget)


def _refuse(name):
    hint = " by the test host" if name.startswith(("qMRML", "qSlicer")) else ""
    raise AttributeError(f"slicer.{name} is not provided{hint}")


def install(ui_loader):
    for widget_class in IN_UI_FILES + IN_PYTHON_ONLY:
        setattr(slicer, widget_class.__name__, widget_class)
    for widget_class in IN_UI_FILES:
        ui_loader.custom_widgets[widget_class.__name__] = widget_class
    slicer.__getattr__ = _refuse
