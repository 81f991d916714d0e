"""The check of a result: scan and result go to the engine, expected error and curve come back as nodes.

The expected error is shown over the result. It lies on the acquired slices that were compared; between them Slicer
interpolates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import slicer
import vtk
from cycleinr.request import options_of_result
from cycleinr.worker.protocol import CheckRequest, VolumeMessage
from slicer.i18n import tr as _

from .callbacks import WeakNode
from .engine import Engine
from .engine_task import EngineTask
from .forecast import planOf
from .result_node import ATTRIBUTE_PREFIX, INPUT_REFERENCE, placeBeside, resultOf
from .volume_node import volumeFromNode


class CheckRun(EngineTask):
    """Starts at once; see ``EngineTask`` for progress and cancel.

    Args:
        device, memoryLimitGb: Where to compute; all else follows from how the result was made.

    Attributes:
        numbers: What ``cycleinr.checks.run.numbers`` gives, once the check is done.
        mapNode: The error map once the check is done; None where the result allows no self-check, and when the map
            has left the scene.

    Raises:
        CycleinrError: The result is not one of this scan, or cannot be checked here; nothing was started.
    """

    def __init__(
        self,
        engine: Engine,
        inputNode,
        resultNode,
        onChanged: Callable[[CheckRun], None],
        device: str = "auto",
        memoryLimitGb: float | None = None,
    ):
        super().__init__(engine, onChanged)
        scan, result = volumeFromNode(inputNode), resultOf(resultNode)
        options = options_of_result(scan, result)
        self._options = replace(options, device=device, memory_limit_gb=memoryLimitGb)
        planOf(inputNode, self._options)
        self._result, self._map, self._mapFile, self.numbers = WeakNode(resultNode), WeakNode(), None, None
        self._begin([scan, result.volume], {inputNode.GetID(): _("input volume"), resultNode.GetID(): _("result")})

    @property
    def mapNode(self):
        return self._map.node

    def _request(self, messages: list[VolumeMessage]) -> CheckRequest:
        self._mapFile = self._path("error")
        return CheckRequest(*messages, self._options, self._mapFile.name)

    def _import(self, answer: dict) -> Iterator[None]:
        self.numbers, image = answer["numbers"], vtk.vtkImageData()
        if answer["shape_kji"] is None:
            return
        yield from self._copyAnswer(image, self._mapFile, answer["shape_kji"])
        mapNode = _addMap(image, np.array(answer["ijk_to_ras"]), self._result.node, self.numbers)
        mapNode.AddNodeReferenceID(CHART_ROLE, _addCurve(self._result.node, self.numbers).GetID())
        self._map = WeakNode(mapNode)


CHART_ROLE = "CycleINR.chart"
"""Reference from the error map to its chart."""

LEGEND_SIZE = 0.09, 0.3
"""Shares of the view's width and height; Slicer's legend otherwise hides a third of a large view."""

COLOURS_NAME = "CycleINR expected error"
DERIVED = "Self-check of a result: derived by CycleINR, not acquired, not for primary diagnosis."

_COLOURS = 256
_PLOT_LAYOUT = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView
_UNIT = ATTRIBUTE_PREFIX + "unit"


def removeCheck(mapNode) -> None:
    """Take an error map out of the scene, with its curve."""
    chart = chartOf(mapNode)
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())] if chart else []
    tables = {each.GetTableNode() for each in series}
    hideOverlay(mapNode)
    # The scene takes one display node along with its volume, and this one has two with its legend
    for node in (*series, *tables, chart, mapNode.GetDisplayNode(), mapNode):
        if node is not None:
            slicer.mrmlScene.RemoveNode(node)


def showOverlay(mapNode, resultNode, opacity: float) -> None:
    """Put the map over the result in every slice view that shows it; where none does, all of them get the result."""
    views = [each for each in _composites() if each.GetBackgroundVolumeID() == resultNode.GetID()]
    if not views:
        slicer.util.setSliceViewerLayers(background=resultNode)
        views = _composites()
    for composite in views:
        composite.SetForegroundVolumeID(mapNode.GetID())
        composite.SetForegroundOpacity(opacity)
    _showLegend(mapNode, True)


def hideOverlay(mapNode) -> None:
    """Take the map off the slice views again; it stays in the scene."""
    for composite in _composites():
        if composite.GetForegroundVolumeID() == mapNode.GetID():
            composite.SetForegroundVolumeID(None)
    _showLegend(mapNode, False)


def isOverlayShown(mapNode) -> bool:
    """Whether any slice view has the map in front."""
    return mapNode is not None and any(each.GetForegroundVolumeID() == mapNode.GetID() for each in _composites())


def _composites() -> list:
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def _showLegend(mapNode, isVisible: bool) -> None:
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(mapNode)
    legend.SetTitleText(_("Error, {unit}").format(unit=mapNode.GetAttribute(_UNIT)))
    legend.SetSize(*LEGEND_SIZE)
    legend.SetLabelFormat("%.0f")
    legend.SetVisibility(isVisible)


def chartOf(mapNode):
    """The curve that belongs to an error map, None where it has none."""
    return mapNode.GetNodeReference(CHART_ROLE) if mapNode is not None else None


def summaryText(numbers: dict) -> str:
    """What was found out, for the panel and the map's description."""
    from cycleinr.checks.trust import FULL_SHARE, SHOWN_SHARE  # not when the panel opens

    left, levels, unit, window = numbers["residual"], numbers["noise"], numbers["unit"], numbers["window"]
    parts = [numbers["verdict"], *numbers["warnings"]]
    if numbers["trust"] is not None:
        parts.append(
            _("Colours: black 0 to white {top:.3g} {unit}, half of the {name} window; none below {low:.3g}.").format(
                top=FULL_SHARE * window["width"], low=SHOWN_SHARE * window["width"], unit=unit, name=window["name"]
            )
        )
    parts.append(
        _("Re-sliced, half of the voxels differ by {median:.2g} {unit} at most, 99 % by {high:.3g}.").format(
            median=left["median"], high=left["percentile_99"], unit=unit
        )
    )
    parts.append(
        _("Noise of the slices: {before:.3g} {unit} before, {after:.3g} {unit} after.").format(
            before=levels["mean_sigma_before"], after=levels["mean_sigma_after"], unit=unit
        )
    )
    return "\n".join(parts)


class CurveView:
    """Goes to a layout with a plot and back. Keeps no node alive, observes nothing."""

    def __init__(self):
        self._formerLayout = None

    @property
    def isShown(self) -> bool:
        manager = slicer.app.layoutManager()
        return self._formerLayout is not None and manager is not None and manager.layout == _PLOT_LAYOUT

    def show(self, chart) -> None:
        """Show a chart below the slice views."""
        if not self.isShown:
            manager = slicer.app.layoutManager()
            self._formerLayout = manager.layout
            manager.setLayout(_PLOT_LAYOUT)
        logic = slicer.app.applicationLogic()
        logic.GetSelectionNode().SetActivePlotChartID(chart.GetID())
        logic.PropagatePlotChartSelection()

    def leave(self) -> None:
        """Bring the former layout back, unless the user has chosen another one meanwhile."""
        wasShown, former, self._formerLayout = self.isShown, self._formerLayout, None
        if wasShown:
            slicer.app.layoutManager().setLayout(former)


def _addNode(className: str, name: str):
    return slicer.mrmlScene.AddNewNodeByClass(className, slicer.mrmlScene.GenerateUniqueName(name))


def _addMap(image: vtk.vtkImageData, ijkToRas: np.ndarray, resultNode, numbers: dict):
    from cycleinr.checks.trust import FULL_SHARE, SHOWN_SHARE

    colours = slicer.mrmlScene.GetFirstNodeByName(COLOURS_NAME) or _addColours()
    node = _addNode("vtkMRMLScalarVolumeNode", f"{resultNode.GetName()} expected error")
    with slicer.util.NodeModify(node):
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        width = numbers["window"]["width"]
        display.SetWindowLevelMinMax(0.0, FULL_SHARE * width)
        display.SetThreshold(SHOWN_SHARE * width, max(width, float(image.GetScalarRange()[1])))
        display.SetApplyThreshold(True)
        display.SetAndObserveColorNodeID(colours.GetID())
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijkToRas))
        node.SetAndObserveImageData(image)
        node.SetAndObserveTransformNodeID(resultNode.GetTransformNodeID())
        node.SetVoxelValueUnits(resultNode.GetVoxelValueUnits())
        node.SetNodeReferenceID(INPUT_REFERENCE, resultNode.GetNodeReferenceID(INPUT_REFERENCE))
        node.SetAttribute(ATTRIBUTE_PREFIX + "derived", DERIVED)
        node.SetAttribute(ATTRIBUTE_PREFIX + "result", resultNode.GetName())
        node.SetAttribute(_UNIT, numbers["unit"])
        node.SetDescription(f"{DERIVED}\n{summaryText(numbers)}")
    placeBeside(resultNode, node)
    return node


def _addColours():
    """From black over red and yellow to white. Slice views know no half-transparent entries; a threshold hides some."""
    node = _addNode("vtkMRMLColorTableNode", COLOURS_NAME)
    node.SetTypeToUser()
    node.SetNumberOfColors(_COLOURS)
    for index in range(_COLOURS):
        share = index / (_COLOURS - 1)
        red, green, blue = np.clip((3 * share, 3 * share - 1, 3 * share - 2), 0, 1)
        node.SetColor(index, f"{100 * share:.0f} %", red, green, blue, 1.0)
    node.HideFromEditorsOn()
    return node


def _addCurve(resultNode, numbers: dict):
    """A table with a row for each compared slice, counted from 1, and a chart of it."""
    found, nodes = numbers["self_check"], {}
    numbered = np.array(found["slices"], dtype=np.float64) + 1
    columns = np.column_stack([numbered, found["rms"], found["mean_absolute"]])
    names = [_("Slice"), _("Root mean square"), _("Mean absolute")]
    chart = slicer.util.plot(columns, xColumnIndex=0, columnNames=names, show=False, nodes=nodes)
    chart.SetName(slicer.mrmlScene.GenerateUniqueName(f"{resultNode.GetName()} self-check"))
    chart.SetTitle(_("Self-check error of each acquired slice"))
    chart.SetXAxisTitle(_("Acquired slice"))
    chart.SetYAxisTitle(_("Error, {unit}").format(unit=numbers["unit"]))
    nodes["table"].SetName(slicer.mrmlScene.GenerateUniqueName(f"{resultNode.GetName()} self-check curve"))
    nodes["table"].SetDescription(DERIVED)
    for node in (nodes["table"], chart):
        placeBeside(resultNode, node)
    return chart
