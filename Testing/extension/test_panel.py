"""The panel as its user meets it: real widgets, the real scene, the real engine process."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from cycleinr.files import write_volume
from dicom_maker import write_slice
from panel_steps import apply, finished, ready, results
from slicer_scans import LIMIT_S, MODULE_FILE, REPOSITORY, dicomNode, isAlive, thickNode, volumeNodes


def test_apply_makes_a_new_volume(host, ui, parameters, scan):
    parameters.inputVolume = scan
    parameters.spacingMm = 1.5
    ready(host, ui)
    seen = []
    ui.progressBar.connect("valueChanged(int)", seen.append)
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel"
    finished(host, ui)
    (result,) = results(scan)
    assert result.GetName() == "scan 1.5 mm (CycleINR)" and len(set(seen)) > 5 and max(seen) == 1000
    assert ui.resultLabel.text.startswith("scan 1.5 mm (CycleINR)\n96 × 96 × 32 voxels")
    assert ui.statusLabel.text.startswith("Done in") and ui.applyButton.text == "Apply" and ui.reviewButton.enabled
    assert parameters.resultVolume is result and parameters.outputVolume is None


def test_before_apply_the_panel_says_what_will_come(host, ui, parameters, scan):
    parameters.inputVolume = scan
    parameters.spacingMm = 1.0
    ready(host, ui)
    slices, size, cost = ui.forecastLabel.text.splitlines()
    assert slices == "Axial slices: 16 → 48, 3.2 → 1 mm apart" and size == "96 × 96 × 48 voxels, 1 MB"
    assert re.match(r"about \d+ s, 0.\d GB of memory", cost)
    assert ui.axisLabel.text == "Axial slices, 3.2 mm apart."
    texts = [ui.axisBox.itemText(index) for index in range(4)]
    assert texts == ["Automatic", "Sagittal (I)", "Coronal (J)", "Axial (K)"]
    assert "does not say its slice thickness" in ui.thicknessLabel.text and "CT model" in ui.modelLabel.text


def test_the_forecast_learns_from_runs_and_counts_what_was_ticked(host, ui, parameters, scan, monkeypatch):
    from dataclasses import replace

    from CycleINRSlicerLib import forecast
    from CycleINRSlicerLib.parameters import optionsOf
    from CycleINRSlicerLib.volume_node import volumeFromNode

    work = forecast.planOf(scan, volumeFromNode(scan), optionsOf(parameters))
    work = replace(work, seconds=10.0)
    monkeypatch.setattr(forecast, "planOf", lambda *_: work)
    monkeypatch.setattr(forecast, "pace", forecast.Pace())
    assert "about 10 s, " in forecast.forecastOf(scan, parameters).text
    forecast.pace.learnRun(work, 25.0)
    forecast.pace.learnRun(replace(work, seconds=0.1), 3.0)  # says more of starting than of computing
    assert "about 25 s, " in forecast.forecastOf(scan, parameters).text
    parameters.makeDifference = True
    forecast.pace.learnDifference(96 * 96 * 48, 4.0)
    assert "about 29 s, " in forecast.forecastOf(scan, parameters).text


def test_the_forecast_follows_the_settings(host, ui, parameters, scan):
    parameters.inputVolume = scan
    parameters.targetKind = type(parameters.targetKind).RATIO
    parameters.ratio = 2
    host.process_events(until=lambda: "96 × 96 × 31" in ui.forecastLabel.text, timeout_s=LIMIT_S)
    assert ui.ratioSpinBox.visible and not ui.spacingSpinBox.visible
    ui.ratioSpinBox.value = 3
    host.process_events(until=lambda: "96 × 96 × 46" in ui.forecastLabel.text, timeout_s=LIMIT_S)
    ui.thicknessAutomaticBox.checked = False
    ui.thicknessSpinBox.value = 0
    host.process_events(until=lambda: "Thin slices with gaps" in ui.thicknessLabel.text, timeout_s=LIMIT_S)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(8 * 8, dtype=np.int16).reshape(1, 8, 8), "has one slice along its through-plane axis"),
        (np.zeros((6, 8, 8), np.int16), "nothing to sharpen"),
        (np.full((6, 8, 8), np.nan, np.float32), "no measured value"),
    ],
)
def test_what_is_wrong_is_said_and_apply_is_off(host, ui, parameters, scene, array, message):
    import slicer

    parameters.inputVolume = slicer.util.addVolumeFromArray(array, np.diag([1.0, 1.0, 5.0, 1.0]))
    host.process_events(until=lambda: message in ui.problemLabel.text, timeout_s=LIMIT_S)
    assert not ui.applyButton.enabled and ui.applyButton.toolTip == ui.problemLabel.text


def test_values_of_neither_ct_nor_mr_ask_for_the_model_at_its_box(host, ui, parameters, scan):
    import slicer

    mask = (slicer.util.arrayFromVolume(scan) > 0).astype(np.uint8)
    parameters.inputVolume = slicer.util.addVolumeFromArray(mask, np.diag([1.0, 1.0, 5.0, 1.0]))
    host.process_events(until=lambda: "those of a mask" in ui.modelLabel.text, timeout_s=LIMIT_S)
    assert not ui.applyButton.enabled and ui.problemLabel.text == ui.modelLabel.text
    assert "choose the model ct or mr." in ui.problemLabel.text
    parameters.model = type(parameters.model).MR
    host.process_events(until=lambda: ui.applyButton.enabled, timeout_s=LIMIT_S)
    assert "as asked for" in ui.modelLabel.text


@pytest.mark.parametrize(("spacing_mm", "why"), [(9, "coarser than the input's 3.2 mm"), (3.2, "3.2 mm apart already")])
def test_a_scan_that_needs_nothing_is_no_error(host, ui, parameters, scan, spacing_mm, why):
    parameters.inputVolume = scan
    ui.spacingSpinBox.value = spacing_mm
    host.process_events(until=lambda: why in ui.hintLabel.text, timeout_s=LIMIT_S)
    assert ui.hintLabel.text.startswith("Nothing to do") and not ui.applyButton.enabled
    assert not ui.problemLabel.visible and not ui.warningLabel.visible


def test_an_empty_scene_greets_without_an_error(host, ui, scene):
    host.process_events(until=lambda: ui.hintLabel.visible, timeout_s=LIMIT_S)
    assert ui.hintLabel.text.startswith("Load a CT or MR scan") and ui.applyButton.toolTip == ui.hintLabel.text
    assert not ui.problemLabel.visible and ui.resultLabel.text == "None yet." and not ui.fadeSlider.visible


def test_apply_and_review_are_in_sight_in_a_small_window(host, ui, parameters, scan):
    """1000 x 600, with a result and a warning, and no need to scroll sideways."""
    import qt
    import slicer

    parameters.resultInput, parameters.resultVolume = scan, thickNode(every=2)
    parameters.inputVolume, parameters.spacingMm = scan, 0.25
    window = slicer.util.mainWindow()
    window.resize(1000, 600)
    host.process_events(until=lambda: ui.warningLabel.visible and ui.reviewButton.visible, timeout_s=LIMIT_S)
    slicer.app.processEvents()
    area = window.findChild(qt.QScrollArea)
    for button in (ui.applyButton, ui.reviewButton, ui.exportButton):
        place = button.mapTo(area, button.rect.bottomRight())
        assert place.x() < area.viewport().width and place.y() < area.viewport().height
    assert not area.horizontalScrollBar().visible


def test_a_request_outside_the_training_is_told_in_a_line_of_its_own(host, ui, parameters, scan):
    parameters.inputVolume = scan
    ready(host, ui)
    assert not ui.warningLabel.visible
    ui.spacingSpinBox.value = 0.25
    host.process_events(until=lambda: "1.5 to 8" in ui.warningLabel.text, timeout_s=LIMIT_S)
    assert ui.warningLabel.visible and ui.applyButton.enabled and ui.problemLabel.text == ""


@pytest.mark.parametrize("kind", ["result", ".nii.gz", ".nrrd", ".mha", "dicom"])
def test_a_scan_that_was_made_by_cycleinr_is_told_as_such(ui, parameters, scan, tmp_path, monkeypatch, kind):
    import slicer
    from CycleINRSlicerLib.forecast import forecastOf
    from CycleINRSlicerLib.volume_node import volumeFromNode

    assert forecastOf(scan, parameters).warning == ""
    if kind == "result":
        scan.SetAttribute("CycleINR.derived", "Derived by CycleINR")
    elif kind == "dicom":
        for n in range(4):
            write_slice(tmp_path / f"{n}.dcm", (0, 0, 4 * n), np.eye(9, dtype=np.uint16), Manufacturer="CycleINR")
        scan = dicomNode(tmp_path, monkeypatch)
    else:
        file = tmp_path / f"saved{kind}"
        write_volume(volumeFromNode(scan), file, {"software": "CycleINR", "version": "1.0.0"})
        scan = slicer.util.loadVolume(str(file))
        assert "was made by CycleINR" in forecastOf(scan, parameters).warning
        file.unlink()  # which is not asked for what it has said
    assert "was made by CycleINR, not acquired" in forecastOf(scan, parameters).warning


def test_a_loaded_scan_whose_path_the_system_refuses_by_now_still_has_its_forecast(parameters, scan, tmp_path):
    import slicer
    from CycleINRSlicerLib.forecast import forecastOf
    from CycleINRSlicerLib.volume_node import volumeFromNode

    write_volume(volumeFromNode(scan), tmp_path / "saved.nrrd")
    loaded = slicer.util.loadVolume(str(tmp_path / "saved.nrrd"))
    loaded.GetStorageNode().SetFileName(str(tmp_path / f"{'long' * 100}.nrrd"))
    assert forecastOf(loaded, parameters).problem == ""


def test_label_maps_and_colour_images_are_not_offered(ui, scene):
    for className in ("vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode"):
        scene.AddNewNodeByClass(className)
    assert ui.inputSelector.nodeCount() == 0


def test_cancel_button(host, ui, parameters, scan):
    parameters.spacingMm = 0.1  # enough work for the fastest computer
    apply(host, ui, parameters, scan)
    host.process_events(until=lambda: ui.applyButton.enabled, timeout_s=5)
    ui.applyButton.click()
    host.process_events(until=lambda: not ui.progressBar.visible, timeout_s=5)
    assert ui.statusLabel.text == "Cancelled. The scene is as it was." and results(scan) == []
    assert ui.applyButton.text == "Apply" and ui.applyButton.enabled


def test_a_double_click_on_apply_starts_one_run(host, ui, parameters, scan):
    parameters.inputVolume = scan
    ready(host, ui)
    ui.applyButton.click()
    ui.applyButton.click()
    finished(host, ui)
    assert len(results(scan)) == 1


def test_settings_stay_readable_and_the_run_keeps_its_own(host, ui, parameters, scan):
    apply(host, ui, parameters, scan)
    assert ui.inputSelector.enabled and ui.spacingSpinBox.enabled and ui.forecastLabel.enabled
    ui.spacingSpinBox.value = 1.6
    host.process_events(until=lambda: "16 → 30" in ui.forecastLabel.text, timeout_s=LIMIT_S)
    finished(host, ui)
    assert parameters.resultVolume.GetSpacing()[2] == pytest.approx(1.0)


def test_reset_to_defaults_keeps_scan_and_result(host, ui, parameters, scan):
    parameters.inputVolume = parameters.resultInput = scan
    ui.spacingSpinBox.value, ui.differenceBox.checked, ui.modelBox.currentIndex = 2.5, True, 1
    ui.resetButton.click()
    assert (parameters.spacingMm, parameters.makeDifference, parameters.model.value) == (1.0, False, "auto")
    assert ui.spacingSpinBox.value == 1.0 and not ui.differenceBox.checked and ui.modelBox.currentIndex == 0
    assert parameters.inputVolume is scan and parameters.resultInput is scan


def test_a_killed_engine_is_a_message_and_the_next_run_works(host, ui, parameters, scan, engine):
    apply(host, ui, parameters, scan)
    os.kill(engine.workerPid, signal.SIGKILL)
    finished(host, ui)
    assert "memory ran out" in ui.problemLabel.text and results(scan) == [] and ui.applyButton.enabled
    ui.applyButton.click()
    finished(host, ui)
    assert len(results(scan)) == 1 and ui.problemLabel.text == ""


def test_closing_the_scene_during_a_run(host, ui, widget, parameters, scan):
    import slicer

    apply(host, ui, parameters, scan)
    slicer.mrmlScene.Clear(0)
    finished(host, ui)
    assert volumeNodes() == [] and not ui.applyButton.enabled
    again = thickNode(every=4)
    widget.logic.getParameterNode().inputVolume = again
    ready(host, ui)
    ui.applyButton.click()
    finished(host, ui)
    assert len(results(again)) == 1


def test_unloading_the_module_during_a_run_ends_the_process(host, ui, parameters, scan, engine):
    apply(host, ui, parameters, scan)
    pid = engine.workerPid
    host.unload_module("CycleINRSlicer")
    assert not isAlive(pid) and results(scan) == []


def test_review_and_back(host, ui, parameters, scan):
    import slicer

    former = slicer.app.layoutManager().layout
    apply(host, ui, parameters, scan)
    finished(host, ui)
    ui.reviewButton.click()
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView
    shown = [
        slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode().GetBackgroundVolumeID()
        for name in ("Red", "Red+")
    ]
    assert shown == [scan.GetID(), parameters.resultVolume.GetID()]
    displays = scan.GetDisplayNode(), parameters.resultVolume.GetDisplayNode()
    displays[0].SetAutoWindowLevel(False)
    displays[0].SetWindowLevel(777, 33)
    assert (displays[1].GetWindow(), displays[1].GetLevel()) == (777, 33)
    ui.reviewButton.click()
    assert slicer.app.layoutManager().layout == former
    displays[0].SetWindowLevel(100, 50)
    assert displays[1].GetWindow() == 777


def test_difference_comes_when_asked_for(host, ui, parameters, scan):
    parameters.makeDifference = True
    apply(host, ui, parameters, scan)
    finished(host, ui)
    assert parameters.differenceVolume.GetName() == "scan 1 mm (CycleINR) minus B-spline"


def test_saved_scene_brings_panel_and_result_back(host, ui, widget, parameters, scan, tmp_path):
    import slicer

    parameters.spacingMm = 1.25
    apply(host, ui, parameters, scan)
    finished(host, ui)
    fine = slicer.util.arrayFromVolume(parameters.resultVolume).copy()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert not ui.reviewButton.enabled
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    restored = widget.logic.getParameterNode()
    ready(host, ui)
    assert restored.inputVolume.GetName() == "scan" and restored.spacingMm == 1.25 and ui.spacingSpinBox.value == 1.25
    assert np.array_equal(slicer.util.arrayFromVolume(restored.resultVolume), fine)
    assert "not acquired" in restored.resultVolume.GetDescription()
    assert restored.resultVolume.GetAttribute("CycleINR.spacing_mm") == "1.25"
    assert ui.reviewButton.enabled


def test_devices_are_listed_with_the_reason(host, ui, parameters, engine):
    host.process_events(until=lambda: ui.deviceLabel.text, timeout_s=LIMIT_S)
    texts = [ui.deviceBox.itemText(index) for index in range(ui.deviceBox.count)]
    assert texts[0] == "Automatic" and texts[-1].startswith("CPU, ")
    assert ui.deviceLabel.text == engine.devices["reason"]
    ui.deviceBox.activated.emit(len(texts) - 1)
    assert parameters.device == "cpu"


def test_panel_builds_without_main_window(host, engine, scene):
    with host.without_main_window():
        loaded = host.load_module(MODULE_FILE)
        scene.Clear(0)
        assert not loaded.widget.ui.applyButton.enabled
        host.unload_module("CycleINRSlicer")


def test_import_and_panel_touch_neither_torch_nor_the_network():
    """In a process of its own: torch cannot be imported, sockets cannot be opened, and the panel still builds."""
    script = """
import socket, sys
sys.modules["torch"] = None
def refuse(*arguments, **named):
    raise AssertionError("the network was used")
import slicer_host
host = slicer_host.start()
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
host.load_module(sys.argv[1], enter=False)
import slicer
slicer.modules.cycleinrslicer.widgetRepresentation()
heavy = ("torch", "SimpleITK", "scipy", "pydicom", "matplotlib", "typer")
print("imported:", [name for name in heavy if sys.modules.get(name)])
host.close()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, str(MODULE_FILE)]
    finished = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert "imported: []" in finished.stdout
