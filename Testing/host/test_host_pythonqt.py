"""Qt speaks as through PythonQt, and mistakes fail."""

import functools
import sys

import pytest
from slicer_host import process_events

pytestmark = pytest.mark.usefixtures("host")


def run_python(code):
    """A finished QProcess that ran ``code``, and what its signals said."""
    import qt

    process, finished = qt.QProcess(), []
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: finished.append((code, status)))
    process.start(sys.executable, ["-c", code])
    process_events(until=lambda: finished, timeout_s=30)
    return process, finished[0]


def test_properties_are_attributes():
    import qt

    button, label, spin_box = qt.QPushButton("Apply"), qt.QLabel("text"), qt.QDoubleSpinBox()
    button.enabled = False
    spin_box.value = 2.5
    assert (button.text, button.enabled, label.text, spin_box.value) == ("Apply", False, "text", 2.5)
    button.setText("Cancel")
    assert button.text == "Cancel"


def test_properties_are_not_methods():
    import qt

    with pytest.raises(TypeError):
        qt.QLabel("text").text()


@pytest.mark.parametrize("name", ["enabld", "tooltip", "_mine"])
def test_misspelt_attributes_fail(name):
    import qt

    with pytest.raises(AttributeError):
        setattr(qt.QPushButton(), name, True)


def test_misspelt_attributes_of_host_widgets_fail():
    import slicer

    with pytest.raises(AttributeError):
        slicer.qMRMLNodeComboBox().nodeType = ["vtkMRMLVolumeNode"]


def test_values_of_the_wrong_type_fail():
    import qt

    with pytest.raises(AttributeError, match="does not accept"):
        qt.QPushButton().toolTip = object()


def test_subclasses_may_have_attributes():
    import qt

    class Panel(qt.QWidget):
        def __init__(self):
            super().__init__()
            self.mine = 1

    assert Panel().mine == 1


def test_exact_classes():
    import qt

    assert type(qt.QPushButton()) == qt.QPushButton  # noqa: E721 - what Slicer does
    assert qt.QPushButton().className() == "QPushButton"


def test_slots_get_as_many_arguments_as_they_take():
    import qt

    button, calls = qt.QPushButton(), []
    button.checkable = True
    button.connect("clicked()", lambda *values: calls.append(("clicked()", values)))
    button.connect("clicked(bool)", lambda value: calls.append(("one", value)))
    button.connect("clicked(bool)", lambda: calls.append(("none",)))
    button.connect("clicked(bool)", functools.partial(lambda *values: calls.append(values)))
    button.click()
    assert calls == [("clicked()", ()), ("one", True), ("none",), (True,)]


def test_disconnect():
    import qt

    button, calls = qt.QPushButton(), []
    button.connect("clicked(bool)", calls.append)
    assert button.disconnect("clicked(bool)", calls.append)
    assert not button.disconnect("clicked(bool)", calls.append)
    button.click()
    assert calls == []


@pytest.mark.parametrize("signature", ["cliked(bool)", "clicked(int)", "click()"])
def test_unknown_signals_fail(signature):
    import qt

    with pytest.raises(ValueError, match="no signal"):
        qt.QPushButton().connect(signature, print)


def test_what_qt5_alone_has_is_missing():
    import qt

    with pytest.raises(AttributeError):
        qt.QRegExp  # noqa: B018


def test_process_output_and_exit_code():
    process, (code, status) = run_python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert process.readAllStandardOutput().data().split() == [b"out"]
    assert process.readAllStandardError().data().split() == [b"err"]
    import qt

    assert code == 3 and status == qt.QProcess.NormalExit and process.state() == qt.QProcess.NotRunning


def test_a_process_is_written_to_and_killed():
    import qt

    process, lines = qt.QProcess(), []
    process.connect("readyReadStandardOutput()", lambda: lines.append(process.readAllStandardOutput().data()))
    environment = qt.QProcessEnvironment.systemEnvironment()
    environment.insert("GREETING", "hello")
    process.setProcessEnvironment(environment)
    code = "import os; print(os.environ['GREETING'], input(), flush=True); input()"
    process.start(sys.executable, ["-c", code])
    process.write(b"you\n")
    process_events(until=lambda: b"\n" in b"".join(lines), timeout_s=30)
    assert b"".join(lines).split() == [b"hello", b"you"]
    assert process.processId() > 0
    process.kill()
    process_events(until=lambda: process.state() == qt.QProcess.NotRunning, timeout_s=30)
    assert process.exitStatus() == qt.QProcess.CrashExit


def test_a_program_that_does_not_exist():
    import qt

    process, errors = qt.QProcess(), []
    process.connect("errorOccurred(QProcess::ProcessError)", errors.append)
    process.start("/no/such/program", [])
    process_events(until=lambda: errors)
    assert errors == [qt.QProcess.FailedToStart]


def test_timers():
    import qt

    calls, timer = [], qt.QTimer()
    timer.interval, timer.singleShot = 1, True
    timer.connect("timeout()", lambda: calls.append("timer"))
    timer.start()
    process_events(until=lambda: calls)
    qt.QTimer.singleShot(0, lambda: calls.append("single shot"))
    qt.QTimer.singleShot(5, lambda: calls.append("later"))
    process_events(until=lambda: len(calls) == 3)
    assert calls == ["timer", "single shot", "later"]


def test_waiting_has_an_end():
    with pytest.raises(TimeoutError):
        process_events(until=lambda: False, timeout_s=0.05)


def test_settings_are_not_the_users(host):
    import qt
    import slicer

    qt.QSettings().setValue("HostTest/value", 3)
    assert int(slicer.app.userSettings().value("HostTest/value")) == 3
    assert "slicer-host-" in qt.QSettings().fileName()


def test_temporary_folders_clocks_and_event_loops():
    import os

    import qt

    folder, clock, loop = qt.QTemporaryDir(), qt.QElapsedTimer(), qt.QEventLoop()
    clock.start()
    qt.QTimer.singleShot(0, loop.quit)
    loop.exec_()
    assert os.path.isdir(folder.path()) and clock.elapsed() >= 0


def test_modal_dialogs_are_answered(host):
    import qt

    host.dialogs.answer_next("/data/scan.nrrd", qt.QMessageBox.Yes)
    assert qt.QFileDialog.getOpenFileName(None, "Open") == "/data/scan.nrrd"
    assert qt.QMessageBox.question(None, "Sure?", "Really?") == qt.QMessageBox.Yes
    assert [dialog.title for dialog in host.dialogs.shown] == ["Open", "Sure?"]


def test_slicer_asks_its_questions_outside_testing_mode(host):
    import qt
    import slicer

    assert not slicer.util.confirmOkCancelDisplay("Install?"), "Slicer 5.12.4 compares True with QMessageBox.Ok"
    with host.without_testing_mode() as dialogs:
        dialogs.answer_next(qt.QMessageBox.Cancel)
        assert not slicer.util.confirmOkCancelDisplay("Install?", "Consent", detailedText="torch")
    assert [(dialog.kind, dialog.text) for dialog in dialogs.shown] == [("ctkMessageBox", "Install?")]


def test_an_unexpected_dialog_fails_instead_of_waiting():
    import qt
    from slicer_host.dialogs import UnexpectedDialog

    with pytest.raises(UnexpectedDialog, match="Surprise"):
        qt.QMessageBox.information(None, "Surprise", "text")
    with pytest.raises(UnexpectedDialog):
        qt.QDialog().exec_()
