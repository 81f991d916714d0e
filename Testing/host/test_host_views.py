"""Layouts, linked slice views and pictures."""

import numpy as np
import pytest

NAMES = ["Red", "Green", "Yellow", "Red+", "Green+", "Yellow+"]


@pytest.fixture
def volume(scene):
    """40 x 48 x 20 voxels of 1 x 1 x 3 mm with a bright block, centred in RAS."""
    import slicer

    array = np.zeros((20, 48, 40), np.int16)
    array[5:15, 10:30, 10:30] = 1000
    node = slicer.util.addVolumeFromArray(array, name="block")
    node.SetSpacing(1, 1, 3)
    node.SetOrigin(-20, -24, -30)
    return node


@pytest.fixture
def six_views(host, volume):
    import slicer

    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView)
    slicer.util.setSliceViewerLayers(background=volume)
    slicer.util.resetSliceViews()
    return manager


def test_layout_three_over_three(six_views):
    import slicer

    assert six_views.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView
    assert six_views.sliceViewNames() == NAMES
    nodes = [six_views.sliceWidget(name).mrmlSliceNode() for name in NAMES]
    assert [node.GetOrientation() for node in nodes] == ["Axial", "Coronal", "Sagittal"] * 2
    assert [node.GetViewGroup() for node in nodes] == [0, 0, 0, 1, 1, 1]


def test_layouts_come_and_go(six_views):
    import slicer

    for layout in ("OneUpRedSliceView", "ThreeOverThreeView", "FourUpView"):
        six_views.setLayout(getattr(slicer.vtkMRMLLayoutNode, f"SlicerLayout{layout}"))
    assert sorted(six_views.sliceViewNames()) == ["Green", "Red", "Yellow"]


def test_linked_views_move_together(six_views):
    import slicer

    red, red_plus = (six_views.sliceWidget(name) for name in ("Red", "Red+"))
    red_plus.mrmlSliceNode().SetViewGroup(0)
    for widget in (red, red_plus):
        widget.mrmlSliceCompositeNode().SetLinkedControl(True)
    logic = red.sliceLogic()
    logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
    logic.SetSliceOffset(12)
    logic.EndSliceNodeInteraction()
    red_plus.mrmlSliceNode().SetViewGroup(1)
    assert red_plus.sliceLogic().GetSliceOffset() == 12


def test_the_views_survive_closing_the_scene(host, six_views):
    import slicer

    host.clear_scene()
    slicer.util.resetSliceViews()
    assert slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceNode() is not None


def test_screenshot_shows_the_volume_in_six_views(host, six_views, tmp_path):
    import qt

    path = tmp_path / "window.png"
    host.screenshot(path, size=(1000, 600))
    image = qt.QImage(str(path))
    assert (image.width(), image.height()) == (1000, 600)
    window = six_views.viewport().window()
    for name in NAMES:
        widget = six_views.sliceWidget(name)
        centre = widget.mapTo(window, qt.QPoint(widget.width // 2, widget.height // 2))
        assert image.pixelColor(centre).lightness() > 200, f"the block is bright in {name}"
        corner = widget.mapTo(window, qt.QPoint(4, 4))
        assert image.pixelColor(corner).lightness() < 50, f"the background is dark in {name}"


def test_a_screenshot_needs_a_writable_path(host, six_views):
    with pytest.raises(OSError, match="could not write"):
        host.screenshot("/no/such/folder/window.png")


def test_the_diverging_colour_table_outlives_the_scene(host, scene):
    for _ in range(2):
        table = scene.GetNodeByID("vtkMRMLColorTableNodeFileDivergingBlueRed.txt")
        assert table.GetName() == "DivergingBlueRed"
        blue, middle, red = (np.array(_color(table, index)) for index in (0, 127, table.GetNumberOfColors() - 1))
        assert blue[2] > blue[0] and red[0] > red[2]
        assert middle.min() > 0.9
        host.clear_scene()


def _color(table, index):
    rgba = [0.0] * 4
    table.GetColor(index, rgba)
    return rgba[:3]
