"""What the network added: result minus cubic B-spline interpolation of the input, as a volume of its own.

The work takes about a second for 512 x 512 x 300 voxels, so it comes in steps of some tens of milliseconds.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import slicer
import vtk
from cycleinr.grid import AXIS_OF_ARRAY, COLUMN_OF_AXIS, to_axis_first
from cycleinr.volume import Volume
from slicer.i18n import tr as _

from .result_node import ATTRIBUTE_PREFIX, INPUT_REFERENCE, copyInto, placeBeside
from .volume_node import NodeError, volumeFromNode

DIVERGING_COLOURS_ID = "vtkMRMLColorTableNodeFileDivergingBlueRed.txt"
DERIVED = "Difference of two volumes: derived by CycleINR, not acquired, not for primary diagnosis."
STEP_BYTES = 8_000_000
"""Difference values computed between two turns of the event loop, as float32."""

PLACE_TOLERANCE = 1e-3
"""How far, in voxels, the two grids may disagree within a slice and still count as the same."""

NEGLIGIBLE_WEIGHT = 1e-6
"""B-spline weights fall by a factor of 3.7 a slice; smaller ones than this change no intensity that is shown."""

LARGEST_INT16_SPREAD = 2**14
"""Cubic B-splines overshoot by less than half the spread of the values, so such differences fit into int16."""

SHOWN_PERCENTILE = 99.5
SAMPLES_FOR_WINDOW = 1_000_000


def differenceToBSpline(inputNode, resultNode):
    """Add a volume with result minus cubic B-spline of the input, on the result's grid, and return its node.

    Values are in the input's units: int16 for integer scans, else float32. The node has the result's geometry, parent
    transform and place in the subject hierarchy, and a diverging colour table around 0.

    Raises:
        NodeError: A node is no scalar volume with voxels, or the result is not the input with other slices.
    """
    steps = differenceSteps(inputNode, resultNode)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def differenceSteps(inputNode, resultNode) -> Generator[float, None, Any]:
    """As ``differenceToBSpline``, in steps: yields the fraction that is done, returns the node (StopIteration.value).

    Nothing is added to the scene before the last step, so an abandoned generator leaves nothing behind.
    """
    scan, result = volumeFromNode(inputNode), volumeFromNode(resultNode)
    axis, positions = slicePositions(scan, result)
    image = vtk.vtkImageData()
    difference = np.empty(result.array.shape, _differenceType(scan.array, result.array))
    for fraction in _fill(difference, scan.array, result.array, axis, positions):
        yield 0.9 * fraction
    for fraction in copyInto(image, difference):
        yield 0.9 + 0.1 * fraction
    return _addNode(image, difference, inputNode, resultNode)


def slicePositions(scan: Volume, result: Volume) -> tuple[str, np.ndarray]:
    """Along which axis the result has other slices than the scan, and where, in units of the scan's slices.

    Raises:
        NodeError: The result's grid differs from the scan's in more than the slices along one axis.
    """
    toScan = np.linalg.inv(scan.ijk_to_ras) @ result.ijk_to_ras
    axis = _resampledAxis(scan, result, toScan)
    column, length = COLUMN_OF_AXIS[axis], result.array.shape[AXIS_OF_ARRAY[axis]]
    expected = np.eye(4)
    expected[column, column], expected[column, 3] = toScan[column, column], toScan[column, 3]
    corner = np.append(result.array.shape[::-1], 1.0)
    farthest = np.abs(toScan - expected) @ corner
    sameSize = all(
        scan.array.shape[dimension] == result.array.shape[dimension]
        for letter, dimension in AXIS_OF_ARRAY.items()
        if letter != axis
    )
    if farthest.max() > PLACE_TOLERANCE or not sameSize:
        raise NodeError(
            _(
                "The grid of {result} is not that of {input} with other slices, so their difference means nothing. "
                "Choose a result of CycleINR and the scan that it was made from."
            ).format(result=result.name, input=scan.name)
        )
    positions = toScan[column, 3] + toScan[column, column] * np.arange(length)
    own = scan.acquisition
    uneven = own is not None and own.axis == axis
    return axis, own.indices_of(positions * scan.spacing_ijk_mm[column]) if uneven else positions


def _resampledAxis(scan: Volume, result: Volume, toScan: np.ndarray) -> str:
    """The axis whose spacing changes most; the thickest where none does."""
    change = {axis: abs(np.log(abs(toScan[column, column]) or 1.0)) for axis, column in COLUMN_OF_AXIS.items()}
    return max(change, key=lambda axis: (round(change[axis], 6), scan.spacing_ijk_mm[COLUMN_OF_AXIS[axis]]))


def _differenceType(scan: np.ndarray, result: np.ndarray) -> type:
    if scan.dtype.kind == "f" or result.dtype.kind == "f":
        return np.float32
    spread = max(int(scan.max()), int(result.max())) - min(int(scan.min()), int(result.min()))
    return np.int16 if spread <= LARGEST_INT16_SPREAD else np.float32


def _fill(difference, scan, result, axis: str, positions: np.ndarray) -> Iterator[float]:
    """Write result minus B-spline into ``difference``, some slices a step; yields the fraction that is done."""
    from cycleinr.interpolation import bspline_weights

    stack, fine, target = (to_axis_first(array, axis) for array in (scan, result, difference))
    weights = bspline_weights(positions, len(stack)).astype(np.float32)
    step = max(1, STEP_BYTES // (4 * stack[0].size))
    for start in range(0, len(fine), step):
        part = slice(start, min(start + step, len(fine)))
        used = np.flatnonzero(np.abs(weights[part]).max(axis=0) > NEGLIGIBLE_WEIGHT)
        acquired = np.ascontiguousarray(stack[used[0] : used[-1] + 1], dtype=np.float32)
        smooth = weights[part, used[0] : used[-1] + 1] @ acquired.reshape(len(acquired), -1)
        smooth = np.subtract(fine[part], smooth.reshape(fine[part].shape), out=smooth.reshape(fine[part].shape))
        target[part] = smooth if difference.dtype.kind == "f" else np.rint(smooth, out=smooth)
        yield part.stop / len(fine)


def _addNode(image: vtk.vtkImageData, difference: np.ndarray, inputNode, resultNode):
    for node in (inputNode, resultNode):
        if node.GetScene() is not slicer.mrmlScene:
            raise NodeError(_("{name} was removed meanwhile, so there is no difference.").format(name=node.GetName()))
    name = f"{resultNode.GetName()} minus B-spline"
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    with slicer.util.NodeModify(node):
        _setDisplay(node, difference)  # before the voxels, else Slicer computes a window for them first
        node.CopyOrientation(resultNode)
        node.SetAndObserveImageData(image)
        node.SetAndObserveTransformNodeID(resultNode.GetTransformNodeID())
        node.SetVoxelValueUnits(inputNode.GetVoxelValueUnits())
        node.SetNodeReferenceID(INPUT_REFERENCE, inputNode.GetID())
        node.SetAttribute(ATTRIBUTE_PREFIX + "derived", DERIVED)
        node.SetAttribute(ATTRIBUTE_PREFIX + "input", inputNode.GetName())
        node.SetAttribute(ATTRIBUTE_PREFIX + "result", resultNode.GetName())
        node.SetDescription(f"{DERIVED} {resultNode.GetName()} minus cubic B-spline of {inputNode.GetName()}.")
        placeBeside(resultNode, node)
    return node


def _setDisplay(node, difference: np.ndarray) -> None:
    """Blue where the result is darker, red where it is brighter, equally wide to both sides of 0."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    stride = max(1, difference.size // SAMPLES_FOR_WINDOW)
    # A stride that shares no factor with the rows visits all columns alike
    sample = np.abs(difference.reshape(-1)[:: stride + (stride % 2 == 0)].astype(np.float32))
    # NaN is padding
    sample = sample[np.isfinite(sample)]
    largest = (float(np.percentile(sample, SHOWN_PERCENTILE)) or float(sample.max()) or 1.0) if sample.size else 1.0
    display.SetWindowLevel(2 * largest, 0.0)
    if slicer.mrmlScene.GetNodeByID(DIVERGING_COLOURS_ID):
        display.SetAndObserveColorNodeID(DIVERGING_COLOURS_ID)
