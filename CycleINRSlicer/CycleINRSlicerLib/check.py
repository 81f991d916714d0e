"""The check of a result: scan and result go to the engine, expected error and curve come back as nodes.

The expected error is shown over the result. It lies on the acquired slices that were compared; between them Slicer
interpolates.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import slicer
import vtk
from cycleinr.request import options_of_result
from cycleinr.worker.protocol import CheckRequest
from slicer.i18n import tr as _

from .callbacks import WeakNode
from .forecast import planOf
from .result_node import fillVolume, placeBeside, resultOf
from .task import Task
from .volume_node import volumeFromNode


def check(
    task: Task, inputNode, resultNode, device: str = "auto", memoryLimitGb: float | None = None
) -> Generator[None, None, tuple[dict, WeakNode]]:
    """Check a result; gives ``cycleinr.checks.run.numbers`` and the error map, none where there is no self-check.

    Args:
        device, memoryLimitGb: Where to compute; all else follows from how the result was made.

    Raises:
        CycleinrError: The result is not one of this scan, or cannot be checked here.
    """
    scan, result = volumeFromNode(inputNode), resultOf(resultNode)
    options = replace(options_of_result(scan, result), device=device, memory_limit_gb=memoryLimitGb)
    planOf(inputNode, scan, options)
    task.needed = {_("input volume"): WeakNode(inputNode), _("result"): WeakNode(resultNode)}

    def request(scan, result, newFile) -> CheckRequest:
        return CheckRequest(scan, result, options, newFile("error.npy").name)

    answer, image = yield from task.compute([scan, result.volume], request)
    if image is None:
        return answer["numbers"], WeakNode()
    mapNode = _addMap(image, np.array(answer["ijk_to_ras"]), inputNode, resultNode, answer["numbers"])
    mapNode.AddNodeReferenceID(CHART_ROLE, _addCurve(resultNode, answer["numbers"]).GetID())
    return answer["numbers"], WeakNode(mapNode)


CHART_ROLE = "CycleINR.chart"
"""Reference from the error map to its chart."""

LEGEND_SIZE = 0.09, 0.3
"""Shares of the view's width and height; Slicer's legend otherwise hides a third of a large view."""

COLOURS_NAME = "CycleINR expected error"
_DERIVED = "Self-check of a result: derived by CycleINR, not acquired, not for primary diagnosis."

_COLOURS = 256
_UNIT = "CycleINR.unit"


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
    from cycleinr.resampling import digits

    left, levels, unit, window = numbers["residual"], numbers["noise"], numbers["unit"], numbers["window"]
    parts = [numbers["verdict"], *numbers["warnings"]]
    if numbers["trust"] is not None:
        top, low = (digits(share * window["width"]) for share in (FULL_SHARE, SHOWN_SHARE))
        parts.append(
            _("Colours: black 0 to white {top} {unit}, half of the {name} window; none below {low}.").format(
                top=top, low=low, unit=unit, name=window["name"]
            )
        )
    parts.append(
        _("Re-sliced, half of the voxels differ by {median} {unit} at most, 99 % by {high}.").format(
            median=digits(left["median"], 2), high=digits(left["percentile_99"]), unit=unit
        )
    )
    parts.append(
        _("Noise of the slices: {before} {unit} before, {after} {unit} after.").format(
            before=digits(levels["mean_sigma_before"]), after=digits(levels["mean_sigma_after"]), unit=unit
        )
    )
    return "\n".join(parts)


def showCurve(chart) -> None:
    """Show a chart in the views that plot."""
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetActivePlotChartID(chart.GetID())
    logic.PropagatePlotChartSelection()


def _addNode(className: str, name: str):
    return slicer.mrmlScene.AddNewNodeByClass(className, slicer.mrmlScene.GenerateUniqueName(name))


def _addMap(image: vtk.vtkImageData, ijkToRas: np.ndarray, inputNode, resultNode, numbers: dict):
    from cycleinr.checks.trust import FULL_SHARE, SHOWN_SHARE

    colours = slicer.mrmlScene.GetFirstNodeByName(COLOURS_NAME) or _addColours()
    node = _addNode("vtkMRMLScalarVolumeNode", f"{resultNode.GetName()} expected error")
    facts = {"derived": _DERIVED, "result": resultNode.GetName(), "unit": numbers["unit"]}
    with slicer.util.NodeModify(node):
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        width = numbers["window"]["width"]
        display.SetWindowLevelMinMax(0.0, FULL_SHARE * width)
        display.SetThreshold(SHOWN_SHARE * width, max(width, float(image.GetScalarRange()[1])))
        display.SetApplyThreshold(True)
        display.SetAndObserveColorNodeID(colours.GetID())
        fillVolume(node, image, ijkToRas, inputNode, resultNode, facts, f"{_DERIVED}\n{summaryText(numbers)}")
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
    node.HideFromEditorsOff()  # colour tables are hidden, and what is hidden Slicer 5.10 saves in .mrb files alone
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
    nodes["table"].SetDescription(_DERIVED)
    for node in (nodes["table"], *nodes["series"], chart):
        placeBeside(resultNode, node)
    return chart
