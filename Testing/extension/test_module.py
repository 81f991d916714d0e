"""The module around its panel: visits, reloading, cleaning up, the sample scan."""

import gc
import importlib
import shutil
import sys

import pytest
from slicer_scans import MODULE_FILE

SAMPLE_SHAPE = (358, 422, 34)


@pytest.fixture
def module(host, engine):
    return host.load_module(MODULE_FILE)


def ours():
    return {name: part for name, part in sys.modules.items() if name.startswith(("CycleINRSlicerLib", "cycleinr"))}


@pytest.fixture
def modules_of_now():
    """The modules that were imported before the test are those of the tests after it, too."""
    before = ours()
    yield before
    for name in ours():
        del sys.modules[name]
    sys.modules.update(before)


def test_visits_leave_nothing_behind(host, module, scene):
    from CycleINRSlicerLib.parameters import CycleINRSlicerParameterNode

    def wrappers():
        gc.collect()
        return [each for each in gc.get_objects() if isinstance(each, CycleINRSlicerParameterNode)]

    assert len(wrappers()) == 1  # the module's own
    for _ in range(10):
        host.enter_module("")
        host.enter_module("CycleINRSlicer")
    for _ in range(3):
        scene.Clear(0)
    assert len(wrappers()) == 1
    assert len(module.widget.Observations) == 3  # of the scene


def test_settings_follow_the_scene_that_is_open(module, scene, tmp_path):
    import slicer

    parameters = module.widget.logic.getParameterNode()
    parameters.spacingMm = 1.75
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert module.widget.ui.spacingSpinBox.value == 1
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert module.widget.ui.spacingSpinBox.value == module.widget.logic.getParameterNode().spacingMm == 1.75
    module.widget.ui.spacingSpinBox.value = 2.5
    assert module.widget.logic.getParameterNode().spacingMm == 2.5


def test_what_slicer_5_10_forgets_to_remove_is_removed(module, scene, monkeypatch):
    """Its ``disconnectGui`` leaves an observer, so that each scene adds one more update of all widgets."""
    parameters, updates = module.widget.logic.getParameterNode(), []

    def disconnectGui(self, tag):
        connectors, _observer = self._guis.pop(tag)
        for connector in connectors.values():
            connector.on_changed(None)

    monkeypatch.setattr(type(parameters), "disconnectGui", disconnectGui)
    monkeypatch.setattr(type(parameters), "_update_gui", lambda _self: updates.append(1))
    for _ in range(3):
        scene.Clear(0)
    updates.clear()
    parameters.Modified()
    assert updates == [1]


def test_reload_takes_the_new_code_of_the_whole_library(module, engine, modules_of_now):
    before = importlib.import_module("CycleINRSlicerLib.panel")
    engine.start()
    module.widget.onReload()
    after = importlib.import_module("CycleINRSlicerLib.panel")
    assert after is not before and type(module.widget.panel) is after.Panel
    assert importlib.import_module("cycleinr.geometry") is not modules_of_now["cycleinr.geometry"]
    assert not engine.isRunning and module.widget.ui.applyButton.text == "Apply"


def test_a_panel_that_could_not_be_built_can_be_reloaded(host, engine, monkeypatch, modules_of_now):
    import slicer
    from CycleINRSlicerLib import panel

    def mistake(_ui):
        raise NameError("a mistake of the developer")

    monkeypatch.setattr(panel, "Panel", mistake)
    module = host.load_module(MODULE_FILE, enter=False)
    with pytest.raises(NameError):
        _ = module.widget
    monkeypatch.undo()
    slicer.modules.CycleINRSlicerWidget.cleanup()


def test_a_translated_panel_keeps_its_settings(host, engine):
    from PySide6 import QtCore

    class Capitals(QtCore.QTranslator):
        def isEmpty(self):
            return False

        def translate(self, _context, text, *_):
            return text.upper()

    language = Capitals()
    QtCore.QCoreApplication.installTranslator(language)
    try:
        widget = host.load_module(MODULE_FILE).widget
    finally:
        QtCore.QCoreApplication.removeTranslator(language)
    assert widget.ui.scanSection.text == "FINER SLICES"
    widget.ui.ratioSpinBox.value = 2.5
    assert widget.logic.getParameterNode().ratio == 2.5


# -- the sample scan
def test_sample_scan_is_offered_and_loads_without_network(module):
    import SampleData
    from CycleINRSlicerLib.sample import SAMPLE_NAME, SAMPLE_NODE_NAME

    node = SampleData.downloadSample(SAMPLE_NAME)
    assert node.GetName() == SAMPLE_NODE_NAME and node.GetImageData().GetDimensions() == SAMPLE_SHAPE


def test_sample_scan_loads_from_a_folder_with_any_name(module, monkeypatch, tmp_path):
    """Its address is a URL, in which these characters mean something; so does a drive's colon on Windows."""
    import SampleData
    from CycleINRSlicerLib.sample import SAMPLE_NAME

    folder = tmp_path / "50% #2 ü" / "CycleINRSlicer"
    shutil.copytree(MODULE_FILE.parent / "Resources", folder / "Resources")
    import slicer

    slicer.modules.sampleDataSources.clear()
    monkeypatch.setattr(module.python_module, "__file__", str(folder / MODULE_FILE.name))
    module.python_module.registerSampleData()
    (source,) = slicer.modules.sampleDataSources["CycleINR"]
    source.fileNames = ["from_elsewhere.nii.gz"]  # not in the cache yet
    assert SampleData.downloadSample(SAMPLE_NAME).GetImageData().GetDimensions() == SAMPLE_SHAPE


def test_a_sample_scan_that_an_older_version_left_in_the_cache_is_replaced(module):
    import SampleData
    import slicer
    from CycleINRSlicerLib.sample import SAMPLE_FILE, SAMPLE_NAME

    older = SampleData.SampleDataLogic().downloadFileIntoCache(
        (MODULE_FILE.parents[1] / "Testing" / "data" / "ct_chest_0p8mm.nii.gz").as_uri(), SAMPLE_FILE, None, True
    )
    assert slicer.util.loadVolume(older).GetImageData().GetDimensions() != SAMPLE_SHAPE
    assert SampleData.downloadSample(SAMPLE_NAME).GetImageData().GetDimensions() == SAMPLE_SHAPE


def test_self_test_needs_no_start_up(module):
    """A module that is added to a running Slicer never hears that the start-up is over."""
    import slicer

    slicer.modules.sampleDataSources.clear()
    module.instance.runTest(msec=1)
