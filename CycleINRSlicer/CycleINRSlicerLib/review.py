"""Original above, result below, in axial, coronal and sagittal; a second call brings the former layout back.

In the review all six views are one group and linked while the mouse moves: scrolling and panning the axial view of the
original does the same to the axial view of the result, zooming does it to all six, as always in linked Slicer views.
Slicer's own "fit to window" button then fits each row to its own volume; the two grids end at different places, so the
rows may differ by less than one slice spacing until the next scroll.
"""

from __future__ import annotations

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from .result_node import copyDisplay
from .views import LAYERS, Detour, ViewState, compositeOf, layerOf, setLayer
from .volume_node import NodeError, checkNode, isLinear, voxelPlaces

TOP_VIEWS = ("Red", "Green", "Yellow")
BOTTOM_VIEWS = ("Red+", "Green+", "Yellow+")
VIEWS = TOP_VIEWS + BOTTOM_VIEWS
ORIENTATIONS = ("Axial", "Coronal", "Sagittal")
OBLIQUE_COMPONENT = 1e-3
"""Axis directions with a larger component off the patient's axes count as oblique (about 0.06 degrees)."""


class Review:
    """Goes to the 2x3 layout and back. Keeps no node alive, observes nothing.

    Without a layout manager (Slicer without a main window) there is nothing to show and ``show`` raises; ``leave`` then
    only frees the views from their link.
    """

    def __init__(self):
        self._detour = Detour(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView)
        self._former: dict[str, ViewState] = {}

    @property
    def isShown(self) -> bool:
        """Whether the review is on the screen, with its volumes or, where they were deleted, without."""
        return self._detour.isThere

    def show(self, originalNode, resultNode) -> None:
        """Show both volumes at the place where the slice views are, or at the original's centre if that is outside.

        The result gets the original's display; the original's does not change. Views of an oblique volume turn to the
        original's axes, so that its slices are seen as acquired. Showing another pair keeps the layout to go back to.

        Raises:
            NodeError: No layout manager, or a node is no scalar volume with voxels in this scene.
        """
        manager = slicer.app.layoutManager()
        if manager is None:
            raise NodeError(_("The review needs slice views, and this Slicer has no main window. Start it with one."))
        for node in (originalNode, resultNode):
            checkNode(node)
        if not self.isShown:
            self.leave()
        place = placeToShow(originalNode)
        with slicer.util.RenderBlocker():
            self._enterLayout()
            copyDisplay(originalNode, resultNode)
            _fill(originalNode, resultNode)
            _fit(manager, originalNode)
            for name in VIEWS:
                _sliceNode(name).JumpSliceByOffsetting(*place)  # the picture's middle stays where it is in the plane
            for state in self._former.values():
                state.settle()

    def leave(self) -> None:
        """Bring back what was there before ``show``; nothing if nothing was shown.

        What the user changed meanwhile stays: another layout, and with it the place of its slices; another volume in a
        view; links that were switched off. Volumes that were deleted meanwhile cannot come back; the upper views then
        keep the original.
        """
        former, self._former = self._former, {}
        with slicer.util.RenderBlocker():
            for state in former.values():
                state.restore(withPlace=self._detour.isThere)
            self._detour.back()

    def _enterLayout(self) -> None:
        """Views that exist are remembered before the layout changes their size, the others as they are made."""
        if self._former:
            return
        self._former = {name: ViewState(node) for name in VIEWS if (node := _sliceNode(name))}
        self._detour.go()
        # The new views have their size only after this; what the user clicks meanwhile must wait.
        slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)
        for name in VIEWS:
            self._former.setdefault(name, ViewState(_sliceNode(name)))


def _sliceNode(name: str):
    return slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")


def _fill(originalNode, resultNode) -> None:
    """Volumes, orientation and link of all views.

    No foreground, which would tint the picture; the upper row's labels in both rows.
    """
    isRotated, group = _isOblique(originalNode), _sliceNode(TOP_VIEWS[0]).GetViewGroup()
    labels = [layerOf(_sliceNode(name), "Label") for name in TOP_VIEWS]
    volumes = [originalNode] * len(TOP_VIEWS) + [resultNode] * len(BOTTOM_VIEWS)
    for name, orientation, volume, label in zip(VIEWS, ORIENTATIONS * 2, volumes, labels * 2, strict=True):
        view, composite = _sliceNode(name), compositeOf(_sliceNode(name))
        for layer, node in zip(LAYERS, (volume, None, label), strict=True):
            setLayer(view, layer, node)
        view.SetOrientation(orientation)
        if isRotated:
            view.RotateToVolumePlane(originalNode)
        view.SetViewGroup(group)
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)


def _fit(manager, originalNode) -> None:
    """Fit the upper views to the original; the lower ones take plane and field of view over from them."""
    for top, bottom in zip(TOP_VIEWS, BOTTOM_VIEWS, strict=True):
        upper, lower = _sliceNode(top), _sliceNode(bottom)
        width, height, _depth = upper.GetDimensions()
        manager.sliceWidget(top).sliceLogic().FitSliceToVolume(originalNode, width, height)
        with slicer.util.NodeModify(lower):
            lower.GetSliceToRAS().DeepCopy(upper.GetSliceToRAS())
            lower.SetXYZOrigin(*upper.GetXYZOrigin())
            lower.SetFieldOfView(*upper.GetFieldOfView())
            lower.UpdateMatrices()


def placeToShow(volumeNode) -> np.ndarray:
    """Where the planes of the upper views meet, RAS mm; the volume's middle voxel where that is outside of it.

    Views that are about to turn show an acquired slice, not a mixture of two, only at a voxel's centre.
    """
    volume, toVoxels, toPlace = voxelPlaces(volumeNode)
    sizes = np.array(volume.shape_kji[::-1])
    used = [node for name in TOP_VIEWS if (node := _sliceNode(name)) and layerOf(node, "Background")]
    planes = [slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()) for node in used]
    normals = np.array([plane[:3, 2] for plane in planes])
    if len(planes) == len(TOP_VIEWS) and np.linalg.matrix_rank(normals, tol=0.1) == len(TOP_VIEWS):
        ras = np.linalg.solve(normals, [plane[:3, 2] @ plane[:3, 3] for plane in planes])
        ijk = toVoxels(ras)
        if (ijk >= -0.5).all() and (ijk <= sizes - 0.5).all():
            return toPlace(np.round(ijk)) if _isOblique(volumeNode) else ras
    return toPlace(sizes // 2)


def _isOblique(volumeNode) -> bool:
    """Whether slices lie at an angle to the patient's axes; false under a warp, where no plane follows them."""
    if not isLinear(volumeNode.GetParentTransformNode()):
        return False
    _volume, _toVoxels, toPlace = voxelPlaces(volumeNode)
    axes = np.array([toPlace(axis) for axis in np.eye(3)]) - toPlace((0, 0, 0))
    directions = np.abs(axes) / np.linalg.norm(axes, axis=1, keepdims=True)
    return bool(np.sort(directions, axis=1)[:, :2].max() > OBLIQUE_COMPONENT)
