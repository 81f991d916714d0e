"""The panel's behaviour: what it says before Apply, the run, and what comes after."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import qt
import slicer
import vtk
from cycleinr.errors import CycleinrError
from cycleinr.inference.plan import plan
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from . import installation
from .check_run import CheckRun, CheckSettings
from .device_box import DeviceBox
from .display_link import DisplayLink
from .engine import sharedEngine
from .engine_task import EngineTask
from .export_run import ExportRun, whyNoExport
from .panel_state import BUSY, PanelState, View, show
from .parameters import optionsOf
from .review import Review
from .run import Run, RunRequest
from .self_check_display import CurveView, chartOf, showOverlay, summaryText
from .summary import Summary, durationText, summaryOf
from .volume_node import activeVolumeNode, volumeFromNode

SUMMARY_DELAY_MS = 100
"""Settings change many times while somebody types; the summary follows the last change."""

CANCEL_DELAY_MS = 500
"""A double click on Apply must not cancel what its first half started."""


class Panel(VTKObservationMixin):
    """Behaviour of the widgets ``ui``; without parameters (a scene is closing) it shows nothing and does nothing."""

    def __init__(self, ui, logic):
        super().__init__()
        self._ui, self._logic = ui, logic
        self._parameters = self._run = self._observedInput = None
        self._state, self._summary, self._message = PanelState.IDLE, Summary(), ""
        self._canCancel, self._startedAt_s = True, 0.0
        self._review, self._displayLink, self._curve = Review(), DisplayLink(), CurveView()
        self._devices = DeviceBox(ui.deviceBox, self._onDeviceChosen)
        self._timer = qt.QTimer()
        self._timer.singleShot = True
        self._timer.interval = SUMMARY_DELAY_MS
        self._timer.connect("timeout()", self._updateSummary)
        ui.applyButton.connect("clicked(bool)", self._onApplyOrCancel)
        ui.reviewButton.connect("clicked(bool)", self._onReview)
        ui.checkButton.connect("clicked(bool)", self._onCheck)
        ui.curveButton.connect("clicked(bool)", self._onCurve)
        ui.exportButton.connect("clicked(bool)", self._onExport)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        self.addObserver(selection, vtk.vtkCommand.ModifiedEvent, self._onSomethingModified)

    # -- what the widget calls
    def setParameters(self, parameters) -> None:
        self._parameters = parameters
        if parameters is None:
            self._timer.stop()
            self._observeInput(None)
            self._leaveReview()
            self._curve.leave()
            self._show()
        else:
            self._updateSummary()

    def enter(self) -> None:
        """The panel is shown: warm the engine up, so that Apply need not wait for it."""
        if not installation.missingPackages():
            sharedEngine().prepare(self._onDevicesKnown)
        self.update()

    def close(self) -> None:
        """The application or the module ends: so does what was started here."""
        self.removeObservers()
        self._observedInput = None
        self._timer.stop()
        self._leaveReview()
        self._curve.leave()
        if self._run is not None:
            self._run.cancel()
        sharedEngine().stop()

    def update(self) -> None:
        """Show the settings at once, and what they come to soon."""
        self._show()
        if self._parameters is not None and self._state not in BUSY:
            self._timer.start()

    # -- before Apply
    def _inputNode(self):
        return self._parameters.inputVolume or activeVolumeNode()

    def _updateSummary(self) -> None:
        if self._parameters is None:
            return
        node = self._inputNode()
        self._observeInput(node)
        try:
            volume = volumeFromNode(node)
            self._summary = summaryOf(volume, plan(volume, optionsOf(self._parameters)))
        except CycleinrError as error:
            self._summary = Summary(problem=str(error))
        self._show()

    def _observeInput(self, node) -> None:
        """The summary follows changes of the input's voxels and geometry."""
        if node is not self._observedInput:
            if self._observedInput is not None:
                self.removeObserver(self._observedInput, vtk.vtkCommand.ModifiedEvent, self._onSomethingModified)
            if node is not None:
                self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onSomethingModified)
            self._observedInput = node

    def _onSomethingModified(self, _caller, _event) -> None:
        self.update()

    # -- devices
    def _onDevicesKnown(self) -> None:
        self._devices.fill(sharedEngine().devices)
        self.update()

    def _onDeviceChosen(self, name: str) -> None:
        if self._parameters is not None:
            self._parameters.device = name

    # -- the run
    def _onApplyOrCancel(self, _checked=False) -> None:
        if self._state in BUSY:
            if self._canCancel:
                self._run.cancel()
        elif self._parameters is not None:
            with slicer.util.tryWithErrorDisplay(_("The run could not be started.")):
                self._apply()

    def _apply(self) -> None:
        parameters, node = self._parameters, self._inputNode()

        def run() -> Run:
            request = RunRequest(node, parameters.outputVolume, optionsOf(parameters), parameters.makeDifference)
            return Run(sharedEngine(), request, self._onRunChanged)

        self._start(run)
        self._inputID = node.GetID() if node else None

    def _start(self, makeTask: Callable[[], EngineTask]) -> None:
        """Start what the engine is to do; Apply becomes Cancel meanwhile."""
        self._message, self._startedAt_s = "", time.monotonic()
        try:
            installation.ensureInstalled(askUser=True)
            self._canCancel = False
            qt.QTimer.singleShot(CANCEL_DELAY_MS, self._allowCancel)
            self._run = makeTask()
            self._state = PanelState.PREPARING
        except CycleinrError as error:
            self._state, self._message = PanelState.FAILED, str(error)
        self._show()

    def _allowCancel(self) -> None:
        self._canCancel = True
        self._show()

    def _onRunChanged(self, run: EngineTask) -> None:
        self._state = PanelState(run.state.value)
        if run.isFinished:
            self._run, self._canCancel = None, True
            self._message = str(run.error) if run.error else ""
            if self._state is PanelState.DONE:
                {Run: self._showResult, CheckRun: self._showCheck, ExportRun: self._showExport}[type(run)](run)
            self.update()
        else:
            self._run = run
            self._show()

    def _showResult(self, run: Run) -> None:
        """Into the slice views, which keep their place; the review layout shows it beside the original."""
        inputNode, node = slicer.mrmlScene.GetNodeByID(self._inputID), run.outputNode
        seconds = time.monotonic() - self._startedAt_s
        self._message = _("{name} is ready after {time}. Derived, not acquired.").format(
            name=node.GetName(), time=durationText(seconds)
        )
        with slicer.util.NodeModify(self._parameters):
            self._parameters.resultInput, self._parameters.resultVolume = inputNode, node
            self._parameters.differenceVolume, self._parameters.checkVolume = run.differenceNode, None
        if self._review.isShown:
            self._enterReview()
        else:
            slicer.util.setSliceViewerLayers(background=node)

    # -- review
    def _onReview(self, _checked=False) -> None:
        parameters = self._parameters
        with slicer.util.tryWithErrorDisplay(_("The review could not be shown.")):
            if self._review.isShown:
                self._leaveReview()
            elif parameters is not None and parameters.resultVolume is not None:
                self._enterReview()
        self._show()

    def _enterReview(self) -> None:
        pair = self._parameters.resultInput, self._parameters.resultVolume
        self._review.show(*pair)
        self._displayLink.link(*pair)

    def _leaveReview(self) -> None:
        self._displayLink.unlink()
        self._review.leave()

    # -- check and export
    def _onCheck(self, _checked=False) -> None:
        parameters = self._parameters
        if parameters is None or self._state in BUSY:
            return
        settings = CheckSettings(parameters.device, parameters.memoryLimitGb or None)
        pair = parameters.resultInput, parameters.resultVolume
        with slicer.util.tryWithErrorDisplay(_("The check could not be started.")):
            self._start(lambda: CheckRun(sharedEngine(), *pair, settings, self._onRunChanged))

    def _showCheck(self, run: CheckRun) -> None:
        """The error map over the slice views; the curve waits until it is asked for."""
        self._message = "" if run.mapNode else summaryText(run.numbers)
        self._parameters.checkVolume = run.mapNode
        if run.mapNode is not None:
            showOverlay(run.mapNode)

    def _onCurve(self, _checked=False) -> None:
        with slicer.util.tryWithErrorDisplay(_("The curve could not be shown.")):
            chart = chartOf(self._parameters.checkVolume) if self._parameters else None
            if self._curve.isShown:
                self._curve.leave()
            elif chart is not None:
                self._leaveReview()
                self._curve.show(chart)
        self._show()

    def _onExport(self, _checked=False) -> None:
        parameters = self._parameters
        if parameters is None or self._state in BUSY:
            return
        pair = parameters.resultInput, parameters.resultVolume
        title = _("Folder that gets the new series, in a folder of its own")
        parent = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title)
        if not parent:
            return
        with slicer.util.tryWithErrorDisplay(_("The series could not be written.")):
            self._start(lambda: ExportRun(sharedEngine(), *pair, Path(parent), self._onRunChanged))

    def _showExport(self, run: ExportRun) -> None:
        self._message = _("{count} files are in {folder}. Import them with the DICOM module to see them there.").format(
            count=run.fileCount, folder=run.folder
        )
        if run.maxError:
            self._message += " " + _("The largest rounding error is {error:.3g}.").format(error=run.maxError)

    # -- what is seen
    def _show(self) -> None:
        parameters, run = self._parameters, self._run
        if parameters is None:
            show(self._ui, View(PanelState.IDLE, Summary(problem=_("No scene is open."))))
            return
        active = None if parameters.inputVolume else activeVolumeNode()
        self._devices.choose(parameters.device)
        view = View(
            state=self._state,
            summary=self._summary,
            targetKind=parameters.targetKind,
            thicknessIsAutomatic=parameters.thicknessIsAutomatic,
            inputName=active.GetName() if active else "",
            deviceText=self._devices.reason,
            phase=run.phase if run else "",
            fraction=run.fraction if run else 0.0,
            remaining_s=run.remaining_s if run else None,
            message=self._message,
            canCancel=self._canCancel,
            canReview=parameters.resultVolume is not None and parameters.resultInput is not None,
            isReviewShown=self._review.isShown,
            canCheck=parameters.resultVolume is not None and parameters.resultInput is not None,
            checkText=_checkText(parameters.checkVolume),
            canShowCurve=chartOf(parameters.checkVolume) is not None,
            isCurveShown=self._curve.isShown,
            exportProblem="" if run else whyNoExport(parameters.resultInput, parameters.resultVolume),
        )
        show(self._ui, view)


def _checkText(mapNode) -> str:
    """What the last check found out; the map keeps it, so that it comes back with a saved scene."""
    return mapNode.GetDescription().partition("\n")[2] if mapNode is not None else ""
