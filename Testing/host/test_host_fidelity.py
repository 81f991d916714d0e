"""Where Slicer, its launcher and Windows are less kind than Python and Linux, the host is so too."""

import gc
import mmap
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from slicer_host import process_events
from slicer_host.application import launcher

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc")


def test_a_single_shot_never_lets_its_callable_go(host):
    import qt

    def start():
        calls = []

        class Task:
            def turn(self):
                calls.append(self)

        task = Task()
        qt.QTimer.singleShot(0, task.turn)
        process_events(until=lambda: calls)
        return weakref.ref(task)

    alive = start()
    gc.collect()
    assert alive() is not None
    host.reset()
    gc.collect()
    assert alive() is None, "the next test starts as a fresh application does"


def run_launcher(code, *arguments):
    import slicer

    program = Path(slicer.app.slicerHome) / "bin" / "PythonSlicer"
    return subprocess.run([program, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_the_launcher_is_a_parent_that_hides_signals(host):
    killed = run_launcher("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.returncode == 1 and "exit abnormally" in killed.stderr
    ended = run_launcher("import sys; sys.exit(143)")
    assert ended.returncode == 143 and ended.stderr == ""
    parent = run_launcher("import os; print(os.getppid())")
    assert int(parent.stdout) != os.getpid()


def test_the_launcher_of_5_10_garbles_arguments_on_windows(host):
    code = "import sys; print(ascii(sys.argv[1]))"
    with host.with_launcher(launcher.WINDOWS_OF_5_10):
        assert run_launcher(code, "Jörg").stdout.strip() == "'J?rg'"
    assert run_launcher(code, "Jörg").stdout.strip() == "'J\\xf6rg'"


def test_a_build_tree_has_no_python_slicer_in_the_home_folder(host):
    import shutil

    import slicer

    with host.as_build_tree():
        assert not (Path(slicer.app.slicerHome) / "bin" / "PythonSlicer").exists()
        assert subprocess.check_output([shutil.which("PythonSlicer"), "-c", "print(1)"]).split() == [b"1"]


@needs_linux
@pytest.mark.parametrize("how", ["open", "mapped"])
def test_windows_neither_deletes_nor_renames_what_is_in_use(host, tmp_path, how):
    import shutil

    path = tmp_path / "scan.npy"
    path.write_bytes(b"0" * 5000)
    with host.windows_rules(tmp_path), path.open("r+b") as file:
        held = mmap.mmap(file.fileno(), 0) if how == "mapped" else file
        if how == "mapped":
            file.close()
        for change in (path.unlink, lambda: os.rename(path, tmp_path / "new"), lambda: shutil.rmtree(tmp_path)):
            with pytest.raises(PermissionError, match="in use"):
                change()
        held.close()
        path.unlink()
    assert not path.exists()


@needs_linux
def test_windows_rules_hold_between_processes(host, tmp_path):
    """Another process's map keeps a file, and a process that the application starts meets the same refusal."""
    path = tmp_path / "scan.npy"
    path.write_bytes(b"0" * 5000)
    with host.windows_rules(tmp_path):
        holding = f"f = open({str(path)!r}); print(1, flush=True); input()"
        process = subprocess.Popen([sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdout.readline()
        with pytest.raises(PermissionError):
            path.unlink()
        deleting = subprocess.run(
            [sys.executable, "-c", f"import os; os.remove({str(path)!r})"], capture_output=True, text=True, check=False
        )
        assert "PermissionError" in deleting.stderr
        process.communicate(b"\n")
        with pytest.raises(OSError, match="Access is denied"):
            os.kill(process.pid, 9)
        path.unlink()
    other = tmp_path / "other"
    with other.open("w"):
        other.unlink()  # Linux's own rules are back


@needs_linux
def test_a_program_that_windows_cannot_start_fails_inside_start(host):
    import qt

    process, errors = qt.QProcess(), []
    process.connect("errorOccurred(QProcess::ProcessError)", errors.append)
    with host.windows_rules():
        process.start("/no/such/program", [])
        assert errors == [qt.QProcess.FailedToStart]
