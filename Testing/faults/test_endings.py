"""Processes that are killed, told to end, or have lost whoever reads what they say."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import COMMAND, ENVIRONMENT, cycleinr
from cycleinr.files import read_volume
from dicom_maker import write_series
from faults.conftest import contents, said_clearly

INJECTION = Path(__file__).with_name("injection.py")
ENDED = {"SIGTERM": 143, "SIGHUP": 129, "SIGINT": 130, "SIGBREAK": 149}


def with_fault(fault: str, step: int, scan, out, *arguments) -> subprocess.CompletedProcess:
    """The command line, which meets a fault before its change number `step` in the output folder."""
    told = [fault, step, out, "upsample", scan, out / "fine.nii.gz", "--ratio", 2, "--device", "cpu", *arguments]
    return subprocess.run(
        [sys.executable, str(INJECTION), *map(str, told)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("step", "published"), [(2, False), (6, False), (7, True)])
def test_a_kill_while_writing_leaves_no_half_result_and_the_next_run_works(scan, out, step, published):
    """Steps: folder, description, second folder, result, which is made durable and named, as is the description."""
    before = contents(scan.parent)

    done = with_fault("killed", step, scan, out)

    assert done.returncode == -signal.SIGKILL
    assert contents(scan.parent) == before
    visible = [name for name in contents(out) if not name.startswith(".cycleinr-")]
    assert visible == (["fine.nii.gz"] if published else [])
    if published:
        assert read_volume(out / "fine.nii.gz").shape_kji[0] == 15
        again = cycleinr("upsample", scan, out / "fine.nii.gz", "--ratio", 2, "--overwrite", "--device", "cpu")
        assert again.returncode == 0 and (out / "fine.nii.gz.json").exists()


@pytest.mark.parametrize("step", [6, 7])
def test_a_request_to_end_between_the_names_of_result_and_description_waits_for_both(scan, out, step):
    """Steps as above: a result must not be there without its description, nor be denied."""
    done = with_fault("terminated", step, scan, out)

    assert done.returncode == ENDED["SIGTERM"]
    assert said_clearly(done, "complete", "fine.nii.gz") and "nothing" not in done.stderr
    assert sorted(contents(out)) == ["fine.nii.gz", "fine.nii.gz.json"]


def test_a_request_to_end_between_a_series_and_its_description_waits_for_both(tmp_path, out):
    code = (
        "import os, signal, sys; series, *sys.argv[1:] = sys.argv[1:];"
        "hook = lambda event, said: event == 'os.rename' and str(said[1]) == series and os.kill(os.getpid(), 15);"
        "sys.addaudithook(hook); from cycleinr.cli.app import run; sys.exit(run())"
    )
    arguments = [out / "fine", "upsample", write_series(tmp_path / "series"), out / "fine", "--ratio", 2]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments), "--device", "cpu"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == ENDED["SIGTERM"] and said_clearly(done, "complete"), done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["fine", "fine.json"]


@pytest.mark.parametrize("step", [2, 4])
def test_a_request_to_end_while_writing_leaves_nothing(scan, out, step):
    done = with_fault("terminated", step, scan, out)

    assert done.returncode == ENDED["SIGTERM"] and said_clearly(done, "nothing was written")
    assert contents(out) == {}


@pytest.mark.parametrize(
    ("name", "phase"),
    [("SIGBREAK", "Reading"), ("SIGBREAK", "Computing")]
    if sys.platform == "win32"
    else [("SIGTERM", "Reading"), ("SIGTERM", "Computing"), ("SIGHUP", "Computing"), ("SIGINT", "Preparing")],
)
def test_a_signal_in_any_phase_ends_the_run_cleanly(scan, out, name, phase):
    command = [*COMMAND, "upsample", scan, out / "fine.nii.gz", "--ratio", "6", "--json-progress", "--device", "cpu"]
    if sys.platform == "win32":
        sent, apart = signal.CTRL_BREAK_EVENT, {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    else:
        sent = getattr(signal, name)
        # Under nohup, or in the background, the tests have signals ignored, and programs inherit that.
        apart = {"start_new_session": True, "preexec_fn": lambda: signal.signal(sent, signal.SIG_DFL)}
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **apart
    )
    for line in process.stdout:
        if phase in line:
            process.send_signal(sent)
            break
    _, said = process.communicate(timeout=60)

    assert process.returncode == ENDED[name], said
    assert said.count("cycleinr: ") == 1 and "Traceback" not in said
    assert contents(out) == {}


def test_ctrl_c_while_packages_load_is_no_traceback(scan, out, tmp_path):
    (tmp_path / "typer.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    found = f"{ENVIRONMENT['PYTHONPATH']}:{tmp_path}"
    done = cycleinr("upsample", scan, out / "fine.nii.gz", "--ratio", 2, environment={"PYTHONPATH": found})

    assert done.returncode == ENDED["SIGINT"] and said_clearly(done, "nothing was written"), done.stderr


def test_a_hangup_that_is_to_be_ignored_is_ignored(scan, out):
    """As `nohup` starts programs."""
    code = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "from cycleinr.cli.app import end_on_signals; end_on_signals();"
        "os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout == "alive\n", done.stderr


def test_a_reader_that_goes_away_is_no_traceback(scan, out):
    """`cycleinr ... | head -1`: the pipe breaks while progress is printed."""
    command = [*COMMAND, "upsample", scan, out / "fine.nii.gz", "--ratio", "6", "--json-progress", "--device", "cpu"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()

    assert process.wait(timeout=60) == 141
    assert said == "" and contents(out) == {}


FULL = Path("/dev/full")


def with_full_disk(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) -> subprocess.CompletedProcess:
    """The command line with one or both of its streams, given as "full", on a full disk."""
    with open(FULL, "w") as full:
        streams = {"stdout": full if stdout == "full" else stdout, "stderr": full if stderr == "full" else stderr}
        return subprocess.run([*COMMAND, *map(str, arguments)], text=True, check=False, **streams)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, which Linux has")
class TestFullDiskUnderTheLog:
    @pytest.mark.parametrize(("arguments", "stderr"), [([], "full"), (["--json-progress"], subprocess.PIPE)])
    def test_a_result_is_made_all_the_same(self, scan, out, arguments, stderr):
        wanted = ["upsample", scan, out / "fine.nii.gz", "--ratio", 2, "--device", "cpu", *arguments]
        done = with_full_disk(*wanted, stdout="full", stderr=stderr)

        assert done.returncode == 0 and not done.stderr
        assert sorted(contents(out)) == ["fine.nii.gz", "fine.nii.gz.json"]

    def test_a_batch_runs_to_its_end(self, scan, out):
        done = with_full_disk("batch", scan, out, "--ratio", 2, "--device", "cpu", stdout="full", stderr="full")

        assert done.returncode == 0
        assert {"scan.nii.gz", "manifest.csv"} <= set(contents(out))

    @pytest.mark.parametrize(("name", "code"), [("none.nii.gz", 3), ("scan.nii.gz", 4)])
    def test_an_error_keeps_its_exit_code(self, scan, out, name, code):
        arguments = ["upsample", scan.with_name(name), out / "fine.nii.gz", "--ratio", 2, "--thickness", "thin"]
        done = with_full_disk(*(arguments if code == 4 else arguments[:-2]), stderr="full")

        assert done.returncode == code

    def test_wrong_arguments_keep_theirs(self):
        assert with_full_disk("upsample", "--none", stderr="full").returncode == 2

    def test_a_command_that_only_prints_says_that_it_could_not(self, scan):
        done = with_full_disk("info", scan, stdout="full")

        assert done.returncode == 5 and said_clearly(done, "free space")


def test_closed_streams_harm_no_file(scan, out):
    """`>&- 2>&-`: what is printed must not end up in the result."""
    script = 'exec "$@" >&- 2>&- <&-'
    command = [*COMMAND, "upsample", scan, out / "fine.nii.gz", "--ratio", "2", "--device", "cpu"]
    done = subprocess.run(["sh", "-c", script, "sh", *map(str, command)], capture_output=True, check=False)

    assert done.returncode == 0
    assert read_volume(out / "fine.nii.gz").shape_kji[0] == 15
    assert sorted(contents(out)) == ["fine.nii.gz", "fine.nii.gz.json"]
