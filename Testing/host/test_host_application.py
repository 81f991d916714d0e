"""slicer.app and the host's own life."""

import subprocess

import pytest
import slicer_host

pytestmark = pytest.mark.usefixtures("host")


def test_versions_and_folders():
    import os

    import slicer

    app = slicer.app
    assert (app.majorVersion, app.minorVersion) == (5, 12) and app.applicationVersion.startswith("5.12")
    assert app.os in ("linux", "macosx", "win")
    assert os.path.isdir(app.temporaryPath) and slicer.util.tempDirectory().startswith(app.temporaryPath)


def test_python_slicer_is_on_the_path():
    import shutil

    import slicer

    program = shutil.which("PythonSlicer")
    assert program.startswith(slicer.app.slicerHome)
    assert subprocess.check_output([program, "-c", "print(6 * 7)"]).split() == [b"42"]


def test_startup_environment():
    import slicer

    assert "PATH" in slicer.util.startupEnvironment()


def test_translations_that_lose_placeholders_are_refused():
    from slicer import i18n

    i18n.set_translations({"Idle": "Bereit", "{n} slices": "{anzahl} Schichten"})
    try:
        assert i18n.tr("Idle") == "Bereit"
        assert i18n.tr("{n} slices") == "{n} slices"
    finally:
        i18n.set_translations({})


def test_the_host_starts_once():
    with pytest.raises(RuntimeError, match="once per process"):
        slicer_host.start()


def test_what_the_host_needs_is_named(monkeypatch):
    from slicer_host import availability

    assert slicer_host.missing_packages() == []
    monkeypatch.setitem(availability.NEEDED, "no_such_module", "no-such-package==1")
    assert slicer_host.missing_packages() == ["no-such-package==1"]


def test_reset_reports_what_a_test_left_unnoticed(host):
    import qt

    button = qt.QPushButton()
    button.connect("clicked(bool)", lambda: 1 / 0)
    button.click()
    host.dialogs.answer_next("never asked for")
    problems = host.reset()
    assert len(problems) == 2 and "ZeroDivisionError" in problems[1]


def test_quitting_is_announced():
    import slicer

    calls = []

    def told():
        calls.append("quit")

    slicer.app.connect("aboutToQuit()", told)
    slicer.app.aboutToQuit.emit()
    assert slicer.app.disconnect("aboutToQuit()", told)
    assert calls == ["quit"]
