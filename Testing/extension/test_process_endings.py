"""The real engine's process: every way a run ends, on Linux and under Windows' rules, and what is left of it.

Each moment ends in a panel that can be used, a clear sentence, no stray node, and no file.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from panel_steps import finished, ready
from slicer_host.application import launcher
from slicer_scans import LIMIT_S, MODULE_FILE, isAlive, startRun, thickNode, volumeNodes

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Windows' rules are read from Linux's /proc"
)


@pytest.fixture(params=["linux", "windows"])
def rules(request, host, tmp_path):
    """The application under the rules of either system, with a temporary folder of its own."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(host.temporary_path(tmp_path / "temporary"))
        if request.param == "windows":
            stack.enter_context(host.windows_rules())
        yield request.param


@pytest.fixture
def panel(host, coldEngine, rules):
    """The panel with a scan, in an application whose engine has not started yet."""
    loaded = host.load_module(MODULE_FILE, enter=False)
    loaded.widget.logic.getParameterNode().inputVolume = thickNode(every=4)
    host.enter_module("CycleINRSlicer")
    show()
    ready(host, loaded.widget.ui)
    return loaded.widget


def show():
    import slicer

    slicer.util.mainWindow().show()


def computing(host, ui):
    ui.applyButton.click()
    host.process_events(until=lambda: ui.statusLabel.text.startswith("Computing"), timeout_s=LIMIT_S)


def copiesLeft():
    """Voxels anywhere below the temporary folder."""
    import slicer

    return sorted(path.name for path in Path(slicer.app.temporaryPath).rglob("*") if path.suffix in (".npy", ".json"))


def foldersLeft():
    import slicer

    return sorted(path.name for path in Path(slicer.app.temporaryPath).glob("cycleinr-*"))


# On Linux, test_run and test_panel see to the same
@pytest.mark.parametrize("rules", ["windows"], indirect=True)
def test_cancel_kill_and_close_leave_nothing_and_the_panel_works(host, panel, engine):
    """One process after the other on one scan: cancelled while it maps the scan, killed, deaf, and the scene closed."""
    import slicer

    ui, (scan,) = panel.ui, volumeNodes()
    ui.spacingSpinBox.value = 0.1  # enough work for the fastest computer
    ready(host, ui)
    computing(host, ui)
    host.process_events(until=lambda: ui.applyButton.enabled, timeout_s=LIMIT_S)
    ui.applyButton.click()
    finished(host, ui)
    assert ui.statusLabel.text == "Cancelled. The scene is as it was." and ui.applyButton.enabled
    assert copiesLeft() == [] and volumeNodes() == [scan]

    computing(host, ui)
    os.kill(engine.workerPid, signal.SIGKILL)
    finished(host, ui)
    assert "memory ran out" in ui.problemLabel.text and ui.applyButton.enabled
    assert foldersLeft() == [] and volumeNodes() == [scan]

    computing(host, ui)
    pid = engine.workerPid
    os.kill(pid, signal.SIGSTOP)
    host.process_events(until=lambda: ui.applyButton.enabled, timeout_s=LIMIT_S)
    ui.applyButton.click()
    finished(host, ui)
    assert "Cancelled" in ui.statusLabel.text and not isAlive(pid) and foldersLeft() == [] and volumeNodes() == [scan]

    computing(host, ui)
    slicer.mrmlScene.Clear(0)
    finished(host, ui)
    assert copiesLeft() == [] and volumeNodes() == [] and not ui.applyButton.enabled
    panel.logic.getParameterNode().inputVolume = thickNode(every=8)
    ready(host, ui)


@pytest.mark.parametrize("rules", ["windows"], indirect=True)
def test_quitting_during_a_run_leaves_nothing(host, panel, engine):
    import slicer

    computing(host, panel.ui)
    pid = engine.workerPid
    slicer.app.aboutToQuit.emit()
    assert not isAlive(pid) and foldersLeft() == [] and len(volumeNodes()) == 1


@pytest.mark.parametrize("rules", ["windows"], indirect=True)
def test_an_engine_that_cannot_start_is_a_sentence_each_time(host, coldEngine, rules, monkeypatch):
    """Windows says so inside ``QProcess.start``: opening the panel and Apply, twice, fail in words."""
    from CycleINRSlicerLib import engine

    monkeypatch.setattr(engine, "pythonExecutable", lambda: "/nowhere/PythonSlicer.exe")
    loaded = host.load_module(MODULE_FILE, enter=False)
    scan = thickNode(every=8)
    loaded.widget.logic.getParameterNode().inputVolume = scan
    host.enter_module("CycleINRSlicer")
    show()
    ui = loaded.widget.ui
    for _attempt in range(2):
        ready(host, ui)
        ui.applyButton.click()
        finished(host, ui)
        assert "could not be started" in ui.problemLabel.text and ui.applyButton.enabled
    assert foldersLeft() == [] and volumeNodes() == [scan]


def test_killed_before_it_was_ready_leaves_no_folder(host, coldEngine, rules):
    """Nobody knows the interpreter's id yet, and it may map the scan already."""
    scan = thickNode(every=8)
    run = startRun(coldEngine, scan)
    host.process_events(until=lambda: run.state.value == "running", timeout_s=LIMIT_S)
    coldEngine.stop()
    assert run.state.value == "failed" and "stopped" in str(run.error) and volumeNodes() == [scan]
    host.process_events(until=lambda: coldEngine.stop() or foldersLeft() == [], timeout_s=LIMIT_S)


def test_ending_a_process_that_has_just_ended_is_no_error(host, coldEngine, rules):
    coldEngine.start()
    host.process_events(until=lambda: coldEngine.workerPid is not None, timeout_s=LIMIT_S)
    pid = coldEngine.workerPid
    end = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    # Not through the event loop, which would tell of the end before stop() can meet it
    assert select.select([end], [], [], LIMIT_S)[0]
    while Path(f"/proc/{pid}").exists():
        os.sched_yield()
    os.close(end)
    coldEngine.stop()
    assert not coldEngine.isRunning and foldersLeft() == []


@pytest.mark.parametrize("rules", ["windows"], indirect=True)
def test_copies_that_are_still_in_use_go_with_the_next_chance(host, coldEngine, rules):
    """A virus scanner holds a fresh file for a moment: the run ends all the same, and the copy does not stay."""
    run = startRun(coldEngine, thickNode(every=8))
    host.process_events(until=lambda: run.state.value == "running", timeout_s=LIMIT_S)
    (copy,) = coldEngine.folder.path.glob("*_input.npy")
    with copy.open("rb"):
        run.cancel()
        host.process_events(until=lambda: run.isFinished, timeout_s=LIMIT_S)
        coldEngine.stop()
        assert run.state.value == "cancelled" and copy.exists()
    coldEngine.start()
    assert not copy.parent.exists()
    coldEngine.stop()
    assert foldersLeft() == []


@pytest.mark.parametrize("rules", ["linux"], indirect=True)
def test_folders_of_a_crashed_slicer_go_and_those_of_others_stay(host, coldEngine, rules):
    import slicer

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    temporary = Path(slicer.app.temporaryPath)
    names = {"dead": f"cycleinr-{gone.pid}-abc", "alive": f"cycleinr-{os.getppid()}-abc", "other": "cycleinr-notes"}
    for name in names.values():
        (temporary / name).mkdir()
        (temporary / name / "input_0.npy").write_bytes(b"voxels")
    coldEngine.start()
    kept = foldersLeft()
    coldEngine.stop()
    assert names["dead"] not in kept and names["alive"] in kept and names["other"] in kept


@pytest.mark.parametrize("rules", ["windows"], indirect=True)
def test_a_name_that_is_no_ascii_does_not_keep_the_engine_from_starting(host, coldEngine, rules, tmp_path):
    with host.with_launcher(launcher.WINDOWS_OF_5_10), host.temporary_path(tmp_path / "Jörg Müller ψ"):
        prepared = []
        coldEngine.prepare(lambda: prepared.append(coldEngine.devices))
        host.process_events(until=lambda: prepared or not coldEngine.isRunning, timeout_s=LIMIT_S)
        assert prepared, coldEngine.lastDeath
        assert "ö" in str(coldEngine.folder.path)
        coldEngine.stop()


@pytest.mark.parametrize("rules", ["linux"], indirect=True)
def test_a_build_of_slicer_has_its_python_elsewhere(host, coldEngine, rules):
    with host.as_build_tree():
        coldEngine.start()
        host.process_events(until=lambda: coldEngine.workerPid or not coldEngine.isRunning, timeout_s=LIMIT_S)
        assert coldEngine.workerPid, coldEngine.lastDeath
        coldEngine.stop()
