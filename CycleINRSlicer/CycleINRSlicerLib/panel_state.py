"""What the panel shows, and the one function that sets texts, visibility and enabled flags for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cycleinr.worker.events import PrepareAnswer
from slicer.i18n import tr as _

from .engine_task import RunState
from .forecast import Summary, durationText
from .parameters import TargetKind

PROGRESS_STEPS = 1000


@dataclass(frozen=True)
class View:
    """All that the panel shows.

    Attributes:
        state: Where the run is.
        summary: What the settings come to; ``summary.problem`` rules Apply out.
        targetKind, thicknessIsAutomatic: Settings that decide which fields can be edited.
        inputText: Which scan is taken while no input is chosen, else empty.
        deviceText: Why which device is used.
        phase, fraction, remaining_s: Progress of a run, or of an installation.
        message: How the last run ended.
        canCancel: False for a moment after Apply.
        canReview, isReviewShown: State of the review button.
        canCheck, checkText: Whether there is a result to check, and what its check found out.
        canShowMap, isMapShown: State of the button of the expected error.
        canShowCurve, isCurveShown: State of the curve button.
        exportProblem: Why the result cannot become a DICOM series; empty where it can.
        offer: A line with links, in HTML, that offers PyTorch for a GPU.
    """

    state: RunState
    summary: Summary
    targetKind: TargetKind = TargetKind.SPACING
    thicknessIsAutomatic: bool = True
    inputText: str = ""
    deviceText: str = ""
    phase: str = ""
    fraction: float = 0.0
    remaining_s: float | None = None
    message: str = ""
    canCancel: bool = True
    canReview: bool = False
    isReviewShown: bool = False
    canCheck: bool = False
    checkText: str = ""
    canShowMap: bool = False
    isMapShown: bool = False
    canShowCurve: bool = False
    isCurveShown: bool = False
    exportProblem: str = ""
    offer: str = ""


def show(ui, view: View) -> None:
    """Make the panel's widgets show ``view``."""
    isBusy, summary = view.state.isBusy, view.summary
    for section in (ui.volumesSection, ui.targetSection, ui.advancedSection):
        section.enabled = not isBusy
    _showField(ui.spacingSpinBoxCaption, ui.spacingSpinBox, view.targetKind is TargetKind.SPACING)
    _showField(ui.ratioSpinBoxCaption, ui.ratioSpinBox, view.targetKind is TargetKind.RATIO)
    ui.thicknessSpinBox.visible = not view.thicknessIsAutomatic
    _showText(ui.inputLabel, view.inputText)
    _showText(ui.axisLabel, summary.axisText)
    _showText(ui.thicknessLabel, summary.thicknessText)
    _showText(ui.modelLabel, summary.modelText)
    _showText(ui.deviceLabel, view.deviceText)
    ui.inputSummaryLabel.text = summary.inputText or "–"
    ui.resultSummaryLabel.text = summary.resultText or "–"
    failure = view.message if view.state is RunState.FAILED else ""
    _showText(ui.problemLabel, "" if isBusy else failure or summary.problem)
    _showText(ui.warningLabel, "" if isBusy else summary.warning)
    ui.applyButton.text = _("Cancel") if isBusy else _("Apply")
    ui.applyButton.enabled = view.canCancel if isBusy else not summary.problem
    ui.applyButton.toolTip = _applyToolTip(view)
    ui.progressBar.visible = isBusy
    ui.progressBar.value = round(PROGRESS_STEPS * view.fraction)
    _showText(ui.statusLabel, _progressText(view) if isBusy else "" if failure else view.message)
    _showText(ui.offerLabel, "" if isBusy else view.offer)
    ui.reviewButton.enabled = view.canReview and not isBusy
    ui.reviewButton.checked = view.isReviewShown
    ui.reviewButton.text = _("Back to the former layout") if view.isReviewShown else _("Review original and result")
    ui.checkButton.enabled = view.canCheck and not isBusy
    _showText(ui.checkLabel, view.checkText)
    ui.mapButton.enabled = view.canShowMap and not isBusy
    ui.mapButton.checked = view.isMapShown
    ui.mapButton.text = _("Hide the expected error") if view.isMapShown else _("Show the expected error")
    ui.curveButton.enabled = view.canShowCurve and not isBusy
    ui.curveButton.checked = view.isCurveShown
    ui.curveButton.text = _("Back to the former layout") if view.isCurveShown else _("Show the curve")
    ui.exportButton.enabled = not view.exportProblem and not isBusy
    ui.exportButton.toolTip = view.exportProblem or _("Write the result as a new DICOM series of the scan's study.")


def _applyToolTip(view: View) -> str:
    if view.state is RunState.INSTALLING:
        return _("The installation cannot be interrupted.")
    if view.state.isBusy:
        return _("End the run; the scene stays as it was.")
    return view.summary.problem or _("Compute the result as a new volume.")


def _progressText(view: View) -> str:
    if view.remaining_s is None:
        return view.phase
    return _("{phase}, {time} left").format(phase=view.phase, time=durationText(view.remaining_s))


def _showField(caption, field, isShown: bool) -> None:
    caption.visible = field.visible = isShown


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
