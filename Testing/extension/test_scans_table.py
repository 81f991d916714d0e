"""Several scans at once, and all frames of a sequence: the table, one Apply, one Cancel, and what is left."""

import numpy as np
import pytest
from panel_steps import finished, ready
from slicer_scans import LIMIT_S, filesIn, volumeNodes


@pytest.fixture
def scans(scene):
    """Three crops that can be computed, and one that cannot."""
    import slicer
    from slicer_scans import thickNode

    whole = thickNode(every=4, name="whole")
    array = slicer.util.arrayFromVolume(whole)
    parts = {
        "one": array[:, :40, :40],
        "two": array[:, :40, 40:80],
        "flat": array[:, :8, :8] * 0,
        "three": array[:, 40:80, :40],
    }
    nodes = {}
    for name, part in parts.items():
        nodes[name] = slicer.util.addVolumeFromArray(np.ascontiguousarray(part), np.diag([0.6, 0.6, 3.2, 1]), name)
        nodes[name].SetVoxelValueUnits(ct_units())
    scene.RemoveNode(whole)
    return nodes


def ct_units():
    import slicer
    from CycleINRSlicerLib.volume_node import HOUNSFIELD_UNIT

    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning(HOUNSFIELD_UNIT, "UCUM", "Hounsfield unit")
    return units


def texts(ui):
    table = ui.scansTable
    return [[table.item(row, column).text() for column in range(2)] for row in range(table.rowCount)]


def opened(host, ui, parameters, rows, spacing_mm=1.6):
    parameters.spacingMm = spacing_mm
    ui.scansSection.collapsed = False
    host.process_events(until=lambda: ui.scansTable.rowCount == rows and ui.scansButton.enabled, timeout_s=LIMIT_S)


def tick(ui, name, isTicked):
    import qt

    row = [each[0] for each in texts(ui)].index(name)
    ui.scansTable.item(row, 0).setCheckState(qt.Qt.Checked if isTicked else qt.Qt.Unchecked)


def names():
    return sorted(node.GetName() for node in volumeNodes())


def test_all_ticked_scans_are_computed_and_one_that_fails_does_not_stop_the_rest(host, engine, ui, parameters, scans):
    import slicer

    assert ui.scansTable.rowCount == 0
    opened(host, ui, parameters, 4)
    assert ui.scansButton.text == "Apply to ticked scans (3)"
    shown = {row[0]: row[1:] for row in texts(ui)}
    assert shown["one"] == ["Axial slices: 16 → 31, 3.2 → 1.6 mm apart\n40 × 40 × 31 voxels, 0 MB\nCT model"]
    assert "nothing to sharpen" in shown["flat"][0]
    tick(ui, "two", False)
    assert ui.scansButton.text == "Apply to ticked scans (2)"
    slicer.util.arrayFromVolume(scans["one"])[:] = 0  # after it was looked at, as when a file of many is broken
    ui.scansButton.click()
    assert ui.applyButton.text == "Cancel" and not ui.scansButton.enabled and not ui.previewButton.enabled
    finished(host, ui)
    assert "1 of 2 done" in ui.statusLabel.text and "one: " in ui.statusLabel.text
    assert [name for name in names() if "CycleINR" in name] == ["three 1.6 mm (CycleINR)"]
    assert parameters.resultInput is scans["three"] and ui.reviewButton.enabled and filesIn(engine.folder.path) == []
    host.process_events(until=lambda: len(texts(ui)) == 4, timeout_s=LIMIT_S)
    assert dict(texts(ui))["three"] == "Done: three 1.6 mm (CycleINR)"


def test_cancel_ends_them_all_and_keeps_what_was_done(host, engine, ui, parameters, scans):
    opened(host, ui, parameters, 4, spacing_mm=0.1)  # enough work for the fastest computer
    ui.scansButton.click()
    host.process_events(until=lambda: ui.statusLabel.text.startswith("2 of 3"), timeout_s=LIMIT_S)
    host.process_events(until=lambda: ui.applyButton.enabled, timeout_s=5)
    ui.applyButton.click()
    finished(host, ui)
    assert ui.statusLabel.text == "Cancelled. Results that were done stay." and ui.applyButton.text == "Apply"
    assert [name for name in names() if "CycleINR" in name] == ["one 0.1 mm (CycleINR)"] and filesIn(
        engine.folder.path
    ) == []


def test_forty_ticked_scans_and_the_scene_closed(host, engine, ui, parameters, scans, scene):
    import slicer

    for number in range(37):
        node = slicer.modules.volumes.logic().CloneVolume(scene, scans["one"], f"copy {number}")
        node.SetVoxelValueUnits(ct_units())
    opened(host, ui, parameters, 41)
    host.process_events(until=lambda: ui.scansButton.text == "Apply to ticked scans (40)", timeout_s=LIMIT_S)
    ui.scansButton.click()
    host.process_events(until=lambda: ui.statusLabel.text.startswith("1 of 40"), timeout_s=LIMIT_S)
    scene.Clear()
    finished(host, ui)
    assert "scene was closed" in ui.statusLabel.text and volumeNodes() == [] and filesIn(engine.folder.path) == []
    assert ui.scansTable.rowCount == 0 and ui.applyButton.text == "Apply"


def test_a_scan_that_is_removed_does_not_stop_the_rest(host, process, widget, ui, parameters, scans, scene):
    from CycleINRSlicerLib.task import Task

    opened(host, ui, parameters, 4)
    process.answersAtOnce = False
    task = Task(process.engine, widget.panel._scans.job, lambda _task: None)
    host.process_events(until=lambda: task.phase.startswith("1 of 3") and process.requests, timeout_s=LIMIT_S)
    process.answersAtOnce = True
    scene.RemoveNode(scans["one"])
    host.process_events(until=lambda: task.isFinished, timeout_s=LIMIT_S)
    assert "2 of 3 done. one: The input volume was removed" in task.outcome
    assert len([name for name in names() if "CycleINR" in name]) == 2 and filesIn(process.folder) == []


@pytest.fixture
def proxy(scene, scans):
    """A volume that shows the first of three frames of a sequence; the scans are its frames."""
    import slicer

    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "frames")
    sequence.SetIndexName("phase")
    for number, name in enumerate(("one", "two", "three")):
        sequence.SetDataNodeAtValue(scans[name], str(number))
    for node in scans.values():
        scene.RemoveNode(node)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.AddSynchronizedSequenceNode(sequence)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    browser.SetSelectedItemNumber(0)
    node = browser.GetProxyNode(sequence)
    node.SetVoxelValueUnits(ct_units())
    return node


def applied(host, ui, parameters, proxy, answer):
    """Press Apply on the proxy and answer whether all frames are wanted."""
    import qt

    with host.without_testing_mode():
        parameters.inputVolume, parameters.spacingMm = proxy, 1.6
        ready(host, ui)
        host.dialogs.answer_next(*([qt.QMessageBox.Yes if answer else qt.QMessageBox.No] if answer is not None else []))
        ui.applyButton.click()


def test_all_frames_become_a_sequence_in_the_same_browser(host, engine, ui, parameters, proxy):
    import slicer

    logic = slicer.modules.sequences.logic()
    browser = logic.GetFirstBrowserNodeForProxyNode(proxy)
    applied(host, ui, parameters, proxy, True)
    finished(host, ui)
    result = parameters.resultVolume
    assert ui.problemLabel.text == "" and parameters.resultInput is proxy and volumeNodes() == [proxy, result]
    sequence = browser.GetSequenceNode(result)
    assert (
        sequence.GetNumberOfDataNodes() == 3
        and sequence.GetIndexName() == "phase"
        and filesIn(engine.folder.path) == []
    )
    for number in range(3):
        browser.SetSelectedItemNumber(number)
        frame, fine = (slicer.util.arrayFromVolume(node).astype(int) for node in (proxy, result))
        assert (
            fine.shape == (31, 40, 40)
            and np.abs(fine[::2] - frame).mean() < np.abs(fine[::2] - frame[:, ::-1]).mean() / 4
        )
    assert "not acquired" in sequence.GetNthDataNode(1).GetDescription()


def test_the_shown_frame_alone_and_the_question_once(host, ui, parameters, proxy):
    for answer in (False, None):
        applied(host, ui, parameters, proxy, answer)
        finished(host, ui)
    assert len(volumeNodes()) == 3 and len(host.dialogs.shown) == 1


def test_a_frame_that_fails_leaves_nothing(host, engine, ui, parameters, proxy, scene):
    import slicer

    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(proxy)
    slicer.util.arrayFromVolume(browser.GetSequenceNode(proxy).GetNthDataNode(1))[:] = 0
    before = scene.GetNumberOfNodes()
    applied(host, ui, parameters, proxy, True)
    finished(host, ui)
    assert "frame 2: " in ui.problemLabel.text and "nothing to sharpen" in ui.problemLabel.text
    assert volumeNodes() == [proxy] and scene.GetNumberOfNodes() == before and filesIn(engine.folder.path) == []


@pytest.mark.parametrize("moment", ["preparing", "running", "importing"])
def test_cancelled_frames_leave_nothing(host, process, proxy, scene, moment):
    from cycleinr import Upsampler
    from CycleINRSlicerLib.scans_table import makeFramesFiner
    from CycleINRSlicerLib.task import Task

    before, options, listed = scene.GetNumberOfNodes(), Upsampler(ratio=2).options, set()

    def onChanged(task):
        listed.add(tuple(host.data_tree()))
        if task.phase.startswith("2 of 3") and task.state.value == moment:
            task.cancel()

    task = Task(process.engine, lambda task: makeFramesFiner(task, proxy, options), onChanged)
    host.process_events(until=lambda: task.isFinished, timeout_s=LIMIT_S)
    assert str(task.error) == "Cancelled. The scene is as it was." and listed == {(proxy.GetName(),)}
    assert volumeNodes() == [proxy] and scene.GetNumberOfNodes() == before and filesIn(process.folder) == []
