"""What the panel shows, and the one function that sets texts, visibility and enabled flags for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cycleinr.worker.events import PrepareAnswer
from slicer.i18n import tr as _

from .engine_task import RunState
from .forecast import Forecast, durationText
from .parameters import TargetKind

PROGRESS_STEPS = 1000


@dataclass(frozen=True)
class View:
    """All that the panel shows.

    Attributes:
        state: Where the run is.
        forecast: What the settings come to; its hint or problem rules Apply out.
        targetKind, thicknessIsAutomatic: Settings that decide which fields there are.
        inputText: Which scan is taken while no input is chosen, else empty.
        deviceText: Why which device is used.
        phase, fraction, remaining_s: Progress of a run, or of an installation.
        message: How the last run ended.
        canCancel: False for a moment after Apply.
        isPreviewShown: Whether a preview is in front of the scan.
        hasResult, resultText: Whether there is a result of a scan that is still there, and what it is.
        isReviewShown, isMapShown, isCurveShown: What the views show.
        checkText: What the check of the result found out.
        canShowMap, canShowCurve: Whether the check left an expected error and a curve.
        exportProblem: Why the result cannot become a DICOM series; empty where it can.
        offer: A line with links, in HTML, that offers PyTorch for a GPU.
    """

    state: RunState
    forecast: Forecast
    targetKind: TargetKind = TargetKind.SPACING
    thicknessIsAutomatic: bool = True
    inputText: str = ""
    deviceText: str = ""
    phase: str = ""
    fraction: float = 0.0
    remaining_s: float | None = None
    message: str = ""
    canCancel: bool = True
    isPreviewShown: bool = False
    hasResult: bool = False
    resultText: str = ""
    isReviewShown: bool = False
    checkText: str = ""
    canShowMap: bool = False
    isMapShown: bool = False
    canShowCurve: bool = False
    isCurveShown: bool = False
    exportProblem: str = ""
    offer: str = ""


def show(ui, view: View) -> None:
    """Make the panel's widgets show ``view``."""
    _showSettings(ui, view)
    _showRun(ui, view)
    _showResult(ui, view)


def _showSettings(ui, view: View) -> None:
    """They stay open to the reader during a run, which has its own copy of them."""
    forecast = view.forecast
    ui.spacingSpinBox.visible = view.targetKind is TargetKind.SPACING
    ui.ratioSpinBox.visible = view.targetKind is TargetKind.RATIO
    ui.thicknessSpinBox.visible = not view.thicknessIsAutomatic
    _showText(ui.inputLabel, view.inputText)
    ui.forecastLabel.text = forecast.text or "–"
    for index, (axis, plane) in enumerate(forecast.axisNames, start=1):
        ui.axisBox.setItemText(index, f"{plane} ({axis.upper()})")
    _showText(ui.axisLabel, forecast.axisText)
    _showText(ui.thicknessLabel, forecast.thicknessText)
    _showText(ui.modelLabel, forecast.modelText)
    _showText(ui.deviceLabel, view.deviceText)
    _showText(ui.hintLabel, forecast.hint)
    _showText(ui.warningLabel, forecast.warning)


def _showRun(ui, view: View) -> None:
    isBusy, failure = view.state.isBusy, view.message if view.state is RunState.FAILED else ""
    _showText(ui.problemLabel, "" if isBusy else failure or view.forecast.problem)
    ui.applyButton.text = _("Cancel") if isBusy else _("Apply")
    ui.applyButton.enabled = view.canCancel if isBusy else not (view.forecast.problem or view.forecast.hint)
    ui.applyButton.toolTip = _applyToolTip(view)
    ui.previewButton.enabled = not (isBusy or view.forecast.problem or view.forecast.hint)
    ui.progressBar.visible = isBusy
    ui.progressBar.value = round(PROGRESS_STEPS * view.fraction)
    _showText(ui.statusLabel, _progressText(view) if isBusy else "" if failure else view.message)
    _showText(ui.offerLabel, "" if isBusy else view.offer)


def _showResult(ui, view: View) -> None:
    isFree = view.hasResult and not view.state.isBusy
    ui.resultLabel.text = view.resultText or _("None yet.")
    for tool in _RESULT_TOOLS:
        getattr(ui, tool).visible = view.hasResult
    ui.reviewButton.enabled = view.hasResult
    ui.reviewButton.checked = view.isReviewShown
    ui.reviewButton.text = _("Leave review") if view.isReviewShown else _("Review")
    ui.exportButton.enabled = isFree and not view.exportProblem
    ui.exportButton.toolTip = view.exportProblem or _("Write the result as a new DICOM series of the scan's study.")
    ui.removeButton.enabled = (view.hasResult or view.isPreviewShown) and not view.state.isBusy
    ui.checkButton.enabled = isFree
    ui.checkButton.toolTip = _checkToolTip(view.forecast)
    _showText(ui.checkLabel, view.checkText)
    ui.mapButton.enabled = view.canShowMap
    ui.mapButton.checked = view.isMapShown
    ui.mapButton.text = _("Hide error map") if view.isMapShown else _("Show error map")
    ui.mapOpacityCaption.visible = ui.mapOpacitySlider.visible = view.isMapShown
    ui.curveButton.enabled = view.canShowCurve
    ui.curveButton.checked = view.isCurveShown
    ui.curveButton.text = _("Hide curve") if view.isCurveShown else _("Show curve")


_RESULT_TOOLS = (
    *("windowBoxCaption", "windowBox", "fadeSliderCaption", "fadeFromLabel", "fadeSlider", "fadeToLabel"),
    *("slabBoxCaption", "slabBox", "slabSpinBox", "checkButton", "mapButton", "curveButton"),
)
"""Of no use without a result, and out of the way until there is one."""


def _applyToolTip(view: View) -> str:
    if view.state is RunState.INSTALLING:
        return _("The installation cannot be interrupted.")
    if view.state.isBusy:
        return _("End the run; the scene stays as it was.")
    return view.forecast.problem or view.forecast.hint or _("Compute the result as a new volume.")


def _checkToolTip(forecast: Forecast) -> str:
    what = _(
        "Drops the acquired slices, predicts them from the new ones in between, and shows the error to expect over the "
        "result: where to trust it."
    )
    if not forecast.seconds:
        return what
    return what + " " + _("Takes about {time}.").format(time=durationText(forecast.seconds))


def _progressText(view: View) -> str:
    if view.remaining_s is None:
        return view.phase
    return _("{phase}, {time} left").format(phase=view.phase, time=durationText(view.remaining_s))


def _showText(label, text: str) -> None:
    """A label without text takes no room."""
    label.text = text
    label.visible = bool(text)


AUTO, CPU = "auto", "cpu"


class DeviceBox:
    """Fills a combo box with devices and keeps it equal to the chosen name.

    Args:
        box: A ``QComboBox``.
        onChosen: Receives the device's name when the user chooses another.
    """

    def __init__(self, box, onChosen: Callable[[str], None]):
        self._box, self._onChosen = box, onChosen
        self._names: list[str] = []
        self.reason = ""
        self._fill([(AUTO, _("Automatic")), (CPU, _("CPU"))])
        box.connect("currentIndexChanged(int)", self._onIndexChanged)

    def fill(self, answer: PrepareAnswer) -> None:
        """Show the devices that the engine's process found, and why it would take which."""
        self.reason = answer.reason
        self._fill([(AUTO, _("Automatic")), *((device["name"], _deviceText(device)) for device in answer.devices)])

    def choose(self, name: str) -> None:
        """Show ``name``; one that this computer lacks is listed all the same, since a loaded scene may ask for it."""
        if name not in self._names:
            self._add(name, _("{name} (not on this computer)").format(name=name))
        index = self._names.index(name)
        if self._box.currentIndex != index:
            self._box.currentIndex = index

    def _fill(self, devices: list[tuple[str, str]]) -> None:
        wasBlocked = self._box.blockSignals(True)
        self._box.clear()
        self._names = []
        for name, text in devices:
            self._add(name, text)
        self._box.blockSignals(wasBlocked)

    def _add(self, name: str, text: str) -> None:
        self._names.append(name)
        self._box.addItem(text)

    def _onIndexChanged(self, index: int) -> None:
        if 0 <= index < len(self._names):
            self._onChosen(self._names[index])


def _deviceText(device: dict) -> str:
    memory = device["memory_gb"]
    return (
        device["label"]
        if memory is None
        else _("{label}, {memory:.0f} GB").format(label=device["label"], memory=memory)
    )
