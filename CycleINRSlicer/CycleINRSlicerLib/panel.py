"""The panel's behaviour: what it says before Apply, the run, and what comes after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer
import vtk
from cycleinr.errors import CycleinrError
from slicer.i18n import tr as _

from .callbacks import NodeObservers, OneShot
from .check_run import CheckRun, summaryText
from .devices import PYTORCH_MODULE, DeviceBox, declineOffer, offerText
from .engine import sharedEngine
from .engine_task import EngineTask, RunState
from .export_run import ExportRun
from .forecast import Forecast, durationText, forecastOf
from .parameters import TargetKind, optionsOf, resetSettings
from .preview import optionsFor, previewOptions
from .reading import FLICKER_KEY, Reading, showText
from .run import Run
from .scans_table import Batch, ScansTable, SequenceFrames, showAsResult
from .views import ShownVolume, scanBehind, shownVolumeNode

FORECAST_DELAY_MS = 100
"""Settings change many times while somebody types; the forecast follows the last change."""

CANCEL_DELAY_MS = 500
"""A double click on Apply must not cancel what its first half started."""

STATUS_MS = 5000
PROGRESS_STEPS = 1000


class Panel:
    """Behaviour of the widgets ``ui``; without parameters (a scene is closing) it does nothing."""

    def __init__(self, ui):
        self._ui = ui
        self._parameters = self._run = self._onDone = None
        self._state, self._forecast, self._message = RunState.IDLE, Forecast(), ""
        self._offer, self._canCancel = "", True
        self._devices = DeviceBox(ui.deviceBox, self._onDeviceChosen)
        self._reading = Reading(ui, self._onRead, self._onPreview)
        self._scans, self._areAllWanted = ScansTable(ui), {}
        self._input = NodeObservers(
            self.update, vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        )
        self._shown = ShownVolume(self.update)
        self._forecastTimer = OneShot(FORECAST_DELAY_MS, self._updateForecast)
        self._cancelTimer = OneShot(CANCEL_DELAY_MS, self._allowCancel)
        ui.applyButton.connect("clicked(bool)", self._onApplyOrCancel)
        ui.scansButton.connect("clicked(bool)", self._onScans)
        ui.previewButton.connect("clicked(bool)", self._onPreview)
        ui.checkButton.connect("clicked(bool)", self._onCheck)
        ui.exportButton.connect("clicked(bool)", self._onExport)
        ui.removeButton.connect("clicked(bool)", self._onRemove)
        ui.resetButton.connect("clicked(bool)", self._onReset)
        ui.offerLabel.connect("linkActivated(QString)", self._onOffer)

    # -- what the widget calls
    def setParameters(self, parameters) -> None:
        self._parameters = parameters
        self._reading.setParameters(parameters)
        self._scans.setParameters(parameters)
        if parameters is None:
            self._offer, self._areAllWanted = "", {}
            self._forecastTimer.stop()
            self._input.stop()
            self._shown.stop()
        else:
            self._updateForecast()

    def enter(self) -> None:
        """The panel is shown: warm the engine up, so that Apply need not wait for it."""
        sharedEngine().prepare(self._onDevicesKnown)
        self._reading.enter()
        self.update()

    def exit(self) -> None:
        """Another module is shown: its keys are its own; a run goes on."""
        self._reading.exit()

    def close(self) -> None:
        """The application or the module ends: so does what was started here."""
        self.setParameters(None)
        self._reading.exit()
        self._cancelTimer.stop()
        if self._run is not None:
            self._run.cancel()
        sharedEngine().stop()

    def update(self) -> None:
        """Show the settings at once, and what they come to soon."""
        self._show()
        if self._parameters is not None:
            self._forecastTimer.start()

    # -- before Apply
    def _inputNode(self):
        return self._parameters.inputVolume or scanBehind(shownVolumeNode())

    def _updateForecast(self) -> None:
        if self._parameters is None:
            return
        node = self._inputNode()
        self._input.follow(node, self._parameters.regionNode)
        self._shown.follow()
        self._reading.preview.keepFor(node)
        self._forecast = forecastOf(node, self._parameters)
        self._scans.update()
        self._show()

    def _onReset(self, _checked=False) -> None:
        if self._parameters is not None:
            resetSettings(self._parameters)

    # -- devices
    def _onDevicesKnown(self) -> None:
        self._devices.fill(sharedEngine().devices)
        self.update()

    def _onDeviceChosen(self, name: str) -> None:
        if self._parameters is not None:
            self._parameters.device = name

    # -- the run
    def _onApplyOrCancel(self, _checked=False) -> None:
        if not self._state.isBusy:
            self._apply()
        elif self._canCancel:
            self._run.cancel()

    def _apply(self) -> None:
        if self._parameters is None:
            return
        self._reading.preview.remove()
        node, parameters = self._inputNode(), self._parameters
        frames = SequenceFrames.of(node)
        if frames is not None and frames.areAllWanted(self._areAllWanted):

            def batch() -> Batch:
                return Batch(frames.jobs(optionsFor(node, parameters)), self._onRunChanged, frames.finish)

            self._start(batch, lambda run: self._showFrames(run, frames))
        else:

            def run() -> Run:
                more = optionsFor(node, parameters), self._onRunChanged, parameters.outputVolume
                return Run(sharedEngine(), node, *more, parameters.makeDifference)

            self._start(run, self._showResult)

    def _showFrames(self, run: Batch, frames: SequenceFrames) -> None:
        showAsResult(self._parameters, *frames.pair)
        self._showBatch(run)
        self._reading.showResult()

    def _onScans(self, _checked=False) -> None:
        self._reading.preview.remove()
        self._start(lambda: Batch(self._scans.jobs(), self._onRunChanged), self._showBatch)

    def _showBatch(self, run: Batch) -> None:
        self._message = run.summary + " " + _("Done in {time}.").format(time=durationText(run.seconds))

    def _onPreview(self, _checked=False) -> None:
        if self._state.isBusy:
            slicer.util.showStatusMessage(_("No preview during a run: cancel it, or wait for its end."), STATUS_MS)
        elif self._parameters is not None:
            self._reading.leave()
            node = self._inputNode()

            def run() -> Run:
                options = previewOptions(node, optionsOf(self._parameters))
                return Run(sharedEngine(), node, options, self._onRunChanged)

            self._start(run, self._showPreview)

    def _showPreview(self, run: Run) -> None:
        self._reading.preview.show(run.inputNode, run.outputNode)
        self._message = _("Preview after {time}; the key {key} flickers between it and the scan.").format(
            time=durationText(run.seconds), key=FLICKER_KEY
        )

    def _start(self, makeTask: Callable[[], EngineTask], onDone: Callable[[EngineTask], None]) -> None:
        """Start what the engine is to do, unless it is busy; Apply becomes Cancel meanwhile."""
        if self._parameters is None or self._state.isBusy:
            return
        self._message, self._onDone, self._state, self._canCancel = "", onDone, RunState.IDLE, False
        self._cancelTimer.start()
        with slicer.util.tryWithErrorDisplay(_("This could not be started.")):
            try:
                self._run = makeTask()
                self._state = RunState.PREPARING
            except CycleinrError as error:
                self._state, self._message = RunState.FAILED, str(error)
        self._show()

    def _allowCancel(self) -> None:
        self._canCancel = True
        self._show()

    def _onRunChanged(self, run: EngineTask) -> None:
        self._state = run.state
        if run.isFinished:
            self._run, self._canCancel = None, True
            self._message = str(run.error) if run.error else ""
            if self._state is RunState.DONE and self._parameters is not None:
                self._onDone(run)
            self.update()
        else:
            self._run = run
            self._show()

    def _showResult(self, run: Run) -> None:
        """Into the slice views, which keep their place; the review layout shows it beside the original."""
        self._message = _("Done in {time}.").format(time=durationText(run.seconds))
        showAsResult(self._parameters, run.inputNode, run.outputNode, run.differenceNode)
        self._offer = offerText()
        self._reading.showResult()

    def _onRead(self, problem: str) -> None:
        if not self._state.isBusy:
            self._message = problem or self._message
        self._show()

    def _onRemove(self, _checked=False) -> None:
        if not self._state.isBusy:
            self._reading.removeResult()
            self._message = ""
            self.update()

    # -- check and export
    def _onCheck(self, _checked=False) -> None:
        def check() -> CheckRun:
            device, memory = self._parameters.device, self._parameters.memoryLimitGb or None
            return CheckRun(sharedEngine(), *self._reading.pair, self._onRunChanged, device, memory)

        self._start(check, self._showCheck)

    def _showCheck(self, run: CheckRun) -> None:
        """The error map over the slice views; the curve waits until it is asked for."""
        self._message = "" if run.mapNode else summaryText(run.numbers)
        self._parameters.checkVolume = run.mapNode
        self._reading.showMap()

    def _onExport(self, _checked=False) -> None:
        pair, title = self._reading.pair, _("Folder that gets the new series, in a folder of its own")
        parent = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title)
        if parent:
            self._start(lambda: ExportRun(sharedEngine(), *pair, Path(parent), self._onRunChanged), self._showExport)

    def _showExport(self, run: ExportRun) -> None:
        self._message = _("{count} files are in {folder}. Import them with the DICOM module to see them there.").format(
            count=run.fileCount, folder=run.folder
        )
        if run.maxError:
            self._message += " " + _("The largest rounding error is {error:.3g}.").format(error=run.maxError)

    def _onOffer(self, link: str) -> None:
        """PyTorch for a GPU is got in the module of the extension PyTorch."""
        self._offer = ""
        if link == PYTORCH_MODULE:
            slicer.util.selectModule(PYTORCH_MODULE)
        else:
            declineOffer()
        self._show()

    # -- what is seen
    def _show(self) -> None:
        if self._parameters is not None:
            self._showSettings()
            self._showForecast()
            self._showRun()
            self._reading.show(self._state.isBusy, self._forecast.seconds)
            self._scans.show(canStart=not self._state.isBusy)

    def _showSettings(self) -> None:
        """They stay open to the reader during a run, which has its own copy of them."""
        ui, parameters = self._ui, self._parameters
        ui.spacingSpinBox.visible = parameters.targetKind is TargetKind.SPACING
        ui.ratioSpinBox.visible = parameters.targetKind is TargetKind.RATIO
        ui.thicknessSpinBox.visible = not parameters.thicknessIsAutomatic
        showText(ui.inputLabel, "" if parameters.inputVolume else _inputText(shownVolumeNode()))
        self._devices.choose(parameters.device)
        showText(ui.deviceLabel, self._devices.reason)

    def _showForecast(self) -> None:
        ui, forecast = self._ui, self._forecast
        for index, (axis, plane) in enumerate(forecast.axisNames, start=1):
            ui.axisBox.setItemText(index, f"{plane} ({axis.upper()})")
        ui.forecastLabel.text = forecast.text or "–"
        showText(ui.axisLabel, forecast.axisText)
        showText(ui.thicknessLabel, forecast.thicknessText)
        showText(ui.modelLabel, forecast.modelText)
        showText(ui.hintLabel, forecast.hint)
        showText(ui.warningLabel, forecast.warning)

    def _showRun(self) -> None:
        ui, run, isBusy = self._ui, self._run, self._state.isBusy
        failure = self._message if self._state is RunState.FAILED else ""
        why = self._forecast.problem or self._forecast.hint
        showText(ui.problemLabel, "" if isBusy else failure or self._forecast.problem)
        ui.applyButton.text = _("Cancel") if isBusy else _("Apply")
        ui.applyButton.enabled = self._canCancel if isBusy else not why
        whatItDoes = why or _("Compute the result as a new volume.")
        ui.applyButton.toolTip = _("End the run; the scene stays as it was.") if isBusy else whatItDoes
        ui.previewButton.enabled = not (isBusy or why)
        ui.progressBar.visible = isBusy
        ui.progressBar.value = round(PROGRESS_STEPS * run.fraction) if run else 0
        showText(ui.statusLabel, _progressText(run) if isBusy else "" if failure else self._message)
        showText(ui.offerLabel, "" if isBusy else self._offer)


def _progressText(run: EngineTask) -> str:
    if run.remaining_s is None:
        return run.phase
    return _("{phase}, {time} left").format(phase=run.phase, time=durationText(run.remaining_s))


def _inputText(shownNode) -> str:
    """Which scan is taken while none is chosen; empty for none."""
    if shownNode is None:
        return ""
    scan = scanBehind(shownNode)
    if scan is shownNode:
        return scan.GetName()
    return _("{scan}, the original of what is on screen").format(scan=scan.GetName())
