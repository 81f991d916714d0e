"""Parts of a scan: what an ROI marks, and the neighbourhood of the crosshair as a preview over the scan."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import slicer
import vtk
from cycleinr.grid import COLUMN_OF_AXIS, through_plane_axis
from cycleinr.request import Region, UpsampleOptions
from slicer.i18n import tr as _

from .callbacks import WeakNode
from .parameters import CycleINRSlicerParameterNode, optionsOf
from .review import placeToShow
from .views import ViewState, compositeOf, layerOf, setLayer, viewsInLayout
from .volume_node import NodeError, checkNode, ijkToRasOf, voxelPlaces

PREVIEW_PIXELS = 96
FRAME_COLOUR = 1.0, 0.8, 0.2
ROUNDING_VOXELS = 1e-4
"""How far an ROI's face may miss a voxel's centre, or its edge a voxel axis, by rounding."""


def regionOf(scanNode, roiNode) -> tuple[Region | None, str]:
    """The voxels of a scan whose centres an ROI, or none, contains; its bounding box where it is rotated against them.

    Returns:
        These voxels, None for all, and a sentence that says so.

    Raises:
        NodeError: The ROI contains none.
        CycleinrError: The scan cannot be used.
    """
    if roiNode is None:
        return None, ""
    volume, toVoxels, _toPlace = voxelPlaces(scanNode)
    matrix, half_mm = roiNode.GetObjectToWorldMatrix(), np.array(roiNode.GetSize()) / 2
    corners = [matrix.MultiplyPoint((*(signs * half_mm), 1))[:3] for signs in itertools.product((-1, 1), repeat=3)]
    ijk = np.array([toVoxels(corner) for corner in corners])
    sizes = np.array(volume.shape_kji[::-1])
    first = np.clip(np.ceil(ijk.min(axis=0) - ROUNDING_VOXELS).astype(int), 0, sizes)
    stop = np.clip(np.floor(ijk.max(axis=0) + ROUNDING_VOXELS).astype(int) + 1, 0, sizes)
    if (first >= stop).any():
        raise NodeError(
            _(
                "{roi} contains no voxel's centre of {scan}. Move it onto the scan or make it larger, or choose no "
                "region under Advanced."
            ).format(roi=roiNode.GetName(), scan=scanNode.GetName())
        )
    edges = np.abs(ijk[[4, 2, 1]] - ijk[0])
    isRotated = (np.sort(edges, axis=1)[:, :2] > ROUNDING_VOXELS).any()
    text = _("Only within the bounding box of {roi}, which is rotated against the voxels.")
    return _region(first, stop), (text if isRotated else _("Only within {roi}.")).format(roi=roiNode.GetName())


def optionsFor(scanNode, parameters: CycleINRSlicerParameterNode) -> UpsampleOptions:
    """The engine's options that the panel's settings mean for a scan.

    Raises:
        CycleinrError: There is no scan, the settings contradict themselves, or the region lies outside the scan.
    """
    checkNode(scanNode)
    return replace(optionsOf(parameters), region=regionOf(scanNode, parameters.regionNode)[0])


def previewOptions(scanNode, options: UpsampleOptions) -> UpsampleOptions:
    """The same for the neighbourhood of the crosshair, or of where the views meet if that is outside the scan.

    It has ``PREVIEW_PIXELS`` in each direction within the slices and as many millimetres along them, as far as the
    scan reaches.

    Raises:
        CycleinrError: The scan cannot be used.
    """
    volume, toVoxels, _toPlace = voxelPlaces(scanNode)
    sizes = np.array(volume.shape_kji[::-1])
    ijk = np.round(toVoxels(_crosshair_ras()))
    if (ijk < 0).any() or (ijk >= sizes).any():
        ijk = np.round(toVoxels(placeToShow(scanNode)))
    along = COLUMN_OF_AXIS[through_plane_axis(volume) if options.axis == "auto" else options.axis]
    within_mm = np.delete(volume.spacing_ijk_mm, along).mean()
    counts = np.full(3, PREVIEW_PIXELS)
    counts[along] = max(2, np.ceil(PREVIEW_PIXELS * within_mm / volume.spacing_ijk_mm[along]))
    counts = np.minimum(counts, sizes)
    first = np.clip(ijk.astype(int) - counts // 2, 0, sizes - counts)
    return replace(options, region=_region(first, first + counts))


def _region(first: np.ndarray, stop: np.ndarray) -> Region:
    return Region(*(tuple(map(int, ends)) for ends in zip(first, stop, strict=True)))


def _crosshair_ras() -> tuple[float, float, float]:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairRAS()


def _addFrame(node):
    """Add the outline of a volume to the slice views, so that a reader sees where it is."""
    box, toRas, ijkToRas = vtk.vtkCubeSource(), vtk.vtkTransformPolyDataFilter(), vtk.vtkTransform()
    box.SetBounds(*(end for size in node.GetImageData().GetDimensions() for end in (-0.5, size - 0.5)))
    ijkToRas.SetMatrix(slicer.util.vtkMatrixFromArray(ijkToRasOf(node)))
    toRas.SetTransform(ijkToRas)
    toRas.SetInputConnection(box.GetOutputPort())
    toRas.Update()
    frame = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    frame.SetAndObserveMesh(toRas.GetOutput())
    frame.CreateDefaultDisplayNodes()
    frame.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    display = frame.GetDisplayNode()
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.SetColor(*FRAME_COLOUR)
    display.SetSliceIntersectionThickness(2)
    for each in (frame, display):
        each.SetSaveWithScene(False)
        each.HideFromEditorsOn()
    frame.SetName(_("{name}, frame").format(name=node.GetName()))  # only now does the module Data see that it is hidden
    return frame


class Preview:
    """A result of a part, in front of its scan in the slice views; it is not saved, and nothing of it stays."""

    def __init__(self):
        self._node, self._frame, self._scan, self._seen_mtime = WeakNode(), WeakNode(), WeakNode(), 0
        self._former: list[ViewState] = []

    @property
    def isShown(self) -> bool:
        return self._node.node is not None

    def show(self, scanNode, node) -> None:
        """Put a result in front of its scan, and the views onto the crosshair, or its middle if that is not within."""
        node.SetSaveWithScene(False)
        node.HideFromEditorsOn()
        node.SetName(_("Preview of {scan}").format(scan=scanNode.GetName()))  # in this order, see _addFrame
        self._node, self._frame, self._scan = WeakNode(node), WeakNode(_addFrame(node)), WeakNode(scanNode)
        self._seen_mtime = scanNode.GetImageData().GetMTime()
        bounds_mm, crosshair_mm = np.zeros(6), np.array(_crosshair_ras())
        node.GetRASBounds(bounds_mm)
        low, high = bounds_mm.reshape(3, 2).T
        isWithin = (low <= crosshair_mm).all() and (crosshair_mm <= high).all()
        place = crosshair_mm if isWithin else (low + high) / 2
        with slicer.util.RenderBlocker():
            for view in viewsInLayout():
                state = ViewState(view)
                setLayer(view, "Background", scanNode)
                setLayer(view, "Foreground", node)
                compositeOf(view).SetForegroundOpacity(1.0)
                view.JumpSlice(*place)
                state.settle()
                self._former.append(state)

    def flicker(self) -> None:
        """Between preview and scan."""
        shown = [compositeOf(view) for view in viewsInLayout() if layerOf(view, "Foreground") is self._node.node]
        opacity = 0.0 if any(composite.GetForegroundOpacity() > 0 for composite in shown) else 1.0
        for composite in shown:
            composite.SetForegroundOpacity(opacity)
        for state in self._former:
            state.settle()

    def keepFor(self, scanNode) -> None:
        """Remove it unless it still is one of this scan as it is."""
        scan = self._scan.node
        if self.isShown and (scan is not scanNode or scan.GetImageData().GetMTime() != self._seen_mtime):
            self.remove()

    def remove(self) -> None:
        """Take it out of the scene; views that still show it get back what they showed before."""
        former, self._former = self._former, []
        with slicer.util.RenderBlocker():
            for state in former:
                state.restore(withPlace=False)
            for each in (self._node.node, self._frame.node):
                if each is not None:
                    slicer.mrmlScene.RemoveNode(each)
