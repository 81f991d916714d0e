"""The logic as scripts use it, and the examples of the README."""

import re

import numpy as np
import pytest
from slicer_scans import LIMIT_S, MODULE_FILE, REPOSITORY, differenceNode, thickNode, volumeNodes


@pytest.fixture
def logic(host, engine):
    return host.load_module(MODULE_FILE, enter=False).python_module.CycleINRSlicerLogic()


def test_process_waits_and_returns_the_node(logic, scene):
    import slicer

    scan = thickNode(every=4)
    result = logic.process(scan, ratio=5 / 3)
    assert result.GetImageData().GetDimensions() == (96, 96, 26)
    assert volumeNodes() == [scan, result]
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    assert logic.process(scan, chosen, ratio=5 / 3, model="ct", device="cpu", memory_limit=0.2) is chosen
    assert np.array_equal(slicer.util.arrayFromVolume(chosen), slicer.util.arrayFromVolume(result))


def test_padding_is_padding_in_the_result_and_no_part_of_the_difference(logic, scene):
    import slicer

    scan = thickNode(every=4)
    array = slicer.util.arrayFromVolume(scan).astype(np.float32)
    array[:, :20] = np.nan
    slicer.util.updateVolumeFromArray(scan, array)
    result = logic.process(scan, ratio=2)
    fine = slicer.util.arrayFromVolume(result)
    assert np.isnan(fine[:, :20]).all() and np.isfinite(fine[:, 20:]).all()
    assert "are padding" in result.GetAttribute("CycleINR.padding")
    difference = differenceNode(scan, result)
    assert np.isfinite(difference.GetDisplayNode().GetWindow())


def test_errors_are_typed_and_open_no_window(logic, scene, host):
    from cycleinr import DeviceError, ModelError, OutOfMemoryError, RequestError
    from CycleINRSlicerLib.volume_node import NodeError

    scan = thickNode(every=4)
    with host.without_testing_mode() as dialogs:
        for error, options in [
            (RequestError, {}),
            (RequestError, {"ratio": 2, "spacing": 1}),
            (RequestError, {"spacing": 40}),
            (RequestError, {"ratio": 2, "axis": "x"}),
            (DeviceError, {"ratio": 2, "device": "cuda:7"}),
            (ModelError, {"ratio": 2, "model": "nowhere.safetensors"}),
            (OutOfMemoryError, {"ratio": 2, "memory_limit": 1e-6}),
        ]:
            with pytest.raises(error):
                logic.process(scan, **options)
        with pytest.raises(NodeError):
            logic.process(None, ratio=2)
        assert dialogs.shown == []
    assert volumeNodes() == [scan]


def test_examples_of_the_user_guide_run(logic, scene, host):
    """Those for the Python console, as they stand, on the scene that they start from."""
    import slicer

    thickNode(every=4, name="CT")
    text = (REPOSITORY / "docs" / "user-guide.md").read_text(encoding="utf-8")
    section = text[text.index("## Python console") :]
    examples = re.findall(r"```python\n(.*?)```", section[: section.index("\n## ", 5)], re.S)
    assert len(examples) >= 2
    names = {"slicer": slicer, "getNode": slicer.util.getNode}
    for example in examples:
        exec(compile(example, "user-guide.md", "exec"), names)
    run = names["run"]
    host.process_events(until=lambda: run.isFinished, timeout_s=LIMIT_S)
    assert run.state.value == "done" and run.error is None
    assert {"result", "run"} <= set(names) and len(volumeNodes()) >= 3
