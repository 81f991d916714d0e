"""The 2x3 review: same place and look in both rows, linked, and everything back afterwards."""

import numpy as np
import pytest
from cycleinr.files import read_volume
from cycleinr.grid import Target, output_ijk_to_ras, plan_grid
from cycleinr.resampling import bspline_weights, resampled
from places import REPOSITORY
from slicer_scans import addVolume, affineOf

HEAD_CT = REPOSITORY / "CycleINRSlicer" / "Resources" / "SampleData" / "ct_head_5mm.nii.gz"
OBLIQUE_MR = REPOSITORY / "Testing" / "data" / "mr_head_1mm.nii.gz"
TOP, BOTTOM = ("Red", "Green", "Yellow"), ("Red+", "Green+", "Yellow+")
PLACE = (4.0, -12.5, 65.75)
"""A point in the head CT, RAS mm; its S is an acquired slice."""


@pytest.fixture(scope="module")
def head():
    """The bundled head CT and its cubic B-spline interpolation at half the slice spacing, as engine volumes."""
    scan = read_volume(HEAD_CT)
    grid = plan_grid(scan, Target(ratio=2))
    fine = resampled(bspline_weights(grid.positions(), grid.n_in), scan.array).round().astype(np.int16)
    return scan, scan.with_array(fine, output_ijk_to_ras(scan, grid))


@pytest.fixture
def pair(host, scene, head):
    """Both volumes as nodes; the scan is shown in the four-up layout, at ``PLACE``, with a brain window."""
    import slicer

    original, result = (addVolume(volume, name) for volume, name in zip(head, ("head", "head fine"), strict=True))
    original.GetDisplayNode().SetAutoWindowLevel(False)
    original.GetDisplayNode().SetWindowLevel(120, 40)
    slicer.util.setSliceViewerLayers(background=original)
    slicer.app.processEvents()
    slicer.util.resetSliceViews()
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *PLACE, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
    return original, result


@pytest.fixture
def review(host):
    """A review that is left after the test: views outlive the scene, and with them their groups and links."""
    from CycleINRSlicerLib.review import Review

    review = Review()
    yield review
    review.leave()


def test_original_above_result_below(pair, review):
    original, result = pair
    review.show(original, result)
    assert review.isShown
    assert _layout() == _three_over_three()
    assert [_background(name) for name in TOP + BOTTOM] == [original] * 3 + [result] * 3
    assert [_slice_node(name).GetOrientation() for name in TOP + BOTTOM] == ["Axial", "Coronal", "Sagittal"] * 2


def test_result_takes_the_display_of_the_original(pair, review):
    original, result = pair
    result.GetDisplayNode().SetWindowLevel(2000, 500)
    review.show(original, result)
    for node in pair:
        assert (node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) == (120, 40)
    assert not result.GetDisplayNode().GetAutoWindowLevel()


def test_both_rows_keep_the_place_of_the_user(pair, review):
    review.show(*pair)
    for name in TOP + BOTTOM:
        in_slice = np.linalg.inv(_slice_to_ras(name)) @ (*PLACE, 1)
        assert in_slice[2] == pytest.approx(0, abs=1e-6), f"{name} does not pass through the place"
    _assert_rows_equal()


def test_a_place_outside_the_original_becomes_its_middle(scene, pair, review):
    import slicer

    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, 0, 0, 900, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
    review.show(*pair)
    bounds = np.zeros(6)
    pair[0].GetRASBounds(bounds)
    assert _slice_node("Red+").GetSliceOffset() == pytest.approx(bounds[4:].mean(), abs=5)
    _assert_rows_equal()


def test_scrolling_and_zooming_go_to_the_other_row(pair, review):
    import slicer

    review.show(*pair)
    red, coronal = _logic("Red"), _slice_node("Green").GetSliceOffset()
    red.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
    red.SetSliceOffset(40.75)
    assert _slice_node("Red+").GetSliceOffset() == pytest.approx(40.75), "the other row follows at once"
    red.EndSliceNodeInteraction()
    assert _slice_node("Green").GetSliceOffset() == coronal

    below = _logic("Green+")
    below.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.FieldOfViewFlag)
    below.GetSliceNode().SetFieldOfView(50, 40, 1)
    below.EndSliceNodeInteraction()
    assert _slice_node("Green").GetFieldOfView()[0] == pytest.approx(50)


def test_the_picture_shows_the_same_anatomy_in_each_column(host, pair, review, tmp_path):
    review.show(*pair)
    window = _picture(host, tmp_path / "review.png")
    for top, bottom in zip(TOP, BOTTOM, strict=True):
        above, below = _crop(window, top), _crop(window, bottom)
        assert (above > 0).mean() > 0.4, f"{top}: the head fills the view"
        agreement = {shift: _correlation(above, np.roll(below, shift, axis=(0, 1))) for shift in _shifts()}
        assert max(agreement, key=agreement.get) == (0, 0), f"{bottom} is shifted against {top}"
        assert agreement[0, 0] > 0.95


def test_leaving_brings_everything_back(host, pair, review, tmp_path):
    original, result = pair
    result.GetDisplayNode().SetAutoWindowLevel(False)
    result.GetDisplayNode().SetWindowLevel(120, 40)  # what the review gives it, so that the pictures can be compared
    _set_foreground(result)
    before, window = _state(TOP), _picture(host, tmp_path / "before.png")
    review.show(original, result)
    host.screenshot(tmp_path / "review.png")
    assert _state(TOP) != before
    review.leave()
    assert not review.isShown
    assert np.array_equal(window, _picture(host, tmp_path / "after.png"))
    assert _state(TOP) == before
    assert [_slice_node(name).GetViewGroup() for name in BOTTOM] == [1, 1, 1]
    assert not any(_composite(name).GetLinkedControl() for name in BOTTOM)


def test_it_can_be_shown_and_left_many_times(pair, review):
    import slicer

    before = _state(TOP)
    for _ in range(3):
        review.show(*pair)
        slicer.app.processEvents()
        review.leave()
        slicer.app.processEvents()
        review.leave()
    assert _state(TOP) == before


def test_another_pair_keeps_the_way_back(pair, review):
    before, layout = _state(TOP), _layout()
    review.show(*pair)
    review.show(*reversed(pair))
    assert _background("Red") is pair[1]
    review.leave()
    assert (_state(TOP), _layout()) == (before, layout)


def test_what_the_user_changed_meanwhile_stays(scene, pair, review):
    import slicer

    original, result = pair
    review.show(original, result)
    other = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4), np.int16), name="other")
    _composite("Green").SetBackgroundVolumeID(other.GetID())
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    assert not review.isShown
    _logic("Red").SetSliceOffset(30.75)
    review.leave()
    assert _layout() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    assert _slice_node("Red").GetSliceOffset() == pytest.approx(30.75)
    assert [_background(name) for name in ("Red", "Green")] == [original, other]
    assert not _composite("Red").GetLinkedControl()


def test_showing_again_after_the_user_changed_the_layout(pair, review):
    import slicer

    review.show(*pair)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    review.show(*pair)
    assert review.isShown
    review.leave()
    assert _layout() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    assert not _composite("Red").GetLinkedControl()


@pytest.mark.parametrize("removed", [(0,), (1,), (0, 1)])
def test_volumes_may_be_deleted_meanwhile(scene, pair, review, removed):
    import slicer

    layout = _layout()
    review.show(*pair)
    for index in removed:
        scene.RemoveNode(pair[index])
    assert review.isShown
    review.leave()
    assert _layout() == layout
    assert _background("Red") is (None if 0 in removed else pair[0])
    slicer.util.forceRenderAllViews()


def test_a_closed_scene_is_not_mixed_up_with_the_next(host, scene, pair, review, head):
    """The new scene's first volume has the ID of the old one's; the panel leaves the review when a scene closes."""
    review.show(*pair)
    old_id = pair[0].GetID()
    tag = scene.AddObserver(scene.StartCloseEvent, lambda *_: review.leave())
    host.clear_scene()
    scene.RemoveObserver(tag)
    assert not review.isShown
    new = addVolume(head[0], "another patient")
    assert new.GetID() == old_id
    assert not review.isShown
    review.leave()
    assert [_background(name) for name in TOP] == [None] * 3
    review.show(new, addVolume(head[1], "its result"))
    assert _background("Red") is new


def test_a_volume_in_the_former_view_may_be_deleted(scene, pair, review, head):
    import slicer

    former = addVolume(head[0], "former")
    slicer.util.setSliceViewerLayers(background=former)
    review.show(*pair)
    scene.RemoveNode(former)
    review.leave()
    assert _background("Red") is pair[0]


def test_no_node_is_kept_alive(scene, review, head):
    import vtk

    nodes = [addVolume(volume, "short-lived") for volume in head]
    references = []
    for node in nodes:
        references.append(vtk.vtkWeakReference())
        references[-1].Set(node)
    review.show(*nodes)
    for node in nodes:
        scene.RemoveNode(node)
    del node
    nodes.clear()
    assert [reference.Get() for reference in references] == [None, None]


def test_without_a_main_window(host, pair, review):
    from CycleINRSlicerLib.volume_node import NodeError

    with host.without_main_window():
        with pytest.raises(NodeError, match="no main window"):
            review.show(*pair)
        review.leave()
        assert not review.isShown


def test_the_main_window_may_close_meanwhile(host, pair, review):
    review.show(*pair)
    with host.without_main_window():
        assert not review.isShown
        review.leave()
        assert not any(_composite(name).GetLinkedControl() for name in TOP + BOTTOM)


def test_refuses_what_is_no_volume(scene, pair, review):
    from CycleINRSlicerLib.volume_node import NodeError

    layout = _layout()
    with pytest.raises(NodeError, match="label map"):
        review.show(pair[0], scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "drawn"))
    assert _layout() == layout


def test_oblique_slices_are_seen_as_acquired(scene, review):
    thick, fine = _oblique_pair()
    before = _state(TOP)
    review.show(thick, fine)
    axes = np.abs(_directions(thick))
    for name in TOP + BOTTOM:
        cosines = np.abs(_slice_to_ras(name)[:3, :3].T) @ axes
        assert np.allclose(np.sort(cosines, axis=1)[:, 2], 1, atol=2e-2)
        along = np.linalg.inv(affineOf(thick)) @ _slice_to_ras(name)
        normal = np.abs(along[:3, 2]).argmax()
        assert np.allclose(np.delete(along[:3, 2], normal), 0, atol=1e-6), f"{name} cuts across acquired slices"
        assert along[normal, 3] == pytest.approx(round(along[normal, 3]), abs=1e-4), f"{name} lies between slices"
    _assert_rows_equal()
    review.leave()
    assert _state(TOP) == before


def test_slices_turn_back_even_if_the_user_left_by_himself(review):
    import slicer

    thick, fine = _oblique_pair()
    review.show(thick, fine)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    assert _slice_node("Red").GetOrientation() != "Axial"
    review.leave()
    assert [_slice_node(name).GetOrientation() for name in TOP] == ["Axial", "Coronal", "Sagittal"]


def test_a_transform_above_both_volumes(scene, pair, review):
    import slicer
    import vtk

    turn = vtk.vtkTransform()
    turn.RotateX(20)
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(turn.GetMatrix())
    for volume in pair:
        volume.SetAndObserveTransformNodeID(node.GetID())
    slicer.util.resetSliceViews()
    review.show(*pair)
    turned = slicer.util.arrayFromVTKMatrix(turn.GetMatrix())[:3, 2]
    assert abs(_slice_to_ras("Red+")[:3, 2] @ turned) == pytest.approx(1)
    _assert_rows_equal()


# -- the scene
def _oblique_pair():
    """The oblique MR with every fourth slice, and as it is; the first is shown."""
    import slicer

    fine = read_volume(OBLIQUE_MR)
    affine = fine.ijk_to_ras.copy()
    affine[:3, 2] *= 4
    thick = addVolume(fine.with_array(fine.array[::4], affine), "every fourth slice")
    slicer.util.setSliceViewerLayers(background=thick)
    slicer.util.resetSliceViews()
    return thick, addVolume(fine, "all slices")


def _directions(node):
    axes = affineOf(node)[:3, :3]
    return axes / np.linalg.norm(axes, axis=0)


# -- the views
def _three_over_three():
    import slicer

    return slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView


def _layout():
    import slicer

    return slicer.app.layoutManager().layout


def _slice_node(name):
    import slicer

    return slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")


def _logic(name):
    import slicer

    return slicer.app.layoutManager().sliceWidget(name).sliceLogic()


def _composite(name):
    import slicer

    return slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(_slice_node(name))


def _background(name):
    import slicer

    node_id = _composite(name).GetBackgroundVolumeID()
    return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None


def _set_foreground(node):
    for name in TOP:
        _composite(name).SetForegroundVolumeID(node.GetID())
        _composite(name).SetForegroundOpacity(0.5)


def _slice_to_ras(name):
    import slicer

    return slicer.util.arrayFromVTKMatrix(_slice_node(name).GetSliceToRAS())


def _state(names):
    """All of some views that a user sees or set, comparable."""
    return [
        (
            np.round(_slice_to_ras(name), 9).tolist(),
            np.round(_slice_node(name).GetFieldOfView()[:2], 9).tolist(),
            _slice_node(name).GetXYZOrigin(),
            _slice_node(name).GetViewGroup(),
            _composite(name).GetLinkedControl(),
            _composite(name).GetHotLinkedControl(),
            _composite(name).GetBackgroundVolumeID(),
            _composite(name).GetForegroundVolumeID(),
        )
        for name in names
    ]


def _assert_rows_equal():
    for top, bottom in zip(TOP, BOTTOM, strict=True):
        assert np.array_equal(_slice_to_ras(top), _slice_to_ras(bottom))
        assert _slice_node(top).GetFieldOfView()[:2] == _slice_node(bottom).GetFieldOfView()[:2]
        assert _slice_node(top).GetXYZOrigin() == _slice_node(bottom).GetXYZOrigin()


# -- the pictures
def _picture(host, path):
    """The window's views as grey values (rows, columns)."""
    import qt

    host.screenshot(path, size=(1300, 700))
    image = qt.QImage(str(path)).convertToFormat(qt.QImage.Format_Grayscale8)
    pixels = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return pixels[:, : image.width()].astype(float)


def _crop(window, name):
    import qt
    import slicer

    widget = slicer.app.layoutManager().sliceWidget(name)
    corner = widget.mapTo(widget.window(), qt.QPoint(0, 0))
    return window[corner.y() : corner.y() + widget.height, corner.x() : corner.x() + widget.width]


def _shifts():
    return [(rows, columns) for rows in (-8, -4, 0, 4, 8) for columns in (-8, -4, 0, 4, 8)]


def _correlation(first, second):
    rows, columns = (min(a, b) for a, b in zip(first.shape, second.shape, strict=True))
    return np.corrcoef(first[:rows, :columns].ravel(), second[:rows, :columns].ravel())[0, 1]
