"""A scan under a transform: a linear one goes on to the result, that of the acquisition is what the headers say."""

import gc
import weakref

import numpy as np
import pytest
from dicom_maker import write_slice
from panel_steps import ready, results
from slicer_scans import LIMIT_S, MODULE_FILE, dicomNode, volumeNodes


@pytest.fixture
def tilt(scene):
    """Such a transform as Slicer's DICOM module attaches to a series with a tilted gantry: each slice is shifted."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    grid = vtk.vtkImageData()
    grid.SetDimensions(2, 2, 2)
    grid.SetOrigin(-500, -500, -500)
    grid.SetSpacing(1000, 1000, 1000)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    displacements_mm = vtk_to_numpy(grid.GetPointData().GetScalars()).reshape(2, 2, 2, 3)
    displacements_mm[:] = 0
    displacements_mm[1, :, :, 1] = 260
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(grid)
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "acquisition transform")
    node.SetAndObserveTransformFromParent(transform)
    return node


def test_the_panel_says_what_to_do_and_apply_is_off_until_it_is_done(host, ui, parameters, scan, tilt):
    parameters.inputVolume = scan
    ready(host, ui)
    scan.SetAndObserveTransformNodeID(tilt.GetID())
    host.process_events(until=lambda: "acquisition transform" in ui.problemLabel.text, timeout_s=LIMIT_S)
    for word in ("scan", "module Data", "right-click", "Harden transform"):
        assert word in ui.problemLabel.text
    assert not ui.applyButton.enabled and ui.applyButton.toolTip == ui.problemLabel.text
    assert scan.HardenTransform()
    ready(host, ui)
    assert scan.GetTransformNodeID() is None and results(scan) == []


def test_a_transform_above_the_scans_own_counts_too(host, ui, parameters, scene, scan, tilt):
    own = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    scan.SetAndObserveTransformNodeID(own.GetID())
    parameters.inputVolume = scan
    ready(host, ui)
    own.SetAndObserveTransformNodeID(tilt.GetID())
    host.process_events(until=lambda: "Harden transform" in ui.problemLabel.text, timeout_s=LIMIT_S)
    own.SetAndObserveTransformNodeID(None)
    ready(host, ui)


def test_scripts_get_an_error_of_that_kind(host, engine, scan, tilt):
    from CycleINRSlicerLib.volume_node import NodeError

    logic = host.load_module(MODULE_FILE, enter=False).python_module.CycleINRSlicerLogic()
    scan.SetAndObserveTransformNodeID(tilt.GetID())
    with pytest.raises(NodeError, match="Harden transform"):
        logic.process(scan, ratio=2)
    assert volumeNodes() == [scan]


def test_a_linear_transform_goes_on_to_the_result(host, engine, scene, scan):
    import slicer

    logic = host.load_module(MODULE_FILE, enter=False).python_module.CycleINRSlicerLogic()
    turn = np.array([[0, -1, 0, 30], [1, 0, 0, -20], [0, 0, 1, 5], [0, 0, 0, 1.0]])
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turn))
    scan.SetAndObserveTransformNodeID(node.GetID())
    result = logic.process(scan, ratio=2)
    bounds = np.zeros((2, 6))
    scan.GetRASBounds(bounds[0])
    result.GetRASBounds(bounds[1])
    assert result.GetTransformNodeID() == node.GetID()
    # Outer slice centres are kept, so only the outer halves of the slices differ
    assert np.allclose(bounds[0, :4], bounds[1, :4]) and np.abs(bounds[0] - bounds[1]).max() < 1


TILT = np.tan(np.deg2rad(12))
CENTRE_RAS = np.array([2.0, 6.5, 31.0])


def blobSeries(folder, positions):
    """Slices of a round blob of 1000 HU above air; where they lie is in LPS mm."""
    folder.mkdir()
    row, column = np.mgrid[:40, :36]
    for n, (x, y, z) in enumerate(positions):
        places = np.stack([-(x + 0.9 * column), -(y + 0.8 * row), np.full(row.shape, z)], axis=-1)
        pixels = 24 + 1000 * np.exp(-((places - CENTRE_RAS) ** 2).sum(axis=-1) / (2 * 4.5**2))
        write_slice(folder / f"{n:02}.dcm", (x, y, z), np.rint(pixels).astype(np.uint16), PixelSpacing=[0.8, 0.9])
    return folder


def centreOf(volume):
    """Centroid in RAS mm of what is above air in a volume with even slices."""
    k, j, i = np.nonzero(volume.array > -900)
    weights = volume.array[k, j, i] + 1000.0
    return np.average(volume.ras_of_ijk(np.stack([i, j, k], axis=-1)), axis=0, weights=weights)


def tiltedNode(folder, monkeypatch):
    positions = [(-18.2, -22.0 + TILT * (z - 31), z) for z in np.arange(10, 55, 3.0)]
    return dicomNode(blobSeries(folder / "series", positions), monkeypatch)


@pytest.fixture
def tilted(scene, tmp_path, monkeypatch):
    return tiltedNode(tmp_path, monkeypatch)


def test_a_tilted_series_is_made_finer_where_its_headers_put_it(host, ui, parameters, engine, tilted):
    from CycleINRSlicerLib.volume_node import volumeFromNode

    assert not tilted.GetParentTransformNode().IsTransformToWorldLinear()
    parameters.inputVolume = tilted
    ready(host, ui)
    assert "Gantry tilt of 12.0 degrees removed" in ui.warningLabel.text
    ui.applyButton.click()
    host.process_events(until=lambda: results(tilted), timeout_s=LIMIT_S)
    (result,) = results(tilted)
    assert result.GetTransformNodeID() is None and "12.0 degrees" in result.GetAttribute("CycleINR.reading")
    assert np.allclose(centreOf(volumeFromNode(result)), CENTRE_RAS, atol=0.05)


def test_the_result_of_a_tilted_series_keeps_the_transform_above_its_acquisitions(host, engine, scene, tilted):
    above = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "registration")
    tilted.GetParentTransformNode().SetAndObserveTransformNodeID(above.GetID())
    logic = host.load_module(MODULE_FILE, enter=False).python_module.CycleINRSlicerLogic()
    assert logic.process(tilted, ratio=2).GetTransformNodeID() == above.GetID()


def test_the_copy_of_a_tilted_series_goes_with_it(host, scene, tmp_path, monkeypatch):
    from CycleINRSlicerLib.volume_node import volumeFromNode

    node = tiltedNode(tmp_path, monkeypatch)
    copied = weakref.ref(volumeFromNode(node))
    assert copied() is volumeFromNode(node)
    scene.RemoveNode(node)
    del node
    gc.collect()
    assert copied() is None


@pytest.mark.parametrize("heights", [[*range(10, 31, 3), *range(34, 56, 3)], [*range(10, 31, 3), *range(32, 52, 2)]])
def test_slices_of_an_uneven_series_lie_where_their_headers_put_them(host, scene, tmp_path, monkeypatch, heights):
    from CycleINRSlicerLib.volume_node import volumeFromNode

    series = blobSeries(tmp_path / "series", [(-18.2, -22.0, z) for z in heights])
    volume = volumeFromNode(dicomNode(series, monkeypatch))
    assert np.allclose(volume.acquisition.positions_mm, np.array(heights) - 10)
    assert np.allclose(volume.ras_of_ijk((0, 0, len(heights) - 1)), (18.2, 22.0, heights[-1]))


@pytest.mark.parametrize("lean", [TILT, 0.0])
def test_an_roi_marks_the_slices_where_they_lie(host, scene, tmp_path, monkeypatch, lean):
    from CycleINRSlicerLib.preview import regionOf
    from CycleINRSlicerLib.volume_node import volumeFromNode

    positions = [(-18.2, -22.0 + lean * (z - 31), z) for z in [10, 13, *range(19, 56, 3)]]
    scan = dicomNode(blobSeries(tmp_path / "series", positions), monkeypatch)
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetCenter(*CENTRE_RAS)
    roi.SetSize(9.1, 8.1, 13)
    region, volume = regionOf(scan, roi)[0], volumeFromNode(scan)
    k, j, i = np.indices(volume.shape_kji)
    places = volume.ras_of_ijk(np.stack([i, j, k], axis=-1))
    inside = np.argwhere((np.abs(places - CENTRE_RAS) < (4.55, 4.05, 6.5)).all(axis=-1))
    for n, letter in enumerate("kji"):
        assert getattr(region, letter) == (inside[:, n].min(), inside[:, n].max() + 1)


def test_a_slice_that_is_missing_moves_nothing(host, engine, scene, tmp_path, monkeypatch):
    from cycleinr.checks.added_detail import added_detail
    from CycleINRSlicerLib.volume_node import volumeFromNode

    heights = [*range(10, 44, 3), *range(49, 56, 3)]
    scan = dicomNode(blobSeries(tmp_path / "series", [(-18.2, -22.0, z) for z in heights]), monkeypatch)
    logic = host.load_module(MODULE_FILE, enter=False).python_module.CycleINRSlicerLogic()
    node = logic.process(scan, ratio=2)
    result = volumeFromNode(node)
    assert "Nothing was acquired at slices 24 to 26" in node.GetDescription()
    assert np.allclose(result.spacing_ijk_mm, (0.9, 0.8, 1.5))
    difference, steps = added_detail(volumeFromNode(scan), result)
    assert list(steps)[-1] == 1
    # On an acquired slice the B-spline is that slice
    acquired = np.round((np.array(heights) - 10) / 1.5).astype(int)
    assert np.array_equal(difference[acquired], result.array[acquired] - volumeFromNode(scan).array)
    assert np.allclose(centreOf(result), CENTRE_RAS, atol=0.05)


def test_more_missing_slices_are_computed_when_the_box_is_checked(host, ui, parameters, scene, tmp_path, monkeypatch):
    heights = [*range(10, 23, 3), *range(31, 56, 3)]
    series = blobSeries(tmp_path / "series", [(-18.2, -22.0, z) for z in heights])
    parameters.inputVolume = dicomNode(series, monkeypatch)
    host.process_events(until=lambda: "2 slices are missing" in ui.problemLabel.text, timeout_s=LIMIT_S)
    ui.fillGapsBox.checked = True
    ready(host, ui)
    assert parameters.fillGaps and "can only show what the slices around suggest" in ui.warningLabel.text


def test_without_its_files_a_tilted_series_is_told_to_be_hardened(host, ui, parameters, tilted, monkeypatch):
    import slicer

    monkeypatch.setattr(slicer.dicomDatabase, "fileForInstance", lambda _uid: "")
    parameters.inputVolume = tilted
    host.process_events(until=lambda: "acquisition transform" in ui.problemLabel.text, timeout_s=LIMIT_S)
    for word in ("no longer in Slicer's DICOM database", "Import the series again", "Harden transform"):
        assert word in ui.problemLabel.text
    assert not ui.applyButton.enabled


def test_another_transform_than_the_acquisitions_is_no_geometry(host, tilted, tilt):
    from CycleINRSlicerLib.volume_node import NodeError, volumeFromNode

    tilted.SetAndObserveTransformNodeID(tilt.GetID())
    with pytest.raises(NodeError, match="elsewhere than the headers.*Harden transform"):
        volumeFromNode(tilted)
