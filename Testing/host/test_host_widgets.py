"""CTK widgets and the node selector."""

import pytest

pytestmark = pytest.mark.usefixtures("host")

VOLUME = "vtkMRMLScalarVolumeNode"


@pytest.fixture
def selector(scene):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = [VOLUME]
    selector.noneEnabled = True
    selector.setMRMLScene(scene)
    return selector


def test_slider_widget():
    import ctk

    slider, values = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", values.append)
    slider.minimum, slider.maximum, slider.decimals, slider.value = 0.5, 5, 2, 1.25
    assert values == [0.5, 1.25] and slider.value == 1.25
    slider.value = 100
    assert slider.value == 5


def test_collapsible_button():
    import ctk
    import qt

    group = ctk.ctkCollapsibleButton()
    child = qt.QLabel("inside")
    qt.QVBoxLayout(group).addWidget(child)
    group.text, group.collapsed = "Advanced", True
    group.show()
    assert not child.visible
    group.collapsed = False
    assert child.visible and group.checked


def test_what_ctk_has_and_the_host_lacks_fails():
    import ctk

    with pytest.raises(AttributeError, match="not provided by the test host"):
        ctk.ctkRangeWidget()


def test_selector_announces_its_node(scene, selector):
    seen = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    volume = scene.AddNewNodeByClass(VOLUME, "a")
    assert selector.currentNode() is None, "None stays selected"
    selector.setCurrentNode(volume)
    scene.RemoveNode(volume)
    assert seen == [volume, None]


def test_selector_without_none_is_never_empty(scene, selector):
    selector.noneEnabled = False
    first, second = (scene.AddNewNodeByClass(VOLUME, name) for name in "ab")
    assert selector.currentNode() is first
    scene.RemoveNode(first)
    assert selector.currentNodeID == second.GetID()


def test_selector_lists_only_its_types(scene, selector):
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert selector.nodeCount() == 1, "a label map is a scalar volume"
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 0


def test_selector_hides_hidden_nodes(scene, selector):
    scene.AddNewNodeByClass(VOLUME, "shown").SetHideFromEditors(True)
    selector.showHidden = True
    assert selector.nodeCount() == 1


def test_selector_creates_nodes_with_the_base_name(scene, selector):
    selector.baseName = "Result"
    node = selector.addNode()
    assert selector.currentNode() is node and node.GetName() == "Result"


def test_selector_without_a_scene_is_disabled_and_remembers(scene):
    import slicer

    volume = scene.AddNewNodeByClass(VOLUME, "a")
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.noneEnabled = [VOLUME], True
    selector.setCurrentNode(volume)
    assert selector.currentNode() is None
    selector.setMRMLScene(scene)
    assert selector.currentNode() is volume and selector.enabled


def test_selector_filters_by_attribute(scene, selector):
    scene.AddNewNodeByClass(VOLUME, "a")
    scene.AddNewNodeByClass(VOLUME, "b").SetAttribute("made.by", "toy")
    selector.addAttribute(VOLUME, "made.by", "toy")
    assert [selector.nodeFromIndex(i).GetName() for i in range(selector.nodeCount())] == ["b"]
