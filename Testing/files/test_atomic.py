"""A write that fails, is interrupted or is killed leaves no output; a sidecar says what is known about a result."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from cycleinr import InputError, OutputError
from cycleinr.files import IMAGE_SUFFIXES, atomic, read_volume, write_volume
from cycleinr.files.atomic import remove_leftovers, sidecar
from cycleinr.volume import Volume
from places import REPOSITORY


@pytest.fixture
def volume(oblique_affine) -> Volume:
    return Volume(np.arange(120, dtype=np.int16).reshape(6, 5, 4), oblique_affine)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY / "CycleINRSlicer")}


def run_python(script: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment(), capture_output=True, text=True, timeout=120
    )


def only_files(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


class TestFailingWrites:
    @pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
    @pytest.mark.parametrize("existing", [False, True])
    def test_a_full_disk_leaves_what_was_there(self, tmp_path, suffix, existing):
        if not hasattr(signal, "SIGXFSZ"):
            pytest.skip("needs a limit on file sizes")
        path = tmp_path / f"a{suffix}"
        small = Volume(np.zeros((4, 4, 4), np.int16), np.eye(4))
        if existing:
            write_volume(small, path)
        before = only_files(tmp_path)
        script = f"""
            import resource, signal, sys
            import numpy as np
            from cycleinr import InputError, OutputError
            from cycleinr.files import write_volume
            from cycleinr.volume import Volume
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))
            values = np.random.default_rng(0).integers(0, 30000, (40, 50, 60)).astype(np.int16)
            try:
                write_volume(Volume(values, np.eye(4)), {str(path)!r}, overwrite=True)
            except OutputError as error:
                sys.exit(0 if "free space" in str(error) else str(error))
            sys.exit("the write did not fail")
        """
        done = run_python(script)
        assert done.returncode == 0, done.stderr
        assert only_files(tmp_path) == before
        if existing:
            np.testing.assert_array_equal(read_volume(path).array, small.array)

    @pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
    def test_an_interrupt_before_the_last_step_leaves_nothing(self, tmp_path, volume, suffix, monkeypatch):
        real = os.link

        def interrupted(source, target):
            if str(target).endswith(suffix):
                raise KeyboardInterrupt
            real(source, target)

        monkeypatch.setattr(os, "link", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_volume(volume, tmp_path / f"a{suffix}")
        assert only_files(tmp_path) == set()

    def test_a_disk_without_hard_links_is_written_to(self, tmp_path, volume, monkeypatch):
        def unknown(source, target):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", unknown)
        write_volume(volume, tmp_path / "a.mhd")
        np.testing.assert_array_equal(read_volume(tmp_path / "a.mhd").array, volume.array)

    @pytest.mark.parametrize("looks", [2, 99])
    def test_on_windows_a_program_that_looks_at_a_file_delays_its_end(self, tmp_path, volume, monkeypatch, looks):
        """Windows renames nothing that a virus scanner, say, has open."""
        write_volume(volume, tmp_path / "a.nii")
        real, tried = os.replace, []

        def held(old, new):
            tried.append(new)
            if len(tried) <= looks:
                raise PermissionError(errno.EACCES, "The process cannot access the file", str(old))
            real(old, new)

        monkeypatch.setattr(os, "replace", held)
        monkeypatch.setattr(atomic, "_LOOKS_S", (0, 0, 0))
        monkeypatch.setattr(sys, "platform", "win32")
        with pytest.raises(OutputError, match="cannot access") if looks > 3 else nullcontext():
            write_volume(volume.with_array(volume.array + 1), tmp_path / "a.nii", overwrite=True)
        monkeypatch.undo()  # reading asks the real system for its memory
        assert read_volume(tmp_path / "a.nii").array[0, 0, 0] == (0 if looks > 3 else 1)
        assert only_files(tmp_path) == {"a.nii"}

    def test_what_another_program_looks_at_is_deleted_once_it_has(self, tmp_path, volume, monkeypatch):
        real, tried = shutil.rmtree, []

        def held(folder, **how):
            tried.append(folder)
            if len(tried) > 2:
                real(folder, **how)

        monkeypatch.setattr(shutil, "rmtree", held)
        monkeypatch.setattr(atomic, "_LOOKS_S", (0, 0, 0))
        write_volume(volume, tmp_path / "a.nii")
        assert only_files(tmp_path) == {"a.nii"}

    @pytest.mark.parametrize("name", ["aux.nii.gz", "COM1.nii", "nul.mha"])
    def test_on_windows_a_device_is_refused_before_any_work(self, tmp_path, monkeypatch, name):
        monkeypatch.setattr(sys, "platform", "win32")
        with pytest.raises(OutputError, match="name of a device"):
            atomic.check_target(tmp_path / name, overwrite=True)

    @pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
    def test_a_kill_leaves_no_output_and_its_leftovers_can_be_removed(self, tmp_path):
        script = f"""
            import numpy as np
            from cycleinr.files import write_volume
            from cycleinr.volume import Volume
            values = np.random.default_rng(0).integers(0, 30000, (150, 300, 300)).astype(np.int16)
            print("ready", flush=True)
            write_volume(Volume(values, np.eye(4)), {str(tmp_path / "a.nii.gz")!r})
        """
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)], env=environment(), stdout=subprocess.PIPE
        )
        process.stdout.readline()
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".cycleinr-*/*")) and time.monotonic() < deadline:
            time.sleep(0.001)
        process.kill()
        process.communicate()
        assert not (tmp_path / "a.nii.gz").exists()
        (tmp_path / ".cycleinr-1-other").mkdir()
        remove_leftovers(tmp_path, process.pid)
        assert only_files(tmp_path) == {".cycleinr-1-other"}


class TestSidecar:
    def test_it_is_named_after_the_image_and_holds_everything(self, tmp_path):
        with sidecar(tmp_path / "a.nii.gz", {"derived": "yes", "spacing_mm": 1.5, "who": "Ärztin"}):
            assert not (tmp_path / "a.nii.gz.json").exists()
        path = tmp_path / "a.nii.gz.json"
        assert json.loads(path.read_text("utf-8")) == {"derived": "yes", "spacing_mm": 1.5, "who": "Ärztin"}
        assert only_files(tmp_path) == {"a.nii.gz.json"}

    def test_it_is_replaced_only_on_request(self, tmp_path):
        with sidecar(tmp_path / "a.nii", {"n": 1}):
            pass
        with pytest.raises(OutputError, match="overwrite"), sidecar(tmp_path / "a.nii", {"n": 2}):
            pytest.fail("refused before the result is written")
        with sidecar(tmp_path / "a.nii", {"n": 2}, overwrite=True):
            pass
        assert json.loads((tmp_path / "a.nii.json").read_text()) == {"n": 2}

    def test_content_that_json_cannot_hold_leaves_no_file(self, tmp_path):
        with pytest.raises(TypeError), sidecar(tmp_path / "a.nii", {"n": object()}):
            pass
        assert only_files(tmp_path) == set()

    def test_a_result_that_fails_has_none(self, tmp_path):
        with pytest.raises(InputError), sidecar(tmp_path / "a.nii", {"n": 1}):
            raise InputError("no result")
        assert only_files(tmp_path) == set()

    def test_one_that_appears_meanwhile_is_kept_and_said(self, tmp_path):
        with pytest.raises(OutputError, match="written and complete, but a.nii.json"), sidecar(tmp_path / "a.nii", {}):
            (tmp_path / "a.nii.json").write_text("another's")
        assert (tmp_path / "a.nii.json").read_text() == "another's"


def test_importing_the_package_loads_neither_simpleitk_nor_pydicom_nor_torch():
    script = """
        import sys
        import cycleinr.files, cycleinr.grid
        heavy = {"SimpleITK", "pydicom", "torch"} & set(sys.modules)
        sys.exit(f"loaded {heavy}" if heavy else 0)
    """
    done = run_python(script)
    assert done.returncode == 0, done.stderr
