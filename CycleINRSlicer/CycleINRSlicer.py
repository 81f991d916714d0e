"""CycleINR in 3D Slicer: module, panel, logic and self-test. What they do lies in ``CycleINRSlicerLib``."""

from __future__ import annotations

import sys
from pathlib import Path

import slicer
import vtk
from CycleINRSlicerLib import sample
from CycleINRSlicerLib.parameters import CycleINRSlicerParameterNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class CycleINRSlicer(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("CycleINR Super-Resolution")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        self.parent.dependencies = []
        self.parent.contributors = ["CycleINRSlicer team"]
        self.parent.helpText = helpText()
        self.parent.acknowledgementText = _(
            "Method: CycleINR, Cycle Implicit Neural Representation for Arbitrary-Scale Volumetric Super-Resolution of "
            "Medical Data, CVPR 2024 (arXiv 2404.04878). This is an independent implementation; the model cards name "
            "the training data and their licences."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def helpText() -> str:
    return _(
        "Computes finer slices of a thick-slice CT or MR scan, at any spacing, for review in axial, coronal and "
        "sagittal planes. Choose the scan and the spacing, and press Apply. The result agrees with the acquired slices "
        "as far as their profile is known. <b>Results are derived, not acquired; not for primary diagnosis.</b>"
        "<p>Keys while the module is open: P previews the crosshair's place; O flickers between original and "
        "result or preview; 0 automatic, 1 brain, 2 bone, 3 lung, 4 soft tissue, 5 abdomen set the window of both; "
        "S takes single slices, a mean slab, a maximum slab.</p>"
    )


def registerSampleData():
    """Offer the bundled scan in the module Sample Data; nothing is downloaded."""
    import SampleData

    resources = Path(__file__).absolute().parent / "Resources"
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="CycleINR",
        sampleName=sample.SAMPLE_NAME,
        thumbnailFileName=str(resources / "Icons" / "CycleINRSlicer.png"),
        uris=(resources / "SampleData" / sample.SAMPLE_FILE).as_uri(),
        fileNames=sample.SAMPLE_FILE,
        checksums=sample.SAMPLE_CHECKSUM,
        nodeNames=sample.SAMPLE_NODE_NAME,
    )


class CycleINRSlicerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Connects the panel with the scene; ``CycleINRSlicerLib.panel`` has its behaviour."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.panel = None
        self._parameters = self._guiTag = self._observerTag = None

    def setup(self):
        from CycleINRSlicerLib.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        root = slicer.util.loadUI(self.resourcePath("UI/CycleINRSlicer.ui"))
        self.layout.addWidget(root)
        self.ui = slicer.util.childWidgetVariables(root)
        root.setMRMLScene(slicer.mrmlScene)
        self.logic = CycleINRSlicerLogic()
        self.panel = Panel(self.ui)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneEnd)
        self.addObserver(scene, scene.EndImportEvent, self._onSceneEnd)
        self._useParameters(self.logic.getParameterNode())

    def cleanup(self):
        """Also of a panel whose ``setup`` failed, so that a developer can reload the module."""
        self.removeObservers()
        if self.panel is not None:
            self._useParameters(None)
            self.panel.close()

    def onReload(self):
        """Slicer's reload executes this file alone; what it imports is to be the new code too."""
        for name in [name for name in sys.modules if name.partition(".")[0] in ("CycleINRSlicerLib", "cycleinr")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self):
        self._useParameters(self.logic.getParameterNode())
        self.panel.enter()

    def exit(self):
        self.panel.exit()

    def _onSceneStartClose(self, _caller, _event):
        self._useParameters(None)

    def _onSceneEnd(self, _caller, _event):
        parameters = self.logic.getParameterNode()
        parameters.Modified()  # Slicer read them before a loaded scene had the nodes that they name
        self._useParameters(parameters)

    def _useParameters(self, parameters):
        if parameters is not self._parameters:
            if self._parameters is not None:
                self._parameters.disconnectGui(self._guiTag)
                self._parameters.RemoveObserver(self._observerTag)
                # Slicer 5.10 forgets its own, which it added just before; garbage that is still called crashes it
                self._parameters.RemoveObserver(self._observerTag - 1)
            self._parameters = parameters
            if parameters is not None:
                self._guiTag = parameters.connectGui(self.ui)
                self._observerTag = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
        self.panel.setParameters(parameters)

    def _onParametersModified(self, _caller, _event):
        self.panel.update()


class CycleINRSlicerLogic(ScriptedLoadableModuleLogic):
    """Makes volumes finer: ``process`` waits for the result, ``start`` does not."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleLogic.__init__(self, parent)
        self._parameters = None

    def getParameterNode(self):
        """The scene's settings; the same object for the same node, since each one observes the node for good."""
        node = super().getParameterNode()
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = CycleINRSlicerParameterNode(node)
        return self._parameters

    def process(self, inputVolume, outputVolume=None, **options):
        """Make a volume finer and return the node of the result. Waits; opens no window.

        Args:
            inputVolume: A ``vtkMRMLScalarVolumeNode``; never changed.
            outputVolume: Receives the result; None makes a new node.
            **options: The settings of ``cycleinr.upsample``: one of spacing (mm), ratio, isotropic; axis, extent,
                thickness (mm), model, device, memory_limit (GB), region and so on.

        Raises:
            CycleinrError: What was wrong, in words (the kinds are in ``cycleinr`` and
                their subclasses in ``CycleINRSlicerLib``); the scene is as it was.
        """
        run = self.start(inputVolume, outputVolume, **options)
        run.wait()
        return run.outputNode

    def start(self, inputVolume, outputVolume=None, *, onChanged=lambda run: None, **options):
        """Begin to make a volume finer and return the ``Task`` at once; takes the options of ``process``.

        Args:
            onChanged: Called with the run on every progress and change of state, on the main thread.

        Raises:
            CycleinrError: The input or the options cannot work; what is wrong later, the run's ``error`` says.
        """
        from cycleinr.api import Upsampler
        from CycleINRSlicerLib.engine import sharedEngine
        from CycleINRSlicerLib.jobs import makeFiner
        from CycleINRSlicerLib.task import Task

        chosen = Upsampler(**options).options
        run = Task(sharedEngine(), lambda task: makeFiner(task, inputVolume, chosen, outputVolume), onChanged)
        if run.error is not None:
            raise run.error
        return run


class CycleINRSlicerTest(ScriptedLoadableModuleTest):
    """Self-test on the bundled scan's middle slices; every way of running tests in Slicer ends in it."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_finer_volume()

    def test_finer_volume(self):
        from CycleINRSlicerLib.sample import checkFinerVolume

        registerSampleData()  # a module that is added to a running Slicer has missed the start-up's end
        self.delayDisplay(_("Making the bundled scan's middle slices finer"))
        checkFinerVolume(self, CycleINRSlicerLogic())
        self.delayDisplay(_("Test passed"))
