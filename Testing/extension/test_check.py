"""Check and export in the panel: real widgets, the real scene, the real engine process."""

import json
import os
import signal

import numpy as np
import pytest
from cycleinr.checks.run import check_result
from cycleinr.files import read_volume
from cycleinr.windows import CT_WINDOWS
from dicom_maker import PATIENT, pixels_of_slice, write_slice
from panel_steps import finished
from slicer_scans import LIMIT_S, dicomNode, filesIn, isAlive, thickNode, volumeNodes

CHECK_CLASSES = ("vtkMRMLTableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode")


def madeResult(host, ui, parameters, scan, spacingMm=1.6):
    """The scan's result, made with the panel."""
    parameters.inputVolume = scan
    parameters.spacingMm = spacingMm
    host.process_events(until=lambda: ui.applyButton.enabled, timeout_s=LIMIT_S)
    ui.applyButton.click()
    finished(host, ui)
    assert ui.problemLabel.text == ""
    return parameters.resultVolume


@pytest.fixture
def result(host, ui, parameters, scene):
    import slicer

    scan = thickNode(every=4)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    scan.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(scan), study)
    return madeResult(host, ui, parameters, scan)


def nodesOf(*classNames):
    import slicer

    return [node for name in classNames for node in slicer.util.getNodesByClass(name)]


def _volume(node):
    from CycleINRSlicerLib.volume_node import volumeFromNode

    return volumeFromNode(node)


def test_check_shows_the_error_over_the_slices(host, ui, parameters, result, engine):
    import slicer

    scan = parameters.resultInput
    assert ui.checkButton.enabled and not ui.curveButton.enabled and not ui.checkLabel.visible
    layout = slicer.app.layoutManager().layout
    ui.checkButton.click()
    assert ui.applyButton.text == "Cancel" and not ui.checkButton.enabled
    finished(host, ui)

    node = parameters.checkVolume
    options = _optionsOf(scan, result)
    expected = check_result(_volume(scan), _volume(result), options)
    # Another number of threads can round a voxel of the prediction the other way, which its neighbourhood then shows
    close = np.isclose(slicer.util.arrayFromVolume(node), expected.expected_error.array, atol=1e-2)
    assert close.mean() > 0.95
    assert np.allclose(_volume(node).ijk_to_ras, expected.self_check.error_map.ijk_to_ras)
    assert node.GetName() == f"{result.GetName()} expected error"
    assert node.GetTransformNodeID() == scan.GetTransformNodeID() is not None
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    nodesOf = slicer.util.getNodesByClass
    made = [each for kind in ("Table", "PlotChart", "PlotSeries") for each in nodesOf(f"vtkMRML{kind}Node")]
    parents = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(each)) for each in (node, scan, *made)}
    assert len(made) == 4 and len(parents) == 1 and hierarchy.GetItemName(parents.pop()) == "study"
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == node.GetID() and 0 < composite.GetForegroundOpacity() < 1
    assert composite.GetBackgroundVolumeID() == result.GetID()
    assert slicer.app.layoutManager().layout == layout
    assert expected.verdict in ui.checkLabel.text and "Colours: black 0 to white" in ui.checkLabel.text
    assert "not acquired" in node.GetDescription() and filesIn(engine.folder.path) == []


def _optionsOf(scan, result):
    from cycleinr.request import options_of_result
    from CycleINRSlicerLib.result_node import resultOf

    return options_of_result(_volume(scan), resultOf(result))


def test_small_errors_are_transparent_and_large_ones_bright(host, ui, parameters, result):
    import slicer

    ui.checkButton.click()
    finished(host, ui)
    display = parameters.checkVolume.GetDisplayNode()
    colours, colour, shown = display.GetColorNode(), [0.0] * 4, []
    for index in (0, 255):
        colours.GetColor(index, colour)
        shown.append(tuple(colour))
    assert shown == [(0, 0, 0, 1), (1, 1, 1, 1)]
    errors = slicer.util.arrayFromVolume(parameters.checkVolume)
    assert display.GetApplyThreshold() and display.GetUpperThreshold() >= errors.max()
    window = CT_WINDOWS["lung"]
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, window.width / 2)
    assert display.GetLowerThreshold() == pytest.approx(window.width / 10)


def test_the_map_lies_over_the_result_only_and_can_be_taken_off(host, ui, parameters, result):
    ui.reviewButton.click()
    ui.checkButton.click()
    finished(host, ui)
    shown = {each.GetBackgroundVolumeID(): each.GetForegroundVolumeID() for each in _compositesInUse()}
    assert shown[result.GetID()] == parameters.checkVolume.GetID()
    assert shown[parameters.resultInput.GetID()] != parameters.checkVolume.GetID()
    assert ui.mapButton.text == "Hide error map"
    ui.mapButton.click()
    assert parameters.checkVolume.GetID() not in {each.GetForegroundVolumeID() for each in _compositesInUse()}
    assert ui.mapButton.text == "Show error map"
    ui.mapButton.click()
    assert parameters.checkVolume.GetID() in {each.GetForegroundVolumeID() for each in _compositesInUse()}
    for inFront in ("Red", "Red+"):  # a change of layout takes it along
        ui.reviewButton.click()
        errorMap = parameters.checkVolume.GetID()
        inLayout = {each.GetLayoutName() for each in nodesOf("vtkMRMLSliceNode") if each.IsMappedInLayout()}
        withMap = {each.GetLayoutName() for each in _compositesInUse() if each.GetForegroundVolumeID() == errorMap}
        showing = inLayout & withMap
        assert inFront in showing and len(showing) == 3 and ui.mapButton.text == "Hide error map"


def _compositesInUse():
    return [each for each in nodesOf("vtkMRMLSliceCompositeNode") if each.GetBackgroundVolumeID()]


def test_the_curve_comes_only_when_asked_for(host, ui, parameters, result):
    import slicer

    ui.checkButton.click()
    finished(host, ui)
    manager, former = slicer.app.layoutManager(), slicer.app.layoutManager().layout
    (table,), (chart,) = nodesOf("vtkMRMLTableNode"), nodesOf("vtkMRMLPlotChartNode")
    rows = slicer.util.arrayFromTableColumn(table, "Slice")
    count = parameters.checkVolume.GetImageData().GetDimensions()[2]
    assert count > 10 and rows.tolist() == list(range(2, 2 + count)) and chart.GetNumberOfPlotSeriesNodes() == 2
    series = [chart.GetNthPlotSeriesNode(n) for n in range(2)]
    assert [each.GetYColumnName() for each in series] == ["Root mean square", "Mean absolute"]
    scan = parameters.resultInput
    found = check_result(_volume(scan), _volume(result), _optionsOf(scan, result)).self_check
    assert np.allclose(slicer.util.arrayFromTableColumn(table, "Root mean square"), found.rms, rtol=1e-3)
    ui.curveButton.click()
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView
    assert {view.GetPlotChartNodeID() for view in nodesOf("vtkMRMLPlotViewNode")} == {chart.GetID()}
    assert ui.curveButton.text == "Hide curve"
    ui.curveButton.click()
    assert manager.layout == former and ui.curveButton.text == "Show curve"


def test_a_saved_scene_keeps_the_check(host, ui, widget, parameters, result, tmp_path):
    import slicer

    ui.checkButton.click()
    finished(host, ui)
    text = ui.checkLabel.text
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert text and ui.checkLabel.text == text and ui.curveButton.enabled
    colours, orange = widget.logic.getParameterNode().checkVolume.GetDisplayNode().GetColorNode(), [0.0] * 4
    colours.GetColor(128, orange)
    assert orange[:3] == pytest.approx((1, 0.5, 0), abs=0.02)
    assert not colours.GetHideFromEditors(), "Slicer 5.10 saves what is hidden in .mrb files alone"


@pytest.mark.parametrize("moment", ["PREPARING", "RUNNING", "IMPORTING"])
def test_nothing_stays_after_a_cancel(host, ui, parameters, result, engine, small_steps, moment):
    from CycleINRSlicerLib.check import check
    from CycleINRSlicerLib.task import Task

    before = nodesOf("vtkMRMLNode")
    run = Task(engine, lambda task: check(task, parameters.resultInput, result, "cpu"), lambda _run: None)
    host.process_events(until=lambda: run.state.name == moment, timeout_s=LIMIT_S)
    run.cancel()
    host.process_events(until=lambda: run.isFinished, timeout_s=5)
    assert run.state.name == "CANCELLED" and nodesOf("vtkMRMLNode") == before
    assert engine.folder.path is None or filesIn(engine.folder.path) == []


def test_cancel_button_ends_a_check(host, ui, parameters, result, engine):
    """The engine's process stands still, so that the check of a small scan is not done before the click."""
    os.kill(engine.workerPid, signal.SIGSTOP)
    ui.checkButton.click()
    host.process_events(until=lambda: ui.applyButton.text == "Cancel" and ui.applyButton.enabled, timeout_s=LIMIT_S)
    ui.applyButton.click()
    finished(host, ui)
    assert parameters.checkVolume is None and nodesOf(*CHECK_CLASSES) == []
    assert ui.statusLabel.text == "Cancelled. The scene is as it was." and ui.checkButton.enabled


def test_removing_the_result_ends_the_check(host, ui, parameters, result):
    import slicer

    ui.checkButton.click()
    host.process_events(until=lambda: ui.statusLabel.text.startswith("Checking"), timeout_s=LIMIT_S)
    slicer.mrmlScene.RemoveNode(result)
    finished(host, ui)
    assert "result was removed" in ui.statusLabel.text and nodesOf(*CHECK_CLASSES) == []
    assert not ui.checkButton.enabled


@pytest.mark.parametrize(
    ("attribute", "value", "says"),
    [("CycleINR.tau", None, "does not say how it was made"), ("CycleINR.weights_sha256", "0" * 64, "was made with")],
)
def test_what_cannot_be_checked_is_said(host, ui, result, attribute, value, says):
    if value is None:
        result.RemoveAttribute(attribute)
    else:
        result.SetAttribute(attribute, value)
    ui.checkButton.click()
    finished(host, ui)
    assert says in ui.problemLabel.text and nodesOf(*CHECK_CLASSES) == [] and ui.checkButton.enabled


def test_a_short_scan_is_checked_without_the_cycle(host, ui, parameters, scene):
    import slicer

    long = thickNode(every=8)
    array = slicer.util.arrayFromVolume(long)[:4, :48, :48]
    scan = slicer.util.addVolumeFromArray(np.ascontiguousarray(array), _volume(long).ijk_to_ras, "short")
    madeResult(host, ui, parameters, scan, spacingMm=3.2)
    ui.checkButton.click()
    finished(host, ui)
    assert "Not checked. The scan's 4 slices" in ui.statusLabel.text and "Noise" in ui.statusLabel.text
    assert parameters.checkVolume is None and not ui.curveButton.enabled and nodesOf(*CHECK_CLASSES) == []


@pytest.fixture
def dicomScan(scene, tmp_path, monkeypatch):
    """A DICOM series of 8 slices, loaded as Slicer's DICOM module loads it, with the database that knows it."""

    folder = tmp_path / "series"
    folder.mkdir()
    for n in range(8):
        write_slice(folder / f"{n}.dcm", (-10, -20, 5 * n), pixels_of_slice(n, 32, 24))
    return dicomNode(folder, monkeypatch, f"3: {PATIENT}")


def test_export_writes_a_series_of_the_same_study(host, ui, parameters, dicomScan, engine, tmp_path):
    import pydicom
    import slicer

    assert not ui.exportButton.enabled and "Make a result first" in ui.exportButton.toolTip
    result = madeResult(host, ui, parameters, dicomScan, spacingMm=2.5)
    target = tmp_path / "target"
    target.mkdir()
    host.dialogs.answer_next(str(target))
    assert ui.exportButton.enabled
    ui.exportButton.click()
    finished(host, ui)

    assert ui.problemLabel.text == "" and "15 files are in" in ui.statusLabel.text
    assert filesIn(target) == ["CycleINR 2.5 mm"] and filesIn(engine.folder.path) == []
    written = read_volume(target / "CycleINR 2.5 mm")
    assert np.array_equal(written.array, slicer.util.arrayFromVolume(result))
    assert np.allclose(written.ijk_to_ras, _volume(result).ijk_to_ras, atol=1e-4)
    header = pydicom.dcmread(target / "CycleINR 2.5 mm" / "IM0001.dcm", stop_before_pixels=True)
    source = next(iter(slicer.dicomDatabase.headers.values()))
    assert header.StudyInstanceUID == source.StudyInstanceUID and header.PatientName == PATIENT
    assert header.SeriesInstanceUID != source.SeriesInstanceUID and "DERIVED" in header.ImageType
    host.dialogs.answer_next(str(target))
    ui.exportButton.click()
    finished(host, ui)
    assert filesIn(target) == ["CycleINR 2.5 mm", "CycleINR 2.5 mm 2"]


def test_no_folder_means_no_export(host, ui, parameters, dicomScan):
    madeResult(host, ui, parameters, dicomScan, spacingMm=2.5)
    host.dialogs.answer_next("")
    ui.exportButton.click()
    assert not ui.progressBar.visible and ui.exportButton.enabled and ui.problemLabel.text == ""


def test_export_is_off_for_scans_that_are_no_dicom(ui, result):
    assert not ui.exportButton.enabled and "not loaded from Slicer's DICOM database" in ui.exportButton.toolTip


def test_files_that_are_gone_are_said(host, ui, parameters, dicomScan, tmp_path):
    madeResult(host, ui, parameters, dicomScan, spacingMm=2.5)
    (tmp_path / "series" / "5.dcm").unlink()
    host.dialogs.answer_next(str(tmp_path))
    ui.exportButton.click()
    finished(host, ui)
    assert "no longer in Slicer's DICOM database" in ui.problemLabel.text
    assert filesIn(tmp_path) == ["series"]


def test_a_killed_export_leaves_no_file(host, ui, parameters, dicomScan, engine, tmp_path):
    """The process dies while the staging folder is there: whoever hears of it clears away."""
    from CycleINRSlicerLib.jobs import export
    from CycleINRSlicerLib.task import Task

    result = madeResult(host, ui, parameters, dicomScan, spacingMm=2.5)
    target = tmp_path / "target"
    target.mkdir()
    pid = engine.workerPid
    os.kill(pid, signal.SIGSTOP)
    run = Task(engine, lambda task: export(task, dicomScan, result, target), lambda _run: None)
    host.process_events(until=lambda: run.state.name == "RUNNING", timeout_s=LIMIT_S)
    (target / f".cycleinr-{pid}-half").mkdir()
    os.kill(pid, signal.SIGKILL)
    host.process_events(until=lambda: run.isFinished, timeout_s=5)
    assert run.state.name == "FAILED" and not isAlive(pid) and filesIn(target) == []


def test_numbers_reach_the_panel_as_the_engine_gives_them(host, ui, parameters, result, engine):
    from cycleinr.checks.run import numbers
    from CycleINRSlicerLib.check import check
    from CycleINRSlicerLib.task import Task

    scan = parameters.resultInput
    run = Task(engine, lambda task: check(task, scan, result, "cpu"), lambda _run: None)
    run.wait()
    found, errorMap = run.outcome
    expected = numbers(check_result(_volume(scan), _volume(result), _optionsOf(scan, result)))
    assert json.loads(json.dumps(expected)).keys() == found.keys()
    assert np.allclose(found["self_check"]["rms"], expected["self_check"]["rms"], rtol=1e-4)
    assert found["noise"]["sigma_after"] == pytest.approx(expected["noise"]["sigma_after"])
    assert set(volumeNodes()) == {scan, result, errorMap.node}
