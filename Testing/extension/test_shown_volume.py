"""Which scan is taken while none is chosen: the one on screen, whoever put it there and whatever was loaded last."""

import gc

import numpy as np
from panel_steps import finished, ready, results
from slicer_scans import LIMIT_S, thickNode

VIEWS = ("Red", "Green", "Yellow")


def show(node, *views):
    """As a slice view's own selector and the eye in the module Data do it: in the composite nodes alone."""
    import slicer

    for name in views or VIEWS:
        composite = slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode()
        composite.SetBackgroundVolumeID(node.GetID() if node else None)


def load(node):
    """As after loading a file: Slicer's active volume, in all views."""
    import slicer

    slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(node.GetID())
    slicer.app.applicationLogic().PropagateVolumeSelection()


def shownAs(host, ui, text):
    host.process_events(until=lambda: ui.inputLabel.text == text, timeout_s=LIMIT_S)


def test_the_scan_on_screen_is_taken_not_the_one_loaded_last(host, ui, scan):
    host.process_events(until=lambda: "Load a CT or MR scan" in ui.hintLabel.text, timeout_s=LIMIT_S)
    assert not ui.applyButton.enabled
    other = thickNode(every=5, name="other")
    load(scan)
    load(other)
    shownAs(host, ui, "other")
    show(scan)
    shownAs(host, ui, "scan")
    ready(host, ui)
    ui.applyButton.click()
    finished(host, ui)
    assert [node.GetName() for node in results(scan) if node is not other] == ["scan 1 mm (CycleINR)"]


def test_the_forecast_follows_the_screen(host, ui, scan):
    load(scan)
    host.process_events(until=lambda: "slices: 16 →" in ui.forecastLabel.text, timeout_s=LIMIT_S)
    show(thickNode(every=8, name="other"))
    host.process_events(until=lambda: "slices: 8 →" in ui.forecastLabel.text, timeout_s=LIMIT_S)
    show(None)
    host.process_events(until=lambda: "Load a CT or MR scan" in ui.hintLabel.text, timeout_s=LIMIT_S)
    assert ui.inputLabel.text == "" and not ui.applyButton.enabled


def test_a_view_that_is_not_in_the_layout_does_not_count(host, ui, scan):
    import slicer

    other = thickNode(every=5, name="other")
    show(scan, "Red")
    show(other, "Green", "Yellow")
    shownAs(host, ui, "scan")
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpGreenSliceView)
    shownAs(host, ui, "other")
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView)
    shownAs(host, ui, "scan")


def test_a_segmentation_on_screen_is_no_scan(host, ui, scene, scan):
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    show(labels, "Red")
    show(scan, "Green", "Yellow")
    shownAs(host, ui, "scan")


def test_after_a_run_the_scan_of_the_result_on_screen_is_taken(host, ui, parameters, scan):
    load(scan)
    ready(host, ui)
    ui.applyButton.click()
    finished(host, ui)
    shownAs(host, ui, "scan, the original of what is on screen")
    parameters.spacingMm = 2
    ready(host, ui)
    ui.applyButton.click()
    finished(host, ui)
    assert [node.GetName() for node in results(scan)] == ["scan 1 mm (CycleINR)", "scan 2 mm (CycleINR)"]


def test_deleting_the_scan_on_screen_is_said(host, ui, scene, scan):
    load(scan)
    shownAs(host, ui, "scan")
    scene.RemoveNode(scan)
    host.process_events(until=lambda: "Load a CT or MR scan" in ui.hintLabel.text, timeout_s=LIMIT_S)
    assert not ui.applyButton.enabled


def test_without_slice_views_the_volume_loaded_last_is_taken(host, scene, monkeypatch):
    import slicer
    from CycleINRSlicerLib import views

    scan = thickNode(every=4)
    slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(scan.GetID())
    assert views.shownVolumeNode() is None  # there are views, and they show nothing
    monkeypatch.setattr(views, "sliceNodes", lambda: [])
    assert views.shownVolumeNode() is scan


def test_scans_that_were_looked_at_do_not_stay_in_memory(host, ui, widget, parameters, scene):
    import slicer
    import vtk

    references = []
    parameters.model = type(parameters.model).MR
    for number in range(10):
        voxels = np.random.default_rng(number).integers(0, 99, (8 + number, 9, 10), np.int16)
        scan = slicer.util.addVolumeFromArray(voxels, np.diag([1, 1, 4, 1]))
        references.append(vtk.vtkWeakReference())
        references[-1].Set(scan)
        parameters.inputVolume = scan if number % 2 else None
        load(scan)
        said = f"slices: {8 + number} →"
        host.process_events(until=lambda said=said: said in ui.forecastLabel.text, timeout_s=LIMIT_S)
    del scan
    slicer.mrmlScene.Clear(0)
    gc.collect()
    assert sum(reference.Get() is not None for reference in references) == 0
