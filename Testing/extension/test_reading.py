"""A reader's tools on a result: windows, fading, flicker, slabs, keys, error map, removal; real views and widgets."""

import numpy as np
import pytest
from cycleinr.windows import CT_WINDOWS
from panel_steps import finished, ready
from slicer_scans import LIMIT_S, thickNode, volumeNodes

VIEWS = ("Red", "Yellow", "Green")


@pytest.fixture
def pair(host, ui, parameters, scene):
    """A scan and a finer volume in the place of its result, shown in the four-up layout."""
    import slicer

    scan, result = thickNode(every=4), thickNode(every=2, name="result")
    result.SetNodeReferenceID("CycleINR.input", scan.GetID())
    parameters.resultInput, parameters.resultVolume = scan, result
    slicer.util.setSliceViewerLayers(background=result, fit=True)
    host.process_events(until=lambda: ui.fadeSlider.visible, timeout_s=LIMIT_S)
    return scan, result


def composite(view):
    import slicer

    return slicer.app.layoutManager().sliceWidget(view).mrmlSliceCompositeNode()


def layers(view="Red"):
    """What is behind and in front, and how opaque that is."""
    import slicer

    node = composite(view)
    found = (
        slicer.mrmlScene.GetNodeByID(each or "")
        for each in (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID())
    )
    return (*found, node.GetForegroundOpacity())


def windows(*nodes):
    displays = [node.GetDisplayNode() for node in nodes]
    return {(display.GetWindow(), display.GetLevel()) for display in displays}


def press(host, key, widget=None):
    """A key in the main window or one of its widgets, as Qt delivers it."""
    import qt
    import slicer
    from PySide6 import QtTest

    window = slicer.util.mainWindow()
    window.activateWindow()
    host.process_events(until=lambda: window.isActiveWindow, timeout_s=LIMIT_S)
    QtTest.QTest.keyClick(widget or window, getattr(qt.Qt, f"Key_{key}"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Brain", (80, 40)),
        ("Bone", (2000, 500)),
        ("Lung", (1500, -600)),
        ("Soft tissue", (400, 40)),
        ("Abdomen", (350, 40)),
    ],
)
def test_a_window_is_set_on_original_and_result_at_once(ui, pair, text, expected):
    index = ui.windowBox.findText(text)
    ui.windowBox.activated.emit(index)
    assert windows(*pair) == {expected} and ui.windowBox.currentIndex == index


def test_the_automatic_window_goes_by_what_the_scan_shows(ui, pair):
    ui.windowBox.activated.emit(ui.windowBox.findText("Automatic"))
    assert windows(*pair) == {(1500, -600)}
    pair[1].GetDisplayNode().SetWindowLevel(10, 20)
    ui.fadeSlider.value = 50  # any use brings the panel up to date
    assert ui.windowBox.currentText == "As it is"


def test_mr_has_the_automatic_window_only(ui, parameters, pair, scene):
    import slicer

    values = np.tile(np.arange(1000, dtype=np.int16), 80).reshape(8, 100, 100)
    parameters.resultInput = mr = slicer.util.addVolumeFromArray(values, np.diag([1, 1, 4, 1]), "knee")
    before = windows(mr)
    ui.windowBox.activated.emit(ui.windowBox.findText("Bone"))
    assert windows(mr) == before and "knee is no CT" in ui.statusLabel.text
    ui.windowBox.activated.emit(ui.windowBox.findText("Automatic"))
    ((width, level),) = windows(mr, pair[1])
    assert 950 < width < 1000 and 480 < level < 520


def test_fading_blends_original_and_result(ui, pair):
    scan, result = pair
    ui.fadeSlider.value = 40
    assert {layers(view) for view in VIEWS} == {(scan, result, 0.4)}
    ui.fadeSlider.value = 0
    assert layers()[:2] == (scan, None)
    ui.fadeSlider.value = 100
    assert layers()[:2] == (result, None)


def test_fading_leaves_a_fused_volume_alone(ui, pair, scene):
    other = thickNode(every=5, name="other")
    composite("Red").SetForegroundVolumeID(other.GetID())
    ui.fadeSlider.value = 30
    assert layers("Red")[:2] == (pair[1], other) and layers("Green")[:2] == pair


def test_in_the_review_the_lower_row_fades(ui, pair):
    scan, result = pair
    ui.reviewButton.click()
    ui.fadeSlider.value = 0
    assert layers("Red")[0] is scan and layers("Red+")[0] is scan
    ui.fadeSlider.value = 60
    assert layers("Red")[:2] == (scan, None) and layers("Red+") == (scan, result, 0.6)
    ui.reviewButton.click()
    assert layers("Red")[:2] == (result, None)


@pytest.mark.parametrize(("kind", "reduce"), [(1, np.mean), (2, np.max)])
def test_slabs_in_all_views(host, ui, pair, kind, reduce):
    import slicer

    ui.slabSpinBox.enabled = True
    ui.slabSpinBox.value = 8
    ui.slabBox.activated.emit(kind)
    view = slicer.app.layoutManager().sliceWidget("Red")
    assert ui.slabBox.currentIndex == kind and ui.slabSpinBox.enabled
    reslice = view.sliceLogic().GetBackgroundLayer().GetReslice()
    assert (
        reslice.GetSlabNumberOfSlices() > 4
        and reslice.GetSlabMode() == view.mrmlSliceNode().GetSlabReconstructionType()
    )
    ui.reviewButton.click()
    shown = [node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.IsMappedInLayout()]
    assert len(shown) == 6 and {node.GetSlabReconstructionThickness() for node in shown} == {8}
    ui.reviewButton.click()
    ui.slabBox.activated.emit(0)
    assert not view.mrmlSliceNode().GetSlabReconstructionEnabled() and not ui.slabSpinBox.enabled


def test_keys_work_while_the_module_is_open(host, widget, ui, pair):
    scan, result = pair
    press(host, "O")
    assert layers()[:2] == (scan, None) and ui.fadeSlider.value == 0
    press(host, "O")
    assert layers()[:2] == (result, None)
    press(host, "2")
    assert windows(*pair) == {(2000, 500)}
    press(host, "S")
    assert ui.slabBox.currentText == "Mean"
    press(host, "S")
    press(host, "S")
    assert ui.slabBox.currentText == "Single slices"
    ui.spacingSpinBox.setFocus()
    ui.spacingSpinBox.selectAll()
    press(host, "3", ui.spacingSpinBox)
    assert ui.spacingSpinBox.value == 3 and windows(*pair) == {(2000, 500)}  # a text field keeps its keys
    host.enter_module("")
    press(host, "O")
    assert layers()[:2] == (result, None)


def test_every_key_is_in_the_help(host, widget):
    import slicer
    from CycleINRSlicerLib.reading import FLICKER_KEY, PREVIEW_KEY, SLAB_KEY, WINDOWS

    names = ["automatic", *(CT_WINDOWS[name].name for name in WINDOWS[1:])]
    said = [
        f"{PREVIEW_KEY} previews",
        f"{FLICKER_KEY} flickers",
        f"{SLAB_KEY} takes",
        *(f"{key} {name}" for key, name in enumerate(names)),
    ]
    assert [text for text in said if text not in slicer.modules.cycleinrslicer.helpText] == []


def test_removing_the_result_brings_the_scan_back(ui, parameters, pair):
    scan, _result = pair
    parameters.differenceVolume = thickNode(every=3, name="difference")
    ui.reviewButton.click()
    ui.removeButton.click()
    assert volumeNodes() == [scan] and layers("Red")[:2] == (scan, None)
    assert ui.resultLabel.text == "None yet." and not ui.reviewButton.enabled and not ui.fadeSlider.visible


def test_the_error_map_fades_and_goes_with_the_result(host, ui, parameters, scene):
    import slicer

    scan = parameters.inputVolume = thickNode(every=4)
    parameters.spacingMm = 1.6
    ready(host, ui)
    ui.applyButton.click()
    finished(host, ui)
    ui.checkButton.click()
    finished(host, ui)
    mapNode = parameters.checkVolume
    assert layers()[1] is mapNode and ui.mapOpacitySlider.visible
    ui.mapOpacitySlider.value = 25
    assert layers()[2] == 0.25
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(mapNode)
    assert legend.GetVisibility() and "Error, HU" in legend.GetTitleText()
    ui.fadeSlider.value = 50
    assert layers() == (scan, parameters.resultVolume, 0.5) and not legend.GetVisibility()
    assert ui.mapButton.text == "Show error map" and not ui.mapOpacitySlider.visible
    ui.mapButton.click()
    assert layers()[1] is mapNode and ui.fadeSlider.value == 100
    ui.removeButton.click()
    assert volumeNodes() == [scan]
    for kind in ("PlotChart", "PlotSeries", "Table", "ColorLegendDisplay"):
        assert slicer.util.getNodesByClass(f"vtkMRML{kind}Node") == []
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeDisplayNode") == [scan.GetDisplayNode()]
