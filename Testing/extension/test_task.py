"""Tasks and engine with a stand-in for the process: every way a task ends, and what it keeps alive afterwards."""

import gc

import numpy as np
import pytest
from fake_process import FakeProcess
from slicer_scans import filesIn, startRun, thickNode, volumeNodes

LIMIT_S = 10
MOMENTS = ["preparing", "running", "importing"]


@pytest.fixture
def scan(scene):
    return thickNode(every=4)


def finished(host, run):
    host.process_events(until=lambda: run.isFinished, timeout_s=LIMIT_S)


def reached(host, process, scan, moment, **options):
    """A run that has come to that state, in the middle of its copies where it copies."""
    process.answersAtOnce = moment == "importing"
    run = startRun(process.engine, scan, **options)
    host.process_events(until=lambda: run.state.value == moment, timeout_s=LIMIT_S)
    return run


def test_a_run_brings_its_result(host, process, scan):
    import slicer

    run = startRun(process.engine, scan)
    finished(host, run)
    assert run.state.value == "done" and run.error is None
    source = slicer.util.arrayFromVolume(scan)
    assert np.array_equal(slicer.util.arrayFromVolume(run.outputNode), np.repeat(source, 2, axis=0)[:-1])
    assert filesIn(process.folder) == []


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("ending", ["cancel", "close", "remove", "stop", "die"])
def test_every_ending_in_every_phase(host, process, scan, moment, ending, small_steps):
    """The state is final, the sentence clear, no node and no file stays, and the next run works."""
    import slicer

    run = reached(host, process, scan, moment)
    process.answersAtOnce = True
    {
        "cancel": run.cancel,
        "close": lambda: slicer.mrmlScene.Clear(0),
        "remove": lambda: slicer.mrmlScene.RemoveNode(scan),
        "stop": process.engine.stop,
        "die": lambda: process.die("It died."),
    }[ending]()
    finished(host, run)
    sentences = {
        "cancel": "Cancelled.",
        "close": "scene was closed",
        "remove": "input volume was removed",
        "stop": "stopped",
        "die": "It died.",
    }
    cancelled = ending in ("cancel", "close", "remove")
    if moment == "importing" and ending in ("stop", "die"):
        # The answer is there; what is left to do needs no process, only its file, which on Linux stays readable
        assert run.state.value in ("done", "failed")
    else:
        assert run.state.value == ("cancelled" if cancelled else "failed") and sentences[ending] in str(run.error)
        assert volumeNodes() == ([scan] if ending in ("cancel", "stop", "die") else [])
    folder = process.engine.folder.path
    assert folder is None or filesIn(folder) == []
    again = startRun(process.engine, thickNode(every=4))
    finished(host, again)
    assert again.state.value == "done"


def test_a_process_that_does_not_give_up_is_stopped(host, process, scan, small_steps):
    run = reached(host, process, scan, "running")
    process.heedsCancel = False
    run.cancel()
    assert not run.isFinished
    finished(host, run)
    assert run.state.value == "cancelled" and not process.engine.isRunning


@pytest.mark.parametrize("blocking", [False, True])
def test_a_process_that_cannot_start_is_a_clear_failure(host, process, scan, blocking):
    process.cannotStart = "blocked"
    run = startRun(process.engine, scan)
    if blocking:
        with pytest.raises(Exception, match="blocked"):
            run.wait()
    finished(host, run)
    assert run.state.value == "failed" and "blocked" in str(run.error)
    process.engine.prepare(lambda: pytest.fail("it is not prepared"))
    host.process_events(until=lambda: True)
    assert process.engine.devices is None


def test_a_process_that_dies_between_copy_and_request_is_a_clear_failure(host, process, scan, small_steps):
    """It is gone when the request is to be sent, and cannot be started again."""
    run = reached(host, process, scan, "preparing")
    process.cannotStart = "It cannot start again."
    process.die("It died.")
    finished(host, run)
    assert run.state.value == "failed" and "It died." in str(run.error)


def test_a_listener_that_fails_does_not_keep_a_run_from_ending(host, process, scan):
    class Failing(list):
        def append(self, _change):
            raise ValueError("the panel has a mistake")

    run = startRun(process.engine, scan, changes=Failing())
    finished(host, run)
    assert run.state.value == "done" and {type(error) for error in host.errors.take()} == {ValueError}


def test_a_mistake_in_a_step_ends_the_run(host, process, scan, monkeypatch):
    from CycleINRSlicerLib import jobs

    monkeypatch.setattr(jobs, "showResult", lambda *_arguments: {}["missing"])
    run = startRun(process.engine, scan)
    finished(host, run)
    assert run.state.value == "failed" and "KeyError" in str(run.error)
    assert [type(error) for error in host.errors.take()] == [KeyError] and filesIn(process.folder) == []


def test_no_memory_for_the_result_is_a_message(host, process, scan, monkeypatch):
    """NumPy raises where VTK would end in a C++ exception."""
    from cycleinr import OutOfMemoryError
    from CycleINRSlicerLib import result_node

    process.answersAtOnce = False
    run = startRun(process.engine, scan)
    host.process_events(until=lambda: run.state.value == "running", timeout_s=LIMIT_S)

    def refuse(*_arguments):
        raise MemoryError

    monkeypatch.setattr(result_node.np, "empty", refuse)
    process.finish()
    finished(host, run)
    assert isinstance(run.error, OutOfMemoryError) and "no memory left" in str(run.error)
    assert volumeNodes() == [scan] and filesIn(process.folder) == []


def test_voxels_of_a_result_live_as_long_as_its_image(host):
    import vtk
    from CycleINRSlicerLib.result_node import copyInto
    from vtk.util.numpy_support import vtk_to_numpy

    array = np.arange(4 * 300 * 400, dtype=np.int16).reshape(4, 300, 400)
    image = vtk.vtkImageData()
    assert list(copyInto(image, array))[-1] == 1.0
    gc.collect()
    copies = [np.full(array.size, 7, np.int16) for _ in range(20)]
    assert image.GetDimensions() == (400, 300, 4) and image.GetScalarType() == vtk.VTK_SHORT
    assert np.array_equal(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(array.shape), array) and copies


@pytest.mark.parametrize(
    ("kind", "errorName"),
    [
        ("InputError", "InputError"),
        ("OutOfMemoryError", "OutOfMemoryError"),
        ("PackageError", "PackageError"),
        ("UnexpectedError", "EngineProcessError"),
        ("unheard of", "EngineProcessError"),
    ],
)
def test_errors_of_the_engine_come_back_as_what_they_are(host, process, scan, kind, errorName, small_steps):
    run = reached(host, process, scan, "running")
    process.fail(kind, "why")
    finished(host, run)
    assert type(run.error).__name__ == errorName and "why" in str(run.error)


def test_a_line_that_the_process_could_not_read_ends_every_run(host, process, scan, small_steps):
    """Nobody knows whose line it was, and nobody may wait for ever."""
    from cycleinr import ProtocolError

    runs = [reached(host, process, scan, "running") for _ in range(2)]
    process.tell(ProtocolError("A message is no JSON."), None)
    assert [run.state.value for run in runs] == ["failed", "failed"] and "no JSON" in str(runs[1].error)


@pytest.mark.parametrize("line", [b"Warning: something", b"[1]", b'{"event": "flown", "id": 1}'])
def test_a_line_that_is_no_event_harms_nobody(host, process, scan, line, small_steps):
    run = reached(host, process, scan, "running")
    process.say(line)
    process.finish()
    finished(host, run)
    assert run.state.value == "done"


# -- what stays


def test_after_twenty_runs_and_a_closed_scene_no_volume_is_alive(host, process, scene):
    import vtk

    alive, runs = [], []

    def remember(node):
        for each in (node, node.GetImageData()):
            reference = vtk.vtkWeakReference()
            reference.Set(each)
            alive.append(reference)

    for number in range(20):
        scan = thickNode(every=8)
        remember(scan)
        run = startRun(process.engine, scan, makeDifference=number % 4 == 0)
        if number % 5 == 4:
            run.cancel()
        finished(host, run)
        if run.outputNode is not None:
            remember(run.outputNode)
        runs.append(run)  # as a script does that keeps its runs
    del scan, run
    scene.Clear(0)
    host.process_events(until=lambda: True)
    gc.collect()
    assert len(alive) == 72 and [each.Get() for each in alive if each.Get() is not None] == []
    assert {run.outputNode for run in runs} == {None}


def test_no_timer_stays(host, process, scan):
    import qt
    import slicer

    before = len(slicer.app.moduleManager().findChildren(qt.QTimer))
    for _ in range(3):
        run = startRun(process.engine, scan)
        finished(host, run)
    process.engine.stop()
    host.process_events(until=lambda: len(slicer.app.moduleManager().findChildren(qt.QTimer)) <= before)


def test_a_one_shot_calls_once_and_lets_go(host):
    import weakref

    from CycleINRSlicerLib.callbacks import OneShot

    calls = []

    def start():
        class Owner:
            def __init__(self):
                self.later = OneShot(0, self.call)

            def call(self):
                calls.append(1)

        owner = Owner()
        owner.later.start()
        owner.later.start()
        return weakref.ref(owner)

    reference = start()
    host.process_events(until=lambda: calls and gc.collect() is not None and reference() is None, timeout_s=5)
    assert calls == [1]
    stopped = OneShot(0, lambda: calls.append(2))
    stopped.start()
    stopped.stop()
    after = OneShot(1, lambda: calls.append(3))
    after.start()
    host.process_events(until=lambda: 3 in calls, timeout_s=5)
    assert calls == [1, 3]


# -- what is worked out once


def test_all_voxels_are_looked_at_once_for_the_same_scan(host, process, scan, monkeypatch):
    """A look takes long on the main thread; a change of voxels or geometry makes it anew, one of settings does not."""
    import slicer
    from cycleinr import Upsampler
    from CycleINRSlicerLib import forecast
    from CycleINRSlicerLib.volume_node import volumeFromNode

    def planned(node, ratio):
        return forecast.planOf(node, volumeFromNode(node), Upsampler(ratio=ratio).options)

    looks, inspect = [], forecast.inspect
    monkeypatch.setattr(forecast, "inspect", lambda *wanted: looks.append(1) or inspect(*wanted))
    planned(scan, 2)
    finished(host, startRun(process.engine, scan, ratio=2))
    planned(scan, 2)
    assert len(looks) == 1
    slicer.util.arrayFromVolume(scan)[3] += 7
    slicer.util.arrayFromVolumeModified(scan)
    planned(scan, 2)
    assert len(looks) == 2
    scan.SetSpacing(0.5, 0.5, 4)
    planned(scan, 2)
    planned(scan, 3)
    assert len(looks) == 3
    planned(thickNode(every=4), 3)
    assert len(looks) == 4


# -- what is held for the next run


def test_an_idle_engine_ends_and_comes_back(host, scan, monkeypatch):
    from CycleINRSlicerLib import engine as engineModule
    from CycleINRSlicerLib.engine import Engine

    monkeypatch.setattr(engineModule, "IDLE_MS", 30)
    process = FakeProcess()
    engine = Engine(lambda: process)
    prepared = []
    engine.prepare(lambda: prepared.append(engine.devices["auto"]))
    host.process_events(until=lambda: prepared, timeout_s=5)
    assert prepared == ["cpu"] and engine.isRunning
    host.process_events(until=lambda: not engine.isRunning, timeout_s=5)
    process.answersAtOnce = False
    run = startRun(engine, scan)
    host.process_events(until=lambda: run.state.value == "running", timeout_s=LIMIT_S)
    waited = []
    from CycleINRSlicerLib.callbacks import OneShot

    OneShot(100, lambda: waited.append(1)).start()
    host.process_events(until=lambda: waited, timeout_s=5)
    assert engine.isRunning, "a run that takes longer than that is not idle"
    process.finish()
    finished(host, run)
    assert run.state.value == "done" and process.starts == 2
    host.process_events(until=lambda: not engine.isRunning, timeout_s=5)
