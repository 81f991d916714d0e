"""A small scripted module that uses what the project's module uses; the host's tests load it."""

import enum
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *  # noqa: F403
from slicer.util import VTKObservationMixin

events = []  # what happened, in order


class Mode(enum.Enum):
    KEEP = "keep"
    DOUBLE = "double"


class HostToy(ScriptedLoadableModule):  # noqa: F405
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)  # noqa: F405
        self.parent.title = _("Toy")
        self.parent.categories = ["Filtering"]
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Toy", sampleName="ToySample", uris="https://localhost/toy.nrrd", fileNames="toy.nrrd", nodeNames="Toy"
    )


@parameterNodeWrapper
class HostToyParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    outputVolume: vtkMRMLScalarVolumeNode
    factor: Annotated[float, WithinRange(0.5, 10)] = 2.0
    mode: Mode = Mode.DOUBLE


class HostToyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):  # noqa: F405
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)  # noqa: F405
        VTKObservationMixin.__init__(self)
        self._parameters = self._gui_tag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)  # noqa: F405
        panel = slicer.util.loadUI(self.resourcePath("UI/HostToy.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = HostToyLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, lambda *_: self.use(None))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.use(self.logic.getParameterNode())

    def onSceneEndClose(self, _caller, _event):
        if self.parent.isEntered:
            self.use(self.logic.getParameterNode())

    def use(self, parameters):
        if self._parameters:
            self._parameters.disconnectGui(self._gui_tag)
            self.removeObserver(self._parameters, vtk.vtkCommand.ModifiedEvent, self.update)
        self._parameters = parameters
        if parameters:
            self._gui_tag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.update)
            self.update()

    def update(self, *_):
        self.ui.applyButton.enabled = self._parameters.inputVolume is not None

    def onApply(self):
        with slicer.util.tryWithErrorDisplay(_("Failed."), waitCursor=True):
            parameters = self._parameters
            parameters.outputVolume = self.logic.process(parameters.inputVolume, parameters.factor)

    def enter(self):
        events.append("enter")

    def exit(self):
        events.append("exit")

    def cleanup(self):
        events.append("cleanup")
        self.use(None)
        self.removeObservers()


class HostToyLogic(ScriptedLoadableModuleLogic):  # noqa: F405
    def getParameterNode(self):
        return HostToyParameterNode(super().getParameterNode())

    def process(self, volume, factor):
        if factor == 3:
            raise ValueError("three is not allowed")
        array = slicer.util.arrayFromVolume(volume) * factor
        return slicer.util.addVolumeFromArray(array, name=f"{volume.GetName()} x{factor:g}")


class HostToyTest(ScriptedLoadableModuleTest):  # noqa: F405
    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_process(self):
        import numpy as np

        self.delayDisplay("processing")
        volume = slicer.util.addVolumeFromArray(np.ones((2, 3, 4), np.float32), name="one")
        self.assertEqual(slicer.util.arrayFromVolume(HostToyLogic().process(volume, 2)).max(), 2)
        self.assertIsNotNone(qt.QTimer)
        events.append("tested")
