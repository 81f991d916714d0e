"""How a result is read, by Slicer's own means: review, windows, fading, slabs, error map, and keys for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import qt
import slicer
from cycleinr import CycleinrError
from cycleinr.inspection import without_padding
from cycleinr.windows import CT_WINDOWS, DisplayWindow, window_for
from slicer.i18n import tr as _

from .callbacks import NodeObservers
from .check import chartOf, hideOverlay, isOverlayShown, removeCheck, showCurve, showOverlay
from .forecast import durationText, sentence
from .jobs import whyNoExport
from .preview import Preview
from .review import BOTTOM_VIEWS, Review
from .views import SINGLE, SLABS, Detour, fade, fadeShown, setSlab, slabShown
from .volume_node import NodeError, volumeFromNode

AUTOMATIC = "auto"
WINDOWS = (AUTOMATIC, "brain", "bone", "lung", "soft-tissue", "abdomen")
FLICKER_KEY, SLAB_KEY, PREVIEW_KEY = "O", "S", "P"
"""The module's help has them, and that the digits stand for ``WINDOWS``."""


def setWindow(name: str, scanNode, *others) -> DisplayWindow:
    """Show a scan, and what was made of it, in one of ``WINDOWS``.

    Raises:
        NodeError: A CT's window was asked for, and the scan is MR.
        CycleinrError: The scan cannot be read.
    """
    scan = without_padding(volumeFromNode(scanNode))
    if scan.modality != "CT" and name != AUTOMATIC:
        raise NodeError(
            _("{scan} is no CT, so the {window} window means nothing for it. Take the automatic one (key 0).").format(
                scan=scan.name, window=CT_WINDOWS[name].name
            )
        )
    window = window_for(scan, scan.modality, name)
    _setWindowLevel((scanNode, *others), window.width, window.level)
    return window


def _setWindowLevel(nodes, width: float, level: float) -> None:
    for display in filter(None, (node.GetDisplayNode() for node in nodes)):
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(width, level)


class Reading:
    """How the result is read: its widgets and keys, and what they do to the slice views.

    Args:
        ui: The panel's widgets.
        onUsed: Called after each use, with what is wrong or an empty text.
        onPreview: Called when a preview is asked for by its key.
    """

    def __init__(self, ui, onUsed: Callable[[str], None], onPreview: Callable[[], None]):
        self._ui, self._onUsed, self._onPreview, self._parameters = ui, onUsed, onPreview, None
        self.preview = Preview()
        self._review = Review()
        self._curve = Detour(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView)
        self._displays, self._sharedWindow = NodeObservers(self._shareWindow), None
        self._keys: list = []
        self._window = "", (0.0, 0.0)  # the one of WINDOWS that was set last, and its width and level
        ui.windowBox.addItem(_("As it is"), "")
        ui.windowBox.addItem(_("Automatic"), AUTOMATIC)
        for name in WINDOWS[1:]:
            ui.windowBox.addItem(sentence(CT_WINDOWS[name].name), name)
        for name in (_("Single slices"), _("Mean"), _("Maximum (MIP)")):
            ui.slabBox.addItem(name)
        ui.reviewButton.connect("clicked(bool)", self._onReview)
        ui.windowBox.connect("activated(int)", self._onWindow)
        ui.fadeSlider.connect("valueChanged(int)", self._onFade)
        ui.slabBox.connect("activated(int)", self._onSlab)
        ui.slabSpinBox.connect("valueChanged(double)", self._onThickness)
        ui.mapButton.connect("clicked(bool)", self._onMap)
        ui.mapOpacitySlider.connect("valueChanged(int)", self._onMapOpacity)
        ui.curveButton.connect("clicked(bool)", self._onCurve)

    # -- what the panel calls
    @property
    def pair(self) -> tuple:
        """Scan and result; None for both where one is not there."""
        parameters = self._parameters
        found = (None, None) if parameters is None else (parameters.resultInput, parameters.resultVolume)
        return found if None not in found else (None, None)

    @property
    def isMapShown(self) -> bool:
        return isOverlayShown(self._map)

    def setParameters(self, parameters) -> None:
        """Read the result of this scene; None while a scene closes."""
        self._parameters = parameters
        if parameters is None:
            self.leave()

    def enter(self) -> None:
        """The keys work from now on, wherever in the main window the focus is."""
        window = slicer.util.mainWindow()
        if self._keys or window is None:
            return
        for number, name in enumerate(WINDOWS):
            self._addKey(window, str(number), lambda name=name: self._setWindow(name))
        self._addKey(window, FLICKER_KEY, self._flicker)
        self._addKey(window, SLAB_KEY, self._nextSlab)
        self._addKey(window, PREVIEW_KEY, self._onPreview)

    def exit(self) -> None:
        """The keys belong to other modules again."""
        keys, self._keys = self._keys, []
        for key in keys:
            key.enabled = False
            key.deleteLater()

    def leave(self) -> None:
        """Back to the layout that was there before the review, or before the curve; without a preview."""
        self.preview.remove()
        self._leaveReview()
        self._curve.back()

    def showResult(self) -> None:
        """A new result, into the slice views, which keep their place; in the review beside the original."""
        if self._review.isShown:
            self._enterReview()
        else:
            slicer.util.setSliceViewerLayers(background=self.pair[1])

    def showMap(self) -> None:
        """The error map over the result, wherever the result or its scan is shown."""
        mapNode, (scan, result) = self._map, self.pair
        if mapNode is not None and result is not None:
            self.preview.remove()
            fade(scan, result, 1, self._fadingViews)
            showOverlay(mapNode, result, self._ui.mapOpacitySlider.value / 100)

    def removeResult(self) -> None:
        """Result, what was made of it, and preview leave the scene; the views show the scan again."""
        (scan, result), mapNode = self.pair, self._map
        self.leave()
        if result is None:
            return
        if mapNode is not None:
            removeCheck(mapNode)
        fade(scan, result, 0)
        for node in (self._parameters.differenceVolume, result):
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)

    def show(self, isBusy: bool, checkSeconds: float) -> None:
        """Make the widgets say what there is to read and what the views show.

        Args:
            isBusy: Whether a run is under way.
            checkSeconds: About how long a check takes; 0 for unknown.
        """
        ui, (scan, result), mapNode, kind = self._ui, self.pair, self._map, slabShown()
        ui.resultLabel.text = _sizeText(result) if result else _("None yet.")
        for name in _TOOLS:
            getattr(ui, name).visible = result is not None
        if result is not None:
            wasBlocked = ui.fadeSlider.blockSignals(True)
            ui.fadeSlider.value = round(100 * fadeShown(scan, result, self._fadingViews))
            ui.fadeSlider.blockSignals(wasBlocked)
            ui.windowBox.currentIndex = self._windowShown()
        ui.slabBox.currentIndex = SLABS.index(kind)
        ui.slabSpinBox.enabled = kind is not SINGLE
        _showSwitch(ui.reviewButton, result, self._review.isShown, _("Review"), _("Leave review"))
        _showSwitch(ui.mapButton, mapNode and result, self.isMapShown, _("Show error map"), _("Hide error map"))
        _showSwitch(ui.curveButton, chartOf(mapNode), self._curve.isThere, _("Show curve"), _("Hide curve"))
        ui.mapOpacityCaption.visible = ui.mapOpacitySlider.visible = self.isMapShown
        # The map keeps what was found out, so that it comes back with a saved scene
        showText(ui.checkLabel, mapNode.GetDescription().partition("\n")[2] if mapNode else "")
        isFree, problem = result is not None and not isBusy, "" if isBusy else whyNoExport(scan, result)
        ui.checkButton.enabled, ui.checkButton.toolTip = isFree, _checkToolTip(checkSeconds)
        ui.exportButton.enabled = isFree and not problem
        ui.exportButton.toolTip = problem or _("Write the result as a new DICOM series of the scan's study.")
        ui.removeButton.enabled = not isBusy and (result is not None or self.preview.isShown)

    # -- what they do
    @property
    def _map(self):
        return self._parameters.checkVolume if self._parameters else None

    @property
    def _fadingViews(self) -> tuple[str, ...]:
        """In the review the original has its own row."""
        return BOTTOM_VIEWS if self._review.isShown else ()

    def _addKey(self, window, key: str, call: Callable[[], None]) -> None:
        shortcut = qt.QShortcut(qt.QKeySequence(key), window)
        shortcut.connect("activated()", call)
        self._keys.append(shortcut)

    def _onReview(self) -> None:
        problem = ""
        try:
            if self._review.isShown:
                self._leaveReview()
            elif self.pair[1]:
                self._enterReview()
        except CycleinrError as error:
            problem = str(error)
        self._onUsed(problem)

    def _enterReview(self) -> None:
        slab = slabShown()
        self.preview.remove()
        with self._mapKept():
            self._review.show(*self.pair)
        self._displays.follow(*(node.GetDisplayNode() for node in self.pair))
        self._shareWindow()
        setSlab(slab, self._ui.slabSpinBox.value)

    def _leaveReview(self) -> None:
        self._displays.stop()
        with self._mapKept():
            self._review.leave()

    def _shareWindow(self) -> None:
        """In the review, a window/level that the reader sets on one of the pair goes to the other too."""
        for display in filter(None, (node and node.GetDisplayNode() for node in self.pair)):
            window = display.GetWindow(), display.GetLevel()
            if window != self._sharedWindow:
                self._sharedWindow = window
                _setWindowLevel(self.pair, *window)
                return

    @contextmanager
    def _mapKept(self) -> Iterator[None]:
        """A change of layout does not lose the error map, nor leave it in views that are out of sight."""
        wasShown = self.isMapShown
        if wasShown:
            hideOverlay(self._map)
        yield
        if wasShown:
            self.showMap()

    def _onWindow(self, index: int) -> None:
        self._setWindow(self._ui.windowBox.itemData(index))

    def _setWindow(self, name: str) -> None:
        if not (name and self.pair[1]):
            return
        problem = ""
        try:
            window = setWindow(name, *self.pair)
            self._window = name, (window.width, window.level)
        except CycleinrError as error:
            problem = str(error)
        self._onUsed(problem)

    def _windowShown(self) -> int:
        """The box's index of the window that was set, unless the reader has changed it by hand."""
        display, (name, window) = self.pair[1].GetDisplayNode(), self._window
        isKept = display is not None and (display.GetWindow(), display.GetLevel()) == window
        return self._ui.windowBox.findData(name) if isKept else 0

    def _onFade(self, percent: int) -> None:
        if self.pair[1]:
            self.preview.remove()
            if self.isMapShown:
                hideOverlay(self._map)
            fade(*self.pair, percent / 100, self._fadingViews)
            self._onUsed("")

    def _flicker(self) -> None:
        if self.preview.isShown:
            self.preview.flicker()
        elif self.pair[1]:
            self._onFade(0 if fadeShown(*self.pair, self._fadingViews) > 0.5 else 100)

    def _onSlab(self, index: int) -> None:
        setSlab(SLABS[index], self._ui.slabSpinBox.value)
        self._onUsed("")

    def _nextSlab(self) -> None:
        self._onSlab((SLABS.index(slabShown()) + 1) % len(SLABS))

    def _onThickness(self, thickness_mm: float) -> None:
        setSlab(slabShown(), thickness_mm)

    def _onMap(self) -> None:
        if self.isMapShown:
            hideOverlay(self._map)
        else:
            self.showMap()
        self._onUsed("")

    def _onMapOpacity(self, percent: int) -> None:
        if self.isMapShown:
            showOverlay(self._map, self.pair[1], percent / 100)

    def _onCurve(self) -> None:
        chart = chartOf(self._map)
        if self._curve.isThere:
            self._curve.back()
        elif chart is not None:
            self._leaveReview()
            self._curve.go()
            showCurve(chart)
        self._onUsed("")


_TOOLS = (
    *("windowBoxCaption", "windowBox", "fadeSliderCaption", "fadeFromLabel", "fadeSlider", "fadeToLabel"),
    *("slabBoxCaption", "slabBox", "slabSpinBox", "checkButton", "mapButton", "curveButton"),
)
"""Of no use without a result, and out of the way until there is one."""


def _sizeText(node) -> str:
    spacing = " × ".join(f"{mm:.3g}" for mm in node.GetSpacing())
    size = " × ".join(map(str, node.GetImageData().GetDimensions()))
    return _("{name}\n{size} voxels, {spacing} mm").format(name=node.GetName(), size=size, spacing=spacing)


def _checkToolTip(seconds: float) -> str:
    what = _(
        "Drops the acquired slices, predicts them from the new ones in between, and shows the error to expect over the "
        "result: where to trust it."
    )
    return what + " " + _("Takes about {time}.").format(time=durationText(seconds)) if seconds else what


def _showSwitch(button, thing, isOn: bool, turnOn: str, turnOff: str) -> None:
    button.enabled, button.checked, button.text = isOn or thing is not None, isOn, turnOff if isOn else turnOn


def showText(label, text: str) -> None:
    """A label without text takes no room."""
    label.text, label.visible = text, bool(text)
