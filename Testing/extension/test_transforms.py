"""A scan under a transform: a linear one goes on to the result, any other has to be hardened first."""

import numpy as np
import pytest
from panel_steps import ready, results
from slicer_scans import LIMIT_S, MODULE_FILE, volumeNodes


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
