"""Typed parameters over the real parameter node, and their widgets."""

import enum
import pathlib
from typing import Annotated, Literal

import pytest

pytestmark = pytest.mark.usefixtures("host")


class Device(enum.Enum):
    CPU = "cpu"
    CUDA = "cuda"

    def label(self):
        return self.value.upper()


@pytest.fixture
def node(scene):
    return scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters")


@pytest.fixture
def wrapper():
    import slicer
    from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        spacing: Annotated[float, WithinRange(0.2, 10)] = 1.0
        tiles: Annotated[int, Default(4)]
        name: str
        linked: bool = True
        device: Device = Device.CUDA
        quality: Annotated[str, Choice(["fast", "best"])] = "best"
        model: pathlib.Path
        seed: int | None = None

    return Parameters


def test_defaults(node, wrapper):
    parameters = wrapper(node)
    values = [getattr(parameters, name) for name in wrapper.allParameters]
    assert values == [None, 1.0, 4, "", True, Device.CUDA, "best", pathlib.Path("."), None]


def test_values_survive_the_scene_file(scene, node, wrapper, tmp_path):
    import numpy as np
    import slicer

    node.SetSingletonTag("Parameters")
    parameters = wrapper(node)
    parameters.volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="scan")
    parameters.spacing, parameters.device, parameters.seed, parameters.linked = 0.7, Device.CPU, 5, False
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    restored = wrapper(slicer.util.getNode("Parameters"))
    assert restored.volume.GetName() == "scan"
    assert (restored.spacing, restored.device, restored.seed, restored.linked) == (0.7, Device.CPU, 5, False)


def test_values_are_stored_as_slicer_stores_them(node, wrapper):
    parameters = wrapper(node)
    parameters.seed = 5
    assert node.GetParameter("device") == "CUDA" and node.GetParameter("linked") == "True"
    assert node.GetParameter("seed.0") == "5" and not node.HasParameter("seed.1")


def test_a_prefix_keeps_two_sets_apart(node, wrapper):
    first, second = wrapper(node, "a."), wrapper(node, "b.")
    first.tiles = 9
    assert second.tiles == 4


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("spacing", 0.1, ValueError),
        ("spacing", "1", TypeError),
        ("quality", "medium", ValueError),
        ("tiles", 1.5, TypeError),
        ("device", "cpu", TypeError),
        ("name", None, TypeError),
    ],
)
def test_wrong_values_are_refused(node, wrapper, name, value, error):
    with pytest.raises(error):
        setattr(wrapper(node), name, value)


@pytest.mark.parametrize("hint", [Literal["a", "b"], complex, list])
def test_types_that_are_not_provided_fail(hint):
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(TypeError, match="stores no parameters"):
        parameterNodeWrapper(type("Parameters", (), {"__annotations__": {"value": hint}}))


def test_one_event_for_several_changes(node, wrapper):
    import slicer

    parameters, events = wrapper(node), []
    parameters.AddObserver("ModifiedEvent", lambda *_: events.append(1))
    with slicer.util.NodeModify(parameters):
        parameters.tiles, parameters.name = 8, "new"
    assert len(events) == 1


def test_gui_in_both_directions(scene, node, wrapper):
    from slicer.parameterNodeWrapper import createGui

    del wrapper.allParameters["seed"], wrapper.allParameters["model"]  # Slicer makes no widget for a union either
    gui, parameters = createGui(wrapper), wrapper(node)
    gui.setMRMLScene(scene)
    tag = parameters.connectGui(gui)
    import slicer

    widgets = {w.property("SlicerParameterName"): w for w in slicer.util.findChildren(gui)}
    assert widgets["spacing"].maximum == 10 and widgets["device"].currentText == "CUDA"
    parameters.spacing, parameters.device = 2.5, Device.CPU
    assert widgets["spacing"].value == 2.5 and widgets["device"].currentText == "CPU"
    widgets["tiles"].value, widgets["quality"].currentIndex, widgets["linked"].checked = 7, 0, False
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scan")
    widgets["volume"].setCurrentNode(volume)
    assert (parameters.tiles, parameters.quality, parameters.linked) == (7, "fast", False)
    assert parameters.volume is volume
    parameters.disconnectGui(tag)
    parameters.tiles = 1
    widgets["name"].text = "ignored"
    assert widgets["tiles"].value == 7 and parameters.name == ""


def test_widgets_that_slicer_cannot_connect_fail(node, wrapper):
    import qt

    class MyCheckBox(qt.QCheckBox):
        pass

    parameters = wrapper(node)
    with pytest.raises(RuntimeError, match="unable to connect"):
        parameters.connectParametersToGui({"linked": MyCheckBox()})
    with pytest.raises(ValueError, match="cannot find"):
        parameters.connectParametersToGui({"linkde": qt.QCheckBox()})
