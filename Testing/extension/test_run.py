"""A run of the real engine process on real voxels: what comes back, and that nothing stays when it does not."""

import os
import signal

import numpy as np
import pytest
from slicer_scans import LIMIT_S, affineOf, filesIn, isAlive, startRun, thickNode, volumeNodes


@pytest.fixture
def scan(scene):
    return thickNode(every=4)


def test_result_arrives_with_progress_and_nothing_else(host, engine, scan):
    import slicer

    before = slicer.util.arrayFromVolume(scan).copy()
    changes = []
    run = startRun(engine, scan, changes=changes)
    host.process_events(until=lambda: run.isFinished, timeout_s=LIMIT_S)
    assert run.error is None and run.state.value == "done"
    fine = slicer.util.arrayFromVolume(run.outputNode)
    assert fine.shape[0] == 2 * len(before) - 1 and fine.dtype == before.dtype
    assert np.array_equal(slicer.util.arrayFromVolume(scan), before)
    fractions = [fraction for _state, _phase, fraction in changes]
    assert fractions == sorted(fractions) and fractions[-1] == 1 and len({f for f in fractions if 0.1 < f < 0.9}) > 2
    assert [state for state in dict.fromkeys(state for state, *_ in changes)] == [
        "preparing", "running", "importing", "done",
    ]  # fmt: skip
    assert volumeNodes() == [scan, run.outputNode]
    assert filesIn(engine.folder.path) == []


def test_new_node_is_the_command_lines_result(host, engine, scan, tmp_path):
    """Geometry and voxels equal those of the command line on the same scan, saved from the scene."""
    import subprocess
    import sys

    import slicer
    from cycleinr.files import read_volume

    assert slicer.util.saveNode(scan, str(tmp_path / "scan.nrrd"))
    command = [sys.executable, "-m", "cycleinr", "upsample", "scan.nrrd", "fine.nrrd", "--spacing", "1.3"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    expected = read_volume(tmp_path / "fine.nrrd")
    run = startRun(engine, scan, spacing=1.3)
    host.process_events(until=lambda: run.isFinished, timeout_s=LIMIT_S)
    assert np.array_equal(slicer.util.arrayFromVolume(run.outputNode), expected.array)
    assert np.allclose(affineOf(run.outputNode), expected.ijk_to_ras, atol=1e-6)


def test_result_looks_like_the_input(engine, scan):
    import slicer

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    scan.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(scan), study)
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    scan.SetVoxelValueUnits(units)
    scan.CreateDefaultDisplayNodes()
    display = scan.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(1234, -321)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRed")
    run = startRun(engine, scan, ratio=1.5)
    run.wait()
    node, shown = run.outputNode, run.outputNode.GetDisplayNode()
    assert node.GetName() == "scan 2.13 mm (CycleINR)"
    assert (shown.GetWindow(), shown.GetLevel(), shown.GetAutoWindowLevel()) == (1234, -321, 0)
    assert shown.GetColorNodeID() == display.GetColorNodeID() and shown is not display
    assert node.GetTransformNodeID() == transform.GetID()
    assert node.GetVoxelValueUnits().GetCodeValue() == "[hnsf'U]"
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert "not acquired" in node.GetDescription() and "Not for primary diagnosis" in node.GetDescription()
    assert node.GetAttribute("CycleINR.model").startswith("ct")
    assert len(node.GetAttribute("CycleINR.weights_sha256")) == 64


@pytest.mark.parametrize("axis", ["i", "j", "k"])
def test_oblique_volume_along_each_axis(engine, scene, oblique_affine, axis):
    """In-plane voxels stay where they were, to a thousandth of a millimetre, and slices get closer."""
    import slicer

    order = {"k": (0, 1, 2), "j": (1, 0, 2), "i": (1, 2, 0)}[axis]
    column = {"i": 0, "j": 1, "k": 2}[axis]
    array = np.ascontiguousarray(slicer.util.arrayFromVolume(thickNode(every=8))[:6, :24, :32].transpose(order))
    node = slicer.util.addVolumeFromArray(array, oblique_affine, "oblique")
    run = startRun(engine, node, ratio=2, axis=axis)
    run.wait()
    affine = affineOf(run.outputNode)
    expected = oblique_affine.copy()
    expected[:3, column] /= 2
    assert np.allclose(affine, expected, atol=1e-3)
    shape = slicer.util.arrayFromVolume(run.outputNode).shape
    assert shape[2 - column] == 2 * array.shape[2 - column] - 1


def test_a_chosen_output_is_filled_and_keeps_its_name(engine, scan):
    import slicer

    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    run = startRun(engine, scan, outputNode=chosen)
    run.wait()
    assert run.outputNode is chosen and chosen.GetName() == "mine" and chosen.GetImageData() is not None


def test_the_input_cannot_be_the_output(coldEngine, scan):
    from CycleINRSlicerLib.volume_node import NodeError

    with pytest.raises(NodeError, match="may not replace the input"):
        startRun(coldEngine, scan, outputNode=scan).wait()
    assert not coldEngine.isRunning


def test_difference_to_bspline_comes_with_the_result(engine, scan):
    import slicer

    run = startRun(engine, scan, makeDifference=True)
    run.wait()
    difference = slicer.util.arrayFromVolume(run.difference.node)
    assert difference.shape == slicer.util.arrayFromVolume(run.outputNode).shape and difference.any()


@pytest.mark.parametrize("moment", ["at once", "preparing", "running", "computing", "importing"])
def test_cancel(host, engine, scan, small_steps, moment):
    """Whenever it comes, the run ends, the scene and the folder are as before, and the next run works."""
    reached = {
        "at once": lambda run: True,
        "preparing": lambda run: run.fraction > 0,
        "running": lambda run: run.state.value == "running",
        "computing": lambda run: run.phase == "Computing slices",
        "importing": lambda run: run.state.value == "importing",
    }[moment]
    run = startRun(engine, scan)
    host.process_events(until=lambda: reached(run), timeout_s=LIMIT_S)
    run.cancel()
    host.process_events(until=lambda: run.isFinished, timeout_s=5)
    assert run.state.value == "cancelled" and "Cancelled" in str(run.error)
    assert volumeNodes() == [scan]
    assert engine.folder.path is None or filesIn(engine.folder.path) == []
    again = startRun(engine, scan)
    host.process_events(until=lambda: again.isFinished, timeout_s=LIMIT_S)
    assert again.state.value == "done"


def test_a_process_that_does_not_listen_is_killed(host, engine, scan):
    run = startRun(engine, scan)
    host.process_events(until=lambda: run.phase == "Computing slices", timeout_s=LIMIT_S)
    pid, folder = engine.workerPid, engine.folder.path
    os.kill(pid, signal.SIGSTOP)
    run.cancel()
    host.process_events(until=lambda: run.isFinished, timeout_s=5)
    assert run.state.value == "cancelled" and not isAlive(pid) and not folder.exists()


def test_a_killed_process_is_a_clear_failure(host, engine, scan):
    from CycleINRSlicerLib.engine import EngineProcessError

    run = startRun(engine, scan)
    host.process_events(until=lambda: run.phase == "Computing slices", timeout_s=LIMIT_S)
    folder = engine.folder.path
    os.kill(engine.workerPid, signal.SIGKILL)
    host.process_events(until=lambda: run.isFinished, timeout_s=5)
    assert run.state.value == "failed" and isinstance(run.error, EngineProcessError)
    assert "memory ran out" in str(run.error) and "CycleINR-engine.log" in str(run.error)
    assert volumeNodes() == [scan] and not folder.exists()
    again = startRun(engine, scan)
    again.wait()
    assert again.outputNode is not None


def test_a_crash_during_start_shows_its_last_words(host, coldEngine, scan, monkeypatch, tmp_path):
    """A Python that cannot run the engine: the reason reaches the reader, not just an exit code."""
    from CycleINRSlicerLib import engine

    broken = tmp_path / "PythonSlicer"
    broken.write_text("#!/bin/sh\necho 'ImportError: DLL load failed' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(engine, "pythonExecutable", lambda: str(broken))
    run = startRun(coldEngine, scan)
    host.process_events(until=lambda: run.isFinished, timeout_s=20)
    assert "exit code 1" in str(run.error) and "DLL load failed" in str(run.error)
    assert volumeNodes() == [scan]


def test_a_missing_python_is_a_clear_failure(host, coldEngine, scan, monkeypatch):
    from CycleINRSlicerLib import engine

    monkeypatch.setattr(engine, "pythonExecutable", lambda: "/nowhere/PythonSlicer")
    run = startRun(coldEngine, scan)
    host.process_events(until=lambda: run.isFinished, timeout_s=20)
    assert run.state.value == "failed" and "could not be started" in str(run.error)


@pytest.mark.parametrize("moment", ["preparing", "running", "importing"])
def test_closing_the_scene_ends_the_run(host, engine, scan, small_steps, moment):
    import slicer

    run = startRun(engine, scan)
    host.process_events(until=lambda: run.state.value == moment, timeout_s=LIMIT_S)
    slicer.mrmlScene.Clear(0)
    host.process_events(until=lambda: run.isFinished, timeout_s=5)
    assert run.state.value == "cancelled" and "scene was closed" in str(run.error)
    assert volumeNodes() == []
    assert engine.folder.path is None or filesIn(engine.folder.path) == []


def test_removing_the_input_ends_the_run(host, engine, scan):
    import slicer

    run = startRun(engine, scan)
    host.process_events(until=lambda: run.state.value == "running", timeout_s=LIMIT_S)
    slicer.mrmlScene.RemoveNode(scan)
    host.process_events(until=lambda: run.isFinished, timeout_s=5)
    assert run.state.value == "cancelled" and "input volume was removed" in str(run.error) and volumeNodes() == []


def test_changing_the_input_does_not_change_the_result(host, engine, scan):
    """The result is that of the voxels at the time of Apply."""
    import slicer

    first = startRun(engine, scan)
    host.process_events(until=lambda: first.isFinished, timeout_s=LIMIT_S)
    second = startRun(engine, scan)
    host.process_events(until=lambda: second.state.value == "running", timeout_s=LIMIT_S)
    slicer.util.updateVolumeFromArray(scan, np.zeros_like(slicer.util.arrayFromVolume(scan)))
    host.process_events(until=lambda: second.isFinished, timeout_s=LIMIT_S)
    results = [slicer.util.arrayFromVolume(run.outputNode) for run in (first, second)]
    assert np.array_equal(*results)


def test_the_process_ends_with_the_application(host, engine, scan):
    """Closing the pipe is all that a crashed application does: process and folder go by themselves."""
    import slicer

    run = startRun(engine, scan)
    host.process_events(until=lambda: run.phase == "Computing slices", timeout_s=LIMIT_S)
    pid, folder = engine.workerPid, engine.folder.path
    slicer.app.aboutToQuit.emit()
    assert not isAlive(pid) and not folder.exists()


def test_full_disk_is_a_clear_failure(host, engine, scan, monkeypatch):
    import errno

    from cycleinr import OutputError
    from cycleinr.worker import folder

    def fail(_array):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder, "chunks", fail)
    run = startRun(engine, scan)
    host.process_events(until=lambda: run.isFinished, timeout_s=5)
    assert (
        isinstance(run.error, OutputError) and "No space left" in str(run.error) and filesIn(engine.folder.path) == []
    )


def test_two_runs_take_turns(host, engine, scan):
    first, second = startRun(engine, scan, ratio=1.5), startRun(engine, scan, ratio=2)
    host.process_events(until=lambda: first.isFinished and second.isFinished, timeout_s=LIMIT_S)
    assert [run.state.value for run in (first, second)] == ["done", "done"]
    assert volumeNodes() == [scan, first.outputNode, second.outputNode]
