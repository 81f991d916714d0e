"""The panel's behaviour: what it says before Apply, the run, and what comes after."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Generator
from pathlib import Path

import qt
import slicer
import vtk
from cycleinr.computer import has_gpu_driver, torch_version
from slicer.i18n import tr as _

from .callbacks import NodeObservers, OneShot, WeakNode
from .check import check, summaryText
from .engine import sharedEngine
from .forecast import ForecastTexts, durationText, forecastOf
from .jobs import export, makeFiner
from .parameters import TargetKind, optionsOf, resetSettings
from .preview import optionsFor, previewOptions
from .reading import FLICKER_KEY, Reading, showText
from .scans_table import ScansTable, makeFramesFiner, sequenceOf, showAsResult
from .task import RunState, Task
from .views import compositeOf, scanBehind, shownVolumeNode, sliceNodes

FORECAST_DELAY_MS = 100
"""Settings change many times while somebody types; the forecast follows the last change."""

CANCEL_DELAY_MS = 500
"""A double click on Apply must not cancel what its first half started."""

STATUS_MS = 5000
PROGRESS_STEPS = 1000

PYTORCH_MODULE = "PyTorchUtils"
"""Module of the extension PyTorch, which finds the build that suits the graphics card; also the link to it."""

_DECLINED = "CycleINR/PyTorchDeclined"


class Panel:
    """Behaviour of the widgets ``ui``; without parameters (a scene is closing) it does nothing."""

    def __init__(self, ui):
        self._ui, self._parameters = ui, None
        self._run: Task | None = None
        self._onDone: Callable[[Task], None] | None = None
        self._forecast, self._message, self._hasFailed = ForecastTexts(), "", False
        self._offer, self._canCancel = "", True
        self._reading = Reading(ui, self._onRead, self._onPreview)
        self._scans, self._areAllWanted = ScansTable(ui), {}
        self._input = NodeObservers(
            self.update, vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        )
        # Which views are in the layout is known only after the layout node has told of its change
        self._shownTimer, self._shown = OneShot(0, self._onShown), WeakNode()
        self._views = NodeObservers(self._shownTimer.start)
        self._forecastTimer = OneShot(FORECAST_DELAY_MS, self._updateForecast)
        self._cancelTimer = OneShot(CANCEL_DELAY_MS, self._allowCancel)
        fillDevices(ui.deviceBox, sharedEngine().devices)
        ui.deviceBox.connect("activated(int)", self._onDeviceChosen)
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
            for each in (self._forecastTimer, self._shownTimer, self._input, self._views):
                each.stop()
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
        node, scene = self._inputNode(), slicer.mrmlScene
        self._input.follow(node, self._parameters.regionNode)
        others = slicer.app.applicationLogic().GetSelectionNode(), scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        self._views.follow(*map(compositeOf, sliceNodes()), *others)
        self._shown = WeakNode(shownVolumeNode())
        self._reading.preview.keepFor(node)
        self._forecast = forecastOf(node, self._parameters)
        self._scans.update()
        self._show()

    def _onShown(self) -> None:
        """A composite node also changes with each move of a fading slider, which is nothing to the forecast."""
        if shownVolumeNode() is not self._shown.node:
            self.update()

    def _onReset(self) -> None:
        if self._parameters is not None:
            resetSettings(self._parameters)

    def _onDevicesKnown(self) -> None:
        fillDevices(self._ui.deviceBox, sharedEngine().devices)
        self.update()

    def _onDeviceChosen(self, index: int) -> None:
        if self._parameters is not None:
            self._parameters.device = self._ui.deviceBox.itemData(index)

    # -- the run
    def _start(self, job: Callable[[Task], Generator], onDone: Callable[[Task], None]) -> None:
        """Start what the engine is to do, unless it is busy; Apply becomes Cancel meanwhile."""
        if self._parameters is None or self._run is not None:
            return
        self._message, self._hasFailed, self._onDone, self._canCancel = "", False, onDone, False
        self._cancelTimer.start()
        Task(sharedEngine(), job, self._onRunChanged)

    def _allowCancel(self) -> None:
        self._canCancel = True
        self._show()

    def _onRunChanged(self, run: Task) -> None:
        if not run.isFinished:
            self._run = run
            self._show()
            return
        self._run, self._hasFailed = None, run.state is RunState.FAILED
        self._message = str(run.error or "")
        if run.error is None and self._parameters is not None:
            self._onDone(run)
        self.update()

    def _onApplyOrCancel(self) -> None:
        if self._run is None:
            self._apply()
        elif self._canCancel:
            self._run.cancel()

    def _apply(self) -> None:
        if self._parameters is None:
            return
        self._reading.preview.remove()
        node, parameters = self._inputNode(), self._parameters
        isSequenceWanted = self._isSequenceWanted(node)

        def job(task: Task) -> Generator:
            options = optionsFor(node, parameters)
            if isSequenceWanted:
                return makeFramesFiner(task, node, options)
            return makeFiner(task, node, options, parameters.outputVolume, parameters.makeDifference)

        self._start(job, self._showResult)

    def _isSequenceWanted(self, node) -> bool:
        """Whether all frames of a volume are wanted, or the shown one; asked once a sequence."""
        _browser, sequence = sequenceOf(node)
        if sequence is None:
            return False
        if sequence.GetID() not in self._areAllWanted:
            question = _("This is one of {count} frames. Compute all of them, or (No) the shown one?")
            answer = slicer.util.confirmYesNoDisplay(question.format(count=sequence.GetNumberOfDataNodes()))
            self._areAllWanted[sequence.GetID()] = answer
        return self._areAllWanted[sequence.GetID()]

    def _showResult(self, run: Task) -> None:
        """Into the slice views, which keep their place; the review layout shows it beside the original."""
        self._message = _("Done in {time}.").format(time=durationText(run.seconds))
        showAsResult(self._parameters, run)
        self._offer = offerText()
        self._reading.showResult()

    def _onScans(self) -> None:
        self._reading.preview.remove()
        self._start(self._scans.job, self._showScans)

    def _showScans(self, run: Task) -> None:
        self._message = run.outcome + " " + _("Done in {time}.").format(time=durationText(run.seconds))

    def _onPreview(self) -> None:
        if self._run is not None:
            slicer.util.showStatusMessage(_("No preview during a run: cancel it, or wait for its end."), STATUS_MS)
        elif self._parameters is not None:
            self._reading.leave()
            node, options = self._inputNode(), optionsOf(self._parameters)
            self._start(lambda task: makeFiner(task, node, previewOptions(node, options)), self._showPreview)

    def _showPreview(self, run: Task) -> None:
        self._reading.preview.show(run.scan.node, run.outputNode)
        self._message = _("Preview after {time}; the key {key} flickers between it and the scan.").format(
            time=durationText(run.seconds), key=FLICKER_KEY
        )

    def _onRead(self, problem: str) -> None:
        if self._run is None:
            self._message = problem or self._message
        self._show()

    def _onRemove(self) -> None:
        if self._run is None:
            self._reading.removeResult()
            self._message = ""
            self.update()

    # -- check and export
    def _onCheck(self) -> None:
        pair, device, memory = self._reading.pair, self._parameters.device, self._parameters.memoryLimitGb or None
        self._start(lambda task: check(task, *pair, device, memory), self._showCheck)

    def _showCheck(self, run: Task) -> None:
        """The error map over the slice views; the curve waits until it is asked for."""
        numbers, errorMap = run.outcome
        self._message = "" if errorMap.node else summaryText(numbers)
        self._parameters.checkVolume = errorMap.node
        self._reading.showMap()

    def _onExport(self) -> None:
        pair, title = self._reading.pair, _("Folder that gets the new series, in a folder of its own")
        parent = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title)
        if parent:
            self._start(lambda task: export(task, *pair, Path(parent)), self._showExport)

    def _showExport(self, run: Task) -> None:
        from cycleinr.resampling import counted  # not when the panel opens

        folder, series = run.outcome
        self._message = _("{files} in {folder}. Import the folder with the DICOM module to see it there.").format(
            files=counted(series["files"], "file is", "files are"), folder=folder
        )
        if series["max_error"]:
            self._message += " " + _("The largest rounding error is {error:.3g}.").format(error=series["max_error"])

    def _onOffer(self, link: str) -> None:
        """PyTorch for a GPU is got in the module of the extension PyTorch."""
        self._offer = ""
        if link == PYTORCH_MODULE:
            slicer.util.selectModule(PYTORCH_MODULE)
        else:
            slicer.app.userSettings().setValue(_DECLINED, True)
        self._show()

    # -- what is seen
    def _show(self) -> None:
        if self._parameters is not None:
            self._showSettings()
            self._showForecast()
            self._showRun()
            self._reading.show(self._run is not None, self._forecast.seconds)
            self._scans.show(canStart=self._run is None)

    def _showSettings(self) -> None:
        """They stay open to the reader during a run, which has its own copy of them."""
        ui, parameters, devices = self._ui, self._parameters, sharedEngine().devices
        ui.spacingSpinBox.visible = parameters.targetKind is TargetKind.SPACING
        ui.ratioSpinBox.visible = parameters.targetKind is TargetKind.RATIO
        ui.thicknessSpinBox.visible = not parameters.thicknessIsAutomatic
        showText(ui.inputLabel, "" if parameters.inputVolume else _inputText(shownVolumeNode()))
        showDevice(ui.deviceBox, parameters.device)
        showText(ui.deviceLabel, devices["reason"] if devices else "")

    def _showForecast(self) -> None:
        ui, forecast = self._ui, self._forecast
        for index, (axis, plane) in enumerate(forecast.axisNames.items(), start=1):
            ui.axisBox.setItemText(index, f"{plane} ({axis.upper()})")
        ui.forecastLabel.text = forecast.text or "–"
        showText(ui.axisLabel, forecast.axisText)
        showText(ui.thicknessLabel, forecast.thicknessText)
        showText(ui.modelLabel, forecast.modelText)
        showText(ui.hintLabel, forecast.hint)
        showText(ui.warningLabel, forecast.warning)

    def _showRun(self) -> None:
        ui, run, isBusy = self._ui, self._run, self._run is not None
        failure = self._message if self._hasFailed else ""
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


def _progressText(run: Task) -> str:
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


def fillDevices(box, answer: dict | None) -> None:
    """Put the devices that the engine's process found into a ``QComboBox``; None while nobody has looked."""
    box.clear()
    box.addItem(_("Automatic"), "auto")
    for device in answer["devices"] if answer else [{"name": "cpu", "label": _("CPU"), "memory_gb": None}]:
        memory = device["memory_gb"]
        text = device["label"] if memory is None else f"{device['label']}, {memory:.0f} GB"
        box.addItem(text, device["name"])


def showDevice(box, name: str) -> None:
    """Choose a device; one that this computer lacks is listed all the same, since a loaded scene may ask for it."""
    if box.findData(name) < 0:
        box.addItem(_("{name} (not on this computer)").format(name=name), name)
    box.currentIndex = box.findData(name)


def offerText() -> str:
    """A line with links, in HTML, to PyTorch for a GPU; empty where it is there, was declined or is of no use."""
    isDeclined = slicer.util.settingsValue(_DECLINED, False, converter=slicer.util.toBool)
    if isDeclined or torch_version() is not None or not has_gpu_driver():
        return ""
    if importlib.util.find_spec(PYTORCH_MODULE) is None:
        how = _("install the extension PyTorch in the Extensions Manager")
    else:
        how = _('<a href="{module}">get it</a> with the extension PyTorch').format(module=PYTORCH_MODULE)
    return _(
        "This computer has a GPU, which CycleINR can use with PyTorch, a download of up to 3 GB: {how}. "
        '<a href="decline">No, never ask again</a>'
    ).format(how=how)
