"""Parts of a scan: the preview at the crosshair, and the region that an ROI marks."""

import itertools

import numpy as np
import pytest
from panel_steps import apply, finished, ready, results
from slicer_scans import LIMIT_S, filesIn, startRun

VIEWS = ("Red", "Green", "Yellow")


def place(node, ijk):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return (slicer.util.arrayFromVTKMatrix(matrix) @ (*ijk, 1))[:3]


def preview(host, ui, parameters, scan, ijk):
    """Press the button with the crosshair on a voxel; the preview's node."""
    import slicer

    parameters.inputVolume = scan
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(*place(scan, ijk))
    ready(host, ui)
    ui.previewButton.click()
    finished(host, ui)
    assert ui.problemLabel.text == ""
    return next(node for node in results(scan) if node.GetName() == "Preview of scan")


def layers():
    """Background and foreground of the slice views."""
    import slicer

    composites = [slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode() for name in VIEWS]
    ids = [(each.GetBackgroundVolumeID(), each.GetForegroundVolumeID()) for each in composites]
    return [tuple(slicer.mrmlScene.GetNodeByID(each) if each else None for each in pair) for pair in ids]


@pytest.fixture
def wide(scene):
    """A scan of which a preview is a part in each direction; 16 slices of 96 x 96 would all be in it."""
    import slicer
    from slicer_scans import thickNode

    small = thickNode(every=4, name="small")
    array = np.tile(slicer.util.arrayFromVolume(small), (1, 2, 2))
    node = slicer.util.addVolumeFromArray(array, np.diag([-0.645, -0.645, 12.0, 1.0]), "scan")
    slicer.mrmlScene.RemoveNode(small)
    return node


@pytest.fixture
def roi(scan):
    """Around the voxels 20 to 39, 30 to 49 and 3 to 6 of the scan, with half a voxel to each side."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    node.SetCenter(*place(scan, (29.5, 39.5, 4.5)))
    node.SetSize(*np.multiply(scan.GetSpacing(), (20, 20, 4)))
    return node


def test_a_preview_is_a_part_of_the_result_in_front_of_the_scan(host, engine, ui, parameters, wide):
    import slicer

    parameters.spacingMm = 6
    slicer.util.setSliceViewerLayers(background=wide, fit=True)
    node = preview(host, ui, parameters, wide, (60, 150, 12))
    assert node.GetAttribute("CycleINR.region") == "12:108,96:192,9:15" and layers() == [(wide, node)] * 3
    assert not node.GetSaveWithScene() and node.GetHideFromEditors() and parameters.resultVolume is None
    assert host.data_tree() == [wide.GetName()]
    assert "Preview after" in ui.statusLabel.text and filesIn(engine.folder.path) == []
    offsets = [slicer.app.layoutManager().sliceWidget(name).sliceLogic().GetSliceOffset() for name in VIEWS]
    assert offsets == pytest.approx(place(wide, (60, 150, 12))[[2, 1, 0]] * (1, 1, -1))
    other = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, wide, "other")
    slicer.util.setSliceViewerLayers(background=other)
    again = preview(host, ui, parameters, wide, (190, 2, 0))
    assert again.GetAttribute("CycleINR.region") == "96:192,0:96,0:6" and layers() == [(wide, again)] * 3
    ui.removeButton.click()
    assert results(wide) == [other] and layers() == [(other, None)] * 3


def test_a_frame_shows_where_the_preview_is(host, ui, parameters, wide):
    import qt
    import slicer
    from CycleINRSlicerLib.preview import FRAME_COLOUR

    def framed():
        """Pixels of the slice views that have the frame's colour."""
        count = 0
        for name in VIEWS:
            view = slicer.app.layoutManager().sliceWidget(name).sliceView()
            view.forceRender()
            image = view.pixmap.toImage().convertToFormat(qt.QImage.Format_RGB888)
            rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
            pixels = rows[:, : 3 * image.width()].reshape(-1, 3).astype(int)
            count += (np.abs(pixels - np.multiply(FRAME_COLOUR, 255)) < 12).all(axis=1).sum()
        return count

    parameters.spacingMm = 6
    slicer.util.setSliceViewerLayers(background=wide, fit=True)
    assert framed() == 0
    node = preview(host, ui, parameters, wide, (60, 150, 12))
    (frame,) = (each for each in slicer.util.getNodesByClass("vtkMRMLModelNode") if "frame" in each.GetName())
    bounds, expected, display = np.zeros(6), np.zeros(6), frame.GetDisplayNode()
    frame.GetRASBounds(bounds)
    node.GetRASBounds(expected)
    assert bounds == pytest.approx(expected) and not frame.GetSaveWithScene() and framed() > 300
    ui.removeButton.click()
    assert framed() == 0 and frame.GetScene() is display.GetScene() is None


def test_a_preview_is_gone_with_apply_and_when_the_scan_changes(host, ui, parameters, scan):
    import slicer

    former = scan.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
    slicer.util.setSliceViewerLayers(background=scan, foreground=former, foregroundOpacity=0.25)
    preview(host, ui, parameters, scan, (48, 48, 8))
    slicer.util.arrayFromVolume(scan)[:] //= 2
    slicer.util.arrayFromVolumeModified(scan)
    host.process_events(until=lambda: results(scan) == [former], timeout_s=LIMIT_S)
    assert layers() == [(scan, former)] * 3
    assert slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode().GetForegroundOpacity() == 0.25
    preview(host, ui, parameters, scan, (48, 48, 8))
    ui.applyButton.click()
    assert results(scan) == [former]
    finished(host, ui)
    assert parameters.resultVolume.GetAttribute("CycleINR.region") is None


def test_a_crosshair_outside_the_scan_means_where_the_views_meet(host, ui, parameters, wide):
    import slicer

    slicer.util.setSliceViewerLayers(background=wide, fit=True)
    view = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    parameters.spacingMm = 6
    view.JumpAllSlices(slicer.mrmlScene, *place(wide, (100, 60, 3)))
    node = preview(host, ui, parameters, wide, (5000, 0, 0))
    assert node.GetAttribute("CycleINR.region") == "52:148,12:108,0:6"


def test_no_preview_during_a_run(host, widget, ui, parameters, scan):
    import slicer

    apply(host, ui, parameters, scan)
    assert not ui.previewButton.enabled
    widget.panel._onPreview()  # as its key does
    assert "No preview during a run" in slicer.util.mainWindow().statusBar().currentMessage()
    finished(host, ui)
    assert results(scan) == [parameters.resultVolume] and ui.previewButton.enabled


def test_closing_the_scene_ends_a_preview_and_takes_it_along(host, engine, ui, parameters, scan):
    import slicer

    parameters.inputVolume = scan
    ready(host, ui)
    ui.previewButton.click()
    slicer.mrmlScene.Clear()
    finished(host, ui)
    assert "scene was closed" in ui.statusLabel.text and results(None) == [] and filesIn(engine.folder.path) == []


@pytest.mark.parametrize("moved", [False, True])
def test_a_region_has_the_voxels_whose_centres_the_roi_contains(scan, roi, moved):
    import slicer
    import vtk
    from CycleINRSlicerLib.preview import regionOf

    if moved:  # with the scan's transform the two still have the same axes
        turn = vtk.vtkTransform()
        turn.RotateWXYZ(30, 1, 2, 3)
        turn.Scale(1.2, 1, 1)
        above = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        above.SetMatrixTransformToParent(turn.GetMatrix())
        for node in (scan, roi):
            node.SetAndObserveTransformNodeID(above.GetID())
    region, text = regionOf(scan, roi)
    assert str(region) == "20:40,30:50,3:7" and text == "Only within R."


def test_a_rotated_roi_is_its_bounding_box_and_says_so(host, ui, parameters, scan, roi):
    import vtk

    turn = vtk.vtkTransform()
    turn.Concatenate(roi.GetObjectToNodeMatrix())
    turn.RotateZ(45)
    roi.GetObjectToNodeMatrix().DeepCopy(turn.GetMatrix())
    parameters.inputVolume, parameters.regionNode = scan, roi
    host.process_events(until=lambda: "bounding box of R" in ui.forecastLabel.text, timeout_s=LIMIT_S)
    from CycleINRSlicerLib.preview import regionOf

    region = regionOf(scan, roi)[0]
    assert region.k == (3, 7)
    inside = [ijk for ijk in itertools.product(range(96), range(96), [4]) if roi.IsPointInROIWorld(place(scan, ijk))]
    for ends, found in zip((region.i, region.j), np.transpose(inside), strict=False):
        assert ends[0] <= found.min() <= ends[0] + 1 and ends[1] - 2 <= found.max() < ends[1]


def test_a_region_is_that_part_of_the_whole_result_and_has_a_difference_too(host, engine, ui, parameters, scan, roi):
    import slicer

    whole = startRun(engine, scan, makeDifference=True, ratio=2)
    whole.wait()
    whole = [slicer.util.arrayFromVolume(node).astype(int) for node in (whole.outputNode, whole.difference.node)]
    expected, added = (array[5:13, 30:50, 20:40] for array in whole)
    parameters.inputVolume, parameters.regionNode, parameters.makeDifference = scan, roi, True
    parameters.targetKind, parameters.ratio = type(parameters.targetKind).RATIO, 2
    ready(host, ui)
    assert "20 × 20 × 8 voxels" in ui.forecastLabel.text and "Only within R." in ui.forecastLabel.text
    ui.applyButton.click()
    finished(host, ui)
    node = parameters.resultVolume
    part = slicer.util.arrayFromVolume(node)
    assert "region" in node.GetName() and np.abs(part - expected).max() <= 1
    assert place(node, (0, 0, 0)) == pytest.approx(place(scan, (20, 30, 2.5)))
    assert np.abs(slicer.util.arrayFromVolume(parameters.differenceVolume) - added).max() <= 2


def test_a_region_of_one_voxel_and_one_outside(host, ui, parameters, scan, roi):
    import slicer

    parameters.inputVolume, parameters.regionNode = scan, roi
    roi.SetCenter(*place(scan, (50, 50, 500)))
    host.process_events(until=lambda: "R contains no voxel's centre of scan" in ui.problemLabel.text, timeout_s=LIMIT_S)
    assert not ui.applyButton.enabled and not ui.previewButton.enabled
    roi.SetCenter(*place(scan, (50, 50, 5)))
    roi.SetSize(0.1, 0.1, 0.1)
    ready(host, ui)
    ui.applyButton.click()
    finished(host, ui)
    assert slicer.util.arrayFromVolume(parameters.resultVolume).shape[1:] == (1, 1)


def test_the_console_takes_a_region_too(widget, scan):
    result = widget.logic.process(scan, ratio=2, region="20:40,30:50,3:7")
    assert result.GetImageData().GetDimensions() == (20, 20, 8)
    assert place(result, (0, 0, 0)) == pytest.approx(place(scan, (20, 30, 2.5)))
