"""Loading scripted modules and driving their panels."""

from pathlib import Path

import numpy as np
import pytest
import shiboken6

TOY = Path(__file__).parent / "toy" / "HostToy.py"


@pytest.fixture
def toy(host):
    return host.load_module(TOY)


def add_volume(name="input", shape=(3, 4, 5)):
    import slicer

    return slicer.util.addVolumeFromArray(np.ones(shape, np.int16), name=name)


def test_a_click_on_apply_reaches_the_logic(toy):
    import slicer

    toy.widget.ui.inputSelector.setCurrentNode(add_volume())
    toy.widget.ui.factorSlider.value = 5
    toy.widget.ui.applyButton.click()
    output = slicer.util.getNode("input x5")
    assert slicer.util.arrayFromVolume(output).max() == 5


def test_the_panel_follows_the_scene(toy, host):
    button = toy.widget.ui.applyButton
    assert not button.enabled
    toy.widget.ui.inputSelector.setCurrentNode(add_volume())
    assert button.enabled
    host.clear_scene()
    assert not button.enabled


def test_modules_are_where_slicer_keeps_them(toy):
    import slicer

    assert slicer.modules.hosttoy.path == str(TOY)
    assert slicer.modules.HostToyWidget is toy.widget
    assert slicer.modules.HostToyInstance.parent.title == "Toy"
    assert slicer.util.getModuleLogic("HostToy") is toy.widget.logic
    assert slicer.util.getModuleWidget("HostToy") is toy.widget


def test_parent_attributes_that_slicer_lacks_cannot_be_set(toy):
    with pytest.raises(AttributeError):
        toy.parent.catagories = []


def test_enter_exit_and_cleanup(host, toy):
    import slicer

    events = toy.python_module.events
    assert events == ["enter"] and toy.widget.parent.isEntered
    slicer.util.mainWindow().moduleSelector().selectModule("")
    assert events == ["enter", "exit"] and not toy.widget.parent.isEntered
    slicer.util.selectModule("HostToy")
    host.unload_module("HostToy")
    assert events == ["enter", "exit", "enter", "exit", "cleanup"]
    assert not hasattr(slicer.modules, "hosttoy")


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_left_of_an_unloaded_panel_hears_the_scene_no_more(host, scene, monkeypatch, fails):
    """Garbage that still listens may be collected in the midst of it."""
    loaded = host.load_module(TOY, enter=False)
    if fails:
        monkeypatch.delattr(loaded.python_module.HostToyLogic, "getParameterNode")
        monkeypatch.delattr("slicer.ScriptedLoadableModule.ScriptedLoadableModuleLogic.getParameterNode")
        with pytest.raises(AttributeError):
            _ = loaded.widget
    selector = loaded.parent.widgetRepresentation().self().ui.inputSelector
    assert selector.nodeCount() == 0

    host.unload_module("HostToy")
    add_volume()

    assert not shiboken6.isValid(selector)


@pytest.mark.parametrize("_round", range(3))
def test_many_panels_in_one_process(host, _round):
    loaded = host.load_module(TOY)
    host.unload_module("HostToy")
    again = host.load_module(TOY)
    assert again.widget is not loaded.instance


def test_without_a_main_window(host):
    import slicer

    with host.without_main_window():
        assert slicer.util.mainWindow() is None and slicer.app.layoutManager() is None
        loaded = host.load_module(TOY)
        loaded.widget.ui.inputSelector.setCurrentNode(add_volume())
        loaded.widget.ui.applyButton.click()
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2
        host.unload_module("HostToy")
    assert slicer.util.mainWindow() is not None


def test_self_test_reload_and_test(toy):
    import slicer

    slicer.selfTests["HostToy"]()
    assert toy.python_module.events[-1] == "tested"
    toy.widget.onReloadAndTest()
    reloaded = slicer.modules.HostToyWidget
    assert reloaded is toy.widget, "the panel's C++ side stays, the Python side is new"
    import HostToy

    assert HostToy is not toy.python_module
    assert HostToy.events == ["tested"]


def test_sample_data_is_registered_at_startup(toy):
    import SampleData

    source = SampleData.SampleDataLogic.sourceForSampleName("ToySample")
    assert source.fileNames == ["toy.nrrd"]
    with pytest.raises(RuntimeError, match="downloads nothing"):
        SampleData.downloadSample("ToySample")


def test_an_exception_in_a_slot_is_noticed(host, toy):
    toy.widget.ui.inputSelector.setCurrentNode(add_volume())
    toy.widget.ui.factorSlider.value = 3
    toy.widget.ui.applyButton.click()
    (error,) = host.errors.take()
    assert str(error) == "three is not allowed"


def test_a_module_that_does_not_load_leaves_nothing_behind(host, tmp_path):
    import sys

    broken = tmp_path / "Broken.py"
    broken.write_text("import slicer\nslicer.qMRMLThreeDWidget\n")
    with pytest.raises(AttributeError, match="qMRMLThreeDWidget is not provided by the test host"):
        host.load_module(broken)
    assert "Broken" not in sys.modules
