"""Result minus B-spline: its values, its place, its look, and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest
from cycleinr import InputError
from cycleinr.files import read_volume
from cycleinr.grid import Target, output_ijk_to_ras, plan_grid
from cycleinr.resampling import bspline_weights, resampled
from cycleinr.volume import Volume
from places import REPOSITORY
from slicer_scans import addVolume, affineOf, differenceNode

DATA = REPOSITORY / "Testing/data"
THINNING = 4


@pytest.fixture(scope="module")
def chest():
    """A chest CT of every fourth slice, and the slices in between (last acquired one included) as the result."""
    return _thinned(read_volume(DATA / "ct_chest_0p8mm.nii.gz"))


@pytest.fixture(scope="module")
def spline(chest):
    """B-spline of the thinned chest CT on the result's grid, by the evaluation's method."""
    scan, result = chest
    grid = plan_grid(scan, Target(ratio=THINNING))
    assert np.allclose(output_ijk_to_ras(scan, grid), result.ijk_to_ras)
    return resampled(bspline_weights(grid.positions(), grid.n_in), scan.array)


def test_values_are_result_minus_b_spline(scene, chest, spline):
    node = _difference(*_add_nodes(chest))
    values = _values(node)
    assert values.dtype == np.int16
    assert np.abs(values - (chest[1].array - spline)).max() <= 0.501
    assert np.abs(values).max() > 100, "the chest has structures that no B-spline finds"
    assert np.abs(values[::THINNING]).max() <= 1, "acquired slices are in both"


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_slices_may_lie_along_any_axis(scene, chest, spline, axes):
    turned = [_with_axes(volume, axes) for volume in chest]
    values = _values(_difference(*_add_nodes(turned)))
    assert np.abs(values - np.transpose(chest[1].array - spline, axes)).max() <= 0.501


def test_small_steps_give_the_same_values(scene, chest, spline, monkeypatch):
    from cycleinr.checks import added_detail

    monkeypatch.setattr(added_detail, "STEP_BYTES", 1)
    values = _values(_difference(*_add_nodes(chest)))
    assert np.abs(values - (chest[1].array - spline)).max() <= 0.51


def test_floating_point_scans_keep_fractions(scene, chest, spline):
    as_float = [volume.with_array(volume.array.astype(np.float32) / 1000) for volume in chest]
    values = _values(_difference(*_add_nodes(as_float)))
    assert values.dtype == np.float32
    assert np.abs(values - (chest[1].array - spline) / 1000).max() < 1e-5


def test_differences_beyond_16_bits_are_not_cut_off(scene, chest):
    scan, result = (volume.with_array((volume.array.clip(-1000, 1000) + 1000).astype(np.uint16)) for volume in chest)
    result = result.with_array(65535 - 30 * result.array)
    values = _values(_difference(*_add_nodes((scan, result))))
    assert values.dtype == np.float32
    assert values.max() > 2**15


def test_place_name_and_origin_are_told(scene):
    """An oblique scan under a transform, in a study of the subject hierarchy."""
    import slicer

    nodes = _add_nodes(_thinned(read_volume(DATA / "mr_head_1mm.nii.gz")))
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    before = [_values(node).copy() for node in nodes]
    difference = _difference(*nodes)
    assert difference.GetName() == "result minus B-spline"
    assert np.array_equal(affineOf(difference), affineOf(nodes[1]))
    assert difference.GetImageData().GetDimensions() == nodes[1].GetImageData().GetDimensions()
    assert difference.GetParentTransformNode() is transform
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(difference)) == study
    assert "not for primary diagnosis" in difference.GetAttribute("CycleINR.derived")
    assert all(np.array_equal(_values(node), values) for node, values in zip(nodes, before, strict=True))


def test_colours_diverge_from_zero(scene, chest):
    difference = _difference(*_add_nodes(chest))
    display = difference.GetDisplayNode()
    assert display.GetColorNode().GetName() == "DivergingBlueRed"
    assert display.GetLevel() == 0 and not display.GetAutoWindowLevel()
    outside = (np.abs(_values(difference)) > display.GetWindow() / 2).mean()
    assert 0 < outside < 0.02


def test_no_difference_has_a_window_too(scene, chest):
    scan = addVolume(chest[0], "scan")
    difference = _difference(scan, addVolume(chest[0], "the same"))
    assert not _values(difference).any()
    assert difference.GetDisplayNode().GetWindow() > 0


def test_a_part_of_the_scan_gives_the_same_values(scene, chest, spline):
    values = _values(_difference(*_add_nodes((chest[0], chest[1][3:, 5:40, 10:-2]))))
    assert np.abs(values - (chest[1].array - spline)[3:, 5:40, 10:-2]).max() <= 0.501


@pytest.mark.parametrize("change", ["shifted in the slice", "turned", "other pixels", "larger than the scan"])
def test_refuses_another_grid(scene, chest, change):
    scan, result = chest
    affine, array = result.ijk_to_ras.copy(), result.array
    if change == "shifted in the slice":
        affine[:3, 3] += affine[:3, 0] * 0.5
    elif change == "turned":
        affine[:3, :3] = affine[:3, :3] @ [[0.999, -0.04, 0], [0.04, 0.999, 0], [0, 0, 1]]
    elif change == "other pixels":
        affine[:3, 0] *= 1.01
    else:
        array = np.pad(array, [(0, 0), (1, 0), (0, 0)])
    nodes = _add_nodes((scan, Volume(array, affine)))
    before = scene.GetNumberOfNodes()
    with pytest.raises(InputError, match="not that of scan with other slices"):
        _difference(*nodes)
    assert scene.GetNumberOfNodes() == before


def test_refuses_missing_volumes(scene, chest):
    from CycleINRSlicerLib.volume_node import NodeError

    with pytest.raises(NodeError):
        _difference(addVolume(chest[0], "scan"), None)


def test_steps_tell_the_fraction_and_add_nothing_before_the_end(scene, chest):
    from CycleINRSlicerLib.result_node import differenceSteps

    nodes = _add_nodes(chest)
    before = scene.GetNumberOfNodes()
    steps = differenceSteps(*nodes)
    fractions = [next(steps)]
    steps.close()
    steps = differenceSteps(*nodes)
    fractions = list(steps)
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)
    assert scene.GetNumberOfNodes() > before
    names = [node.GetName() for node in scene.GetNodesByClass("vtkMRMLScalarVolumeNode")]
    assert names.count("result minus B-spline") == 1


def test_a_volume_removed_between_steps(scene, chest):
    from CycleINRSlicerLib.result_node import differenceSteps
    from CycleINRSlicerLib.volume_node import NodeError

    scan, result = _add_nodes(chest)
    steps = differenceSteps(scan, result)
    next(steps)
    scene.RemoveNode(result)
    with pytest.raises(NodeError, match="removed"):
        list(steps)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_the_method_needs_no_torch():
    code = "import cycleinr.resampling as m, sys; m.bspline_weights(__import__('numpy').arange(3.0), 4); "
    engine = REPOSITORY / "CycleINRSlicer"
    run = subprocess.run(
        [sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], cwd=engine, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr or "torch was imported"


def _thinned(fine):
    count = (fine.array.shape[0] - 1) // THINNING * THINNING + 1
    affine = fine.ijk_to_ras.copy()
    affine[:3, 2] *= THINNING
    return Volume(fine.array[:count:THINNING], affine), Volume(fine.array[:count], fine.ijk_to_ras)


def _with_axes(volume, axes):
    """The volume stored with its array's axes in another order, at the same place."""
    affine = volume.ijk_to_ras.copy()
    affine[:3, :3] = affine[:3, [2 - axis for axis in axes][::-1]]
    return Volume(np.ascontiguousarray(np.transpose(volume.array, axes)), affine)


def _difference(scan, result):
    return differenceNode(scan, result)


def _add_nodes(volumes):
    return [addVolume(volume, name) for volume, name in zip(volumes, ("scan", "result"), strict=True)]


def _values(node):
    import slicer

    return slicer.util.arrayFromVolume(node)
