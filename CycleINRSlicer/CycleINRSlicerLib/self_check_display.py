"""The self-check in the scene: the error map over the slices, the error of each slice as a curve.

The map lies on the acquired slices that were compared, so between them it is shown interpolated.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from .errors import NodeError
from .result_node import ATTRIBUTE_PREFIX, INPUT_REFERENCE, placeBeside

CHART_ROLE = "CycleINR.chart"
"""Reference from the error map to its chart."""

COLOURS_NAME = "CycleINR self-check error"
DERIVED = "Self-check of a result: derived by CycleINR, not acquired, not for primary diagnosis."
OVERLAY_OPACITY = 0.7
HIDDEN_SHARE = 0.15
"""Errors below this share of the largest one shown are transparent; the volume's threshold can be moved."""

CURVES = {"rms": (0.84, 0.19, 0.12), "mean_absolute": (0.12, 0.47, 0.71)}
"""Columns of the curve's table and their colours."""

_COLOURS = 256
_SHOWN_PERCENTILE = 99.5
_SAMPLES = 1_000_000


def addNodes(image: vtk.vtkImageData, ijkToRas: np.ndarray, resultNode, numbers: dict):
    """Add error map, table and chart to the scene and return the map; nothing stays where that fails.

    The map gets the result's parent transform and place in the subject hierarchy.

    Args:
        image: |predicted - acquired| of the compared slices.
        numbers: As ``cycleinr.check.numbers`` gives them.

    Raises:
        NodeError: The result was removed meanwhile.
    """
    if resultNode is None:
        raise NodeError(_("The result was removed meanwhile, so there is nothing to show its check with."))
    added = []
    try:
        mapNode = _addMap(image, ijkToRas, resultNode, numbers, added)
        chart = _addCurve(resultNode, numbers, added)
        mapNode.AddNodeReferenceID(CHART_ROLE, chart.GetID())
    except Exception:
        for node in added:
            slicer.mrmlScene.RemoveNode(node)
        raise
    return mapNode


def showOverlay(mapNode) -> None:
    """Put the error map over what the slice views show."""
    slicer.util.setSliceViewerLayers(foreground=mapNode, foregroundOpacity=OVERLAY_OPACITY)


def chartOf(mapNode):
    """The curve that belongs to an error map, None where it has none."""
    return mapNode.GetNodeReference(CHART_ROLE) if mapNode is not None else None


def summaryText(numbers: dict) -> str:
    """What was found out, for the panel and the map's description."""
    found, left, levels, unit = numbers["self_check"], numbers["residual"], numbers["noise"], numbers["unit"]
    parts = []
    if "left_out" in found:
        parts.append(_("Self-check left out: {reason}").format(reason=found["left_out"]))
    else:
        parts.append(
            _("Self-check: root mean square error {rms:.3g} {unit}, largest in slice {slice}.").format(
                rms=found["rms_of_all"], unit=unit, slice=found["worst_slice"]
            )
        )
    if left["largest"] is not None:
        parts.append(
            _("Re-slicing differs by at most {largest:.2g} {unit}.").format(largest=left["largest"], unit=unit)
        )
    parts.append(
        _("Noise {before:.3g} before, {after:.3g} after; SNLI {snliBefore:.2g} and {snliAfter:.2g} {unit}.").format(
            before=levels["mean_sigma_before"],
            after=levels["mean_sigma_after"],
            snliBefore=levels["snli_before"],
            snliAfter=levels["snli_after"],
            unit=unit,
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
        return self._formerLayout is not None and manager is not None and manager.layout == _plotLayout()

    def show(self, chart) -> None:
        """Show a chart below the slice views.

        Raises:
            NodeError: This Slicer has no views.
        """
        manager = slicer.app.layoutManager()
        if manager is None:
            raise NodeError(_("The curve needs a view, and this Slicer has no main window. Start it with one."))
        if not self.isShown:
            self._formerLayout = manager.layout
            manager.setLayout(_plotLayout())
        logic = slicer.app.applicationLogic()
        logic.GetSelectionNode().SetActivePlotChartID(chart.GetID())
        logic.PropagatePlotChartSelection()

    def leave(self) -> None:
        """Bring the former layout back, unless the user has chosen another one meanwhile."""
        wasShown, former, self._formerLayout = self.isShown, self._formerLayout, None
        if wasShown:
            slicer.app.layoutManager().setLayout(former)


def _plotLayout() -> int:
    return slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView


def _addNode(className: str, name: str, added: list):
    node = slicer.mrmlScene.AddNewNodeByClass(className, slicer.mrmlScene.GenerateUniqueName(name))
    added.append(node)
    return node


def _addMap(image: vtk.vtkImageData, ijkToRas: np.ndarray, resultNode, numbers: dict, added: list):
    colours = slicer.mrmlScene.GetFirstNodeByName(COLOURS_NAME) or _addColours(added)
    node = _addNode("vtkMRMLScalarVolumeNode", f"{resultNode.GetName()} self-check error", added)
    with slicer.util.NodeModify(node):
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        top = _shownMaximum(image)
        display.SetWindowLevelMinMax(0.0, top)
        display.SetThreshold(HIDDEN_SHARE * top, max(top, float(image.GetScalarRange()[1])))
        display.SetApplyThreshold(True)
        display.SetAndObserveColorNodeID(colours.GetID())
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijkToRas))
        node.SetAndObserveImageData(image)
        node.SetAndObserveTransformNodeID(resultNode.GetTransformNodeID())
        node.SetVoxelValueUnits(resultNode.GetVoxelValueUnits())
        node.SetNodeReferenceID(INPUT_REFERENCE, resultNode.GetNodeReferenceID(INPUT_REFERENCE))
        node.SetAttribute(ATTRIBUTE_PREFIX + "derived", DERIVED)
        node.SetAttribute(ATTRIBUTE_PREFIX + "result", resultNode.GetName())
        node.SetDescription(f"{DERIVED}\n{summaryText(numbers)}")
    placeBeside(resultNode, node)
    return node


def _addColours(added: list):
    """From black over red and yellow to white. Slice views know no half-transparent entries; a threshold hides some."""
    node = _addNode("vtkMRMLColorTableNode", COLOURS_NAME, added)
    node.SetTypeToUser()
    node.SetNumberOfColors(_COLOURS)
    for index in range(_COLOURS):
        share = index / (_COLOURS - 1)
        red, green, blue = np.clip((3 * share, 3 * share - 1, 3 * share - 2), 0, 1)
        node.SetColor(index, f"{100 * share:.0f} %", red, green, blue, 1.0)
    node.HideFromEditorsOn()
    return node


def _shownMaximum(image: vtk.vtkImageData) -> float:
    values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    stride = max(1, values.size // _SAMPLES)
    # A stride that shares no factor with the rows visits all columns alike
    sample = values[:: stride + (stride % 2 == 0)]
    return float(np.percentile(sample, _SHOWN_PERCENTILE)) or float(sample.max()) or 1.0


def _addCurve(resultNode, numbers: dict, added: list):
    """A table with a row for each compared slice, and a chart of it."""
    found, unit = numbers["self_check"], numbers["unit"]
    labels = {"rms": _("Root mean square"), "mean_absolute": _("Mean absolute")}
    table = _addNode("vtkMRMLTableNode", f"{resultNode.GetName()} self-check curve", added)
    columns = {_("Slice"): found["slices"], **{labels[key]: found[key] for key in CURVES}}
    for name, values in columns.items():
        column = numpy_support.numpy_to_vtk(np.array(values, dtype=np.float64), deep=True)
        column.SetName(name)
        table.AddColumn(column)
    table.SetDescription(DERIVED)
    chart = _addNode("vtkMRMLPlotChartNode", f"{resultNode.GetName()} self-check", added)
    chart.SetTitle(_("Self-check error of each acquired slice"))
    chart.SetXAxisTitle(_("Acquired slice"))
    chart.SetYAxisTitle(_("Error, {unit}").format(unit=unit))
    for key, colour in CURVES.items():
        series = _addNode("vtkMRMLPlotSeriesNode", labels[key], added)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(_("Slice"))
        series.SetYColumnName(labels[key])
        series.SetPlotType(series.PlotTypeScatter)
        series.SetColor(*colour)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    placeBeside(resultNode, table)
    placeBeside(resultNode, chart)
    return chart
