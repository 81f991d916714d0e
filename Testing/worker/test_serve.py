"""The worker's protocol, spoken to a real process, and fuzzed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cycleinr.grid import Target
from cycleinr.request import UpsampleOptions
from cycleinr.worker.protocol import (
    CheckRequest,
    ExportRequest,
    UpsampleRequest,
    VolumeMessage,
    format_line,
    write_sources,
)
from places import REPOSITORY

AFFINE = np.diag([0.7, 0.7, 4.0, 1.0]).tolist()
REQUEST = UpsampleRequest(
    VolumeMessage("in.npy", AFFINE, "CT", 4.0), UpsampleOptions(Target(ratio=2.0), device="cpu"), "out.npy"
)


class Process:
    """A worker and what it says."""

    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cycleinr", "worker"],
            cwd=REPOSITORY / "CycleINRSlicer",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.say({"folder": str(folder)})
        self.ready = self.hear()

    def say(self, message):
        self.process.stdin.write(message if isinstance(message, bytes) else format_line(message))
        self.process.stdin.flush()

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def hear_until(self, *events):
        while (event := self.hear())["event"] not in events:
            assert event["event"] == "progress"
        return event

    def leave(self):
        self.process.stdin.close()
        return self.process.wait(timeout=10)


@pytest.fixture
def worker(tmp_path):
    folder = tmp_path / "cycleinr-test"
    folder.mkdir()
    array = np.random.default_rng(1).integers(-1000, 1000, (6, 24, 32)).astype(np.int16)
    np.save(folder / "in.npy", array)
    running = Process(folder)
    yield running
    running.process.kill()
    running.process.wait()


def test_a_request_ends_with_a_result_in_the_folder(worker):
    assert worker.ready["event"] == "ready" and worker.ready["pid"] == worker.process.pid
    worker.say(REQUEST.to_message(7))
    done = worker.hear_until("done")
    result = np.load(worker.folder / "out.npy")
    assert done["id"] == 7 and result.shape == (11, 24, 32) == tuple(done["shape_kji"]) and result.dtype == np.int16
    assert done["ijk_to_ras"][2][2] == 2.0 and "not acquired" in done["provenance"]["derived"]


BAD_LINES = [
    b"not json\n",
    b"[1, 2]\n",
    b'{"do": "fly", "id": 1}\n',
    b'{"do": ["upsample"], "id": 1}\n',
    b'{"do": "upsample", "id": 1}\n',
    b'{"id": NaN, "do": "upsample"}\n',
    b"\xff\xfe\n",
    b"[" * 100_000 + b"\n",
    b"x" * 1_000_001 + b"\n",
    format_line({**REQUEST.to_message(7), "output": "../out.npy"}),
    format_line({**REQUEST.to_message(7), "options": {}}),
]


def test_a_long_line_is_answered_once_and_takes_no_memory_of_its_length(worker):
    """300 MB without a line break, of which the worker never holds more than the allowed length."""
    piece = b"x" * 1_000_000
    for _ in range(300):
        worker.process.stdin.write(piece)
    worker.say(b"\n")
    assert "is too long" in worker.hear()["message"]

    worker.say(b'{"do": "fly", "id": 1}\n')
    assert worker.hear()["id"] == 1
    if sys.platform.startswith("linux"):
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
        peak_mb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
        assert peak_mb < 250


@pytest.mark.skipif(os.name == "nt", reason="needs links and pipes")
def test_no_link_leads_a_result_out_of_the_folder(worker, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    (worker.folder / "out.npy").symlink_to(mine)
    worker.say(REQUEST.to_message(7))
    assert worker.hear_until("failed", "done")["kind"] == "OutputError"
    assert mine.read_text() == "precious"


@pytest.mark.skipif(os.name == "nt", reason="needs links and pipes")
def test_a_pipe_a_link_and_a_folder_are_no_volumes_and_nobody_waits_for_them(worker, tmp_path):
    np.save(tmp_path / "elsewhere.npy", np.zeros((4, 4, 4)))
    (worker.folder / "link.npy").symlink_to(tmp_path / "elsewhere.npy")
    os.mkfifo(worker.folder / "pipe.npy")
    (worker.folder / "folder.npy").mkdir()
    for name in ("link.npy", "pipe.npy", "folder.npy"):
        wanted = replace(REQUEST, input=replace(REQUEST.input, file=name))
        worker.say(wanted.to_message(3))
        failed = worker.hear_until("failed", "done")
        assert failed["kind"] == "InputError" and "no plain file" in failed["message"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs files with holes")
def test_an_array_of_terabytes_that_is_a_hole_is_refused_before_anybody_looks_at_it(worker):
    shape = (2_000_000, 1000, 1000)
    with open(worker.folder / "in.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + 2 * int(np.prod(shape)))
    worker.say(REQUEST.to_message(3))
    failed = worker.hear_until("failed", "done")
    assert failed["kind"] == "OutOfMemoryError" and "4000.0 GB" in failed["message"]


def test_bad_messages_are_answered_and_the_worker_goes_on(worker):
    for line in BAD_LINES:
        worker.say(line)
        answer = worker.hear()
        assert answer["event"] == "failed" and answer["kind"] == "ProtocolError" and len(answer["message"]) < 500, line
    worker.say(REQUEST.to_message(7))
    assert worker.hear_until("done", "failed")["event"] == "done"
    assert sorted(path.name for path in worker.folder.iterdir()) == ["in.npy", "out.npy"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [(None, "InputError"), (b"", "InputError"), (b"\x93NUMPY\x01\x00garbage", "InputError")],
)
def test_a_damaged_volume_is_an_input_error(worker, content, kind):
    path = worker.folder / "in.npy"
    path.unlink() if content is None else path.write_bytes(content)
    worker.say(REQUEST.to_message(7))
    answer = worker.hear_until("failed")
    assert answer["kind"] == kind and "in.npy" in answer["message"]


def test_pickled_volumes_are_refused(worker):
    np.save(worker.folder / "in.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    worker.say(REQUEST.to_message(7))
    assert worker.hear_until("failed")["kind"] == "InputError"


def test_a_check_whose_numbers_are_not_finite_fails_and_the_worker_goes_on(worker):
    np.save(worker.folder / "in.npy", np.load(worker.folder / "in.npy").astype(np.float32) * np.float32(1e30))
    thin = replace(REQUEST, input=replace(REQUEST.input, modality="MR"))
    worker.say(thin.to_message(1))
    made = VolumeMessage("out.npy", worker.hear_until("done")["ijk_to_ras"])
    worker.say(CheckRequest(thin.input, made, thin.options, "error.npy").to_message(2))
    failed = worker.hear_until("failed")
    assert (failed["id"], failed["kind"]) == (2, "NonFiniteError") and "not finite" in failed["message"]
    worker.say(thin.to_message(3))
    assert worker.hear_until("done")["id"] == 3


def test_errors_of_the_engine_keep_their_kind(worker):
    worker.say({**REQUEST.to_message(7), "options": {**REQUEST.to_message(7)["options"], "device": "cuda:9"}})
    answer = worker.hear_until("failed")
    assert answer["kind"] == "DeviceError" and "cuda:9" in answer["message"]


def test_cancel_is_heard_during_the_computation(worker):
    np.save(worker.folder / "in.npy", np.random.default_rng(1).integers(0, 1000, (40, 256, 256)).astype(np.int16))
    worker.say(REQUEST.to_message(7))
    while worker.hear()["phase"] != "Computing slices":
        pass
    worker.say({"do": "cancel", "id": 7})
    assert worker.hear_until("cancelled", "done") == {"event": "cancelled", "id": 7}
    assert not (worker.folder / "out.npy").exists()


def test_a_cancelled_request_in_the_queue_does_not_start(worker):
    worker.say({**REQUEST.to_message(7), "id": 1})
    worker.say({**REQUEST.to_message(7), "id": 2})
    worker.say({"do": "cancel", "id": 2})
    assert worker.hear_until("done")["id"] == 1
    assert worker.hear_until("done", "cancelled") == {"event": "cancelled", "id": 2}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into Linux's /proc")
@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_no_file_is_mapped_any_more_once_the_end_is_told(worker, end):
    """Windows lets nobody delete a mapped file, and whoever hears of the end deletes it."""
    np.save(worker.folder / "in.npy", np.random.default_rng(1).integers(0, 1000, (40, 256, 256)).astype(np.int16))
    message = REQUEST.to_message(7)
    if end == "failed":
        message["options"]["memory_limit_gb"] = 1e-6
    worker.say(message)
    if end == "cancelled":
        while worker.hear()["phase"] != "Computing slices":
            pass
        worker.say({"do": "cancel", "id": 7})
    assert worker.hear_until("cancelled", "failed")["event"] == end
    assert "in.npy" not in Path(f"/proc/{worker.process.pid}/maps").read_text()


def test_a_disk_that_is_full_is_an_output_error_and_no_broken_installation(worker):
    (worker.folder / "out.npy").mkdir()
    worker.say(REQUEST.to_message(7))
    assert worker.hear_until("failed")["kind"] == "OutputError"


def test_a_package_that_is_missing_is_named(worker, tmp_path, monkeypatch):
    (tmp_path / "pydicom.py").write_text("raise ImportError('DLL load failed')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    broken = Process(worker.folder)
    write_sources(worker.folder / "sources.json", [])
    broken.say(ExportRequest(REQUEST.input, "sources.json", str(tmp_path / "new"), {}).to_message(1))
    answer = broken.hear_until("failed")
    assert answer["kind"] == "PackageError" and answer["message"].endswith("cannot be loaded: DLL load failed")
    assert broken.leave() == 0


@pytest.mark.parametrize("line", [b"\n", b'{"folder": "/nowhere/J\\u00f6rg"}\n', b'{"id": 1, "do": "prepare"}\n'])
def test_without_a_folder_it_says_so_in_utf_8_and_ends(line, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")  # what a pipe has on Windows
    command = [sys.executable, "-m", "cycleinr", "worker"]
    ended = subprocess.run(
        command, cwd=REPOSITORY / "CycleINRSlicer", input=line, capture_output=True, check=False, timeout=60
    )
    assert ended.returncode == 2 and b"folder" in ended.stderr and ended.stdout == b""
    assert ("Jörg" in ended.stderr.decode()) == (b"nowhere" in line)


def test_it_ends_with_its_input_and_takes_its_folder_along(worker):
    worker.say(REQUEST.to_message(7))
    assert worker.leave() == 0 and not worker.folder.exists()


def test_no_folder_but_its_own_is_removed(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "kept.txt").write_text("mine")
    assert Process(folder).leave() == 0 and (folder / "kept.txt").exists()


def test_prepare_says_which_devices_there_are(worker):
    worker.say({"id": 1, "do": "prepare"})
    answer = worker.hear()
    assert answer["event"] == "done" and answer["devices"][-1]["name"] == "cpu" and answer["reason"]
