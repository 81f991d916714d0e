"""Nothing is installed or asked for before a result; PyTorch is offered after one, where a GPU could use it."""

import importlib.machinery
import os
import sys
import types

import pytest
from panel_steps import finished, ready, results
from slicer_scans import thickNode

pytestmark = pytest.mark.usefixtures("host")

WITHOUT_TORCH = """
import importlib.metadata, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
version = importlib.metadata.version
def without_torch(name):
    if name in ("torch", "safetensors"):
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = without_torch
"""


@pytest.fixture
def devices(host):
    from CycleINRSlicerLib import panel as devices

    return devices


@pytest.fixture
def without_torch(coldEngine, monkeypatch, tmp_path):
    """The engine's process finds neither PyTorch nor safetensors."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TORCH)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH")))))


@pytest.fixture
def gpu(devices, monkeypatch):
    """A GPU that PyTorch could use, no PyTorch, and settings as Slicer has them at first."""
    import qt

    monkeypatch.setattr(devices, "torch_version", lambda: None)
    monkeypatch.setattr(devices, "has_gpu_driver", lambda: True)
    qt.QSettings().remove("CycleINR")
    yield
    qt.QSettings().remove("CycleINR")


@pytest.fixture
def opened(gpu, monkeypatch):
    """With the extension PyTorch installed; receives the modules that were opened."""
    import slicer

    module, opened = types.ModuleType("PyTorchUtils"), []
    module.__spec__ = importlib.machinery.ModuleSpec("PyTorchUtils", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    monkeypatch.setattr(slicer.util, "selectModule", opened.append)
    return opened


@pytest.fixture
def asking(host):
    """Slicer outside testing mode, where message boxes open."""
    with host.without_testing_mode() as dialogs:
        yield dialogs


def smallNode():
    import slicer

    node = thickNode(every=4)
    slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node)[:6, :40, :44].copy())
    return node


@pytest.fixture
def scan(scene):
    return smallNode()


def applied(host, ui, parameters, scan):
    """Press Apply and wait for the result."""
    parameters.inputVolume, parameters.spacingMm = scan, 2.0
    ready(host, ui)
    ui.applyButton.click()
    finished(host, ui)
    assert "Done in" in ui.statusLabel.text, ui.problemLabel.text


# -- nothing to install
def test_one_press_of_apply_is_all(host, without_torch, asking, devices, ui, parameters, scan, monkeypatch):
    monkeypatch.setattr(devices, "torch_version", lambda: None)
    monkeypatch.setattr(devices, "has_gpu_driver", lambda: False)
    applied(host, ui, parameters, scan)

    assert len(results(scan)) == 1
    assert asking.shown == [] and not ui.offerLabel.visible


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_scripts_need_nothing_either(host, without_torch, asking, widget, scan, device):
    assert widget.logic.process(scan, ratio=2, device=device).GetImageData() is not None
    assert asking.shown == []


# -- the offer
def test_pytorch_is_offered_after_a_result(host, opened, asking, ui, parameters, scan):
    assert not ui.offerLabel.visible
    applied(host, ui, parameters, scan)
    assert ui.offerLabel.visible and 'href="PyTorchUtils"' in ui.offerLabel.text and asking.shown == []

    ui.offerLabel.linkActivated.emit("PyTorchUtils")
    assert opened == ["PyTorchUtils"]
    assert not ui.offerLabel.visible and "Done in" in ui.statusLabel.text


def test_without_the_extension_pytorch_the_offer_names_it(host, gpu, ui, parameters, scan):
    applied(host, ui, parameters, scan)
    assert "install the extension PyTorch" in ui.offerLabel.text and "PyTorchUtils" not in ui.offerLabel.text


def test_a_no_is_final(host, opened, asking, ui, parameters, scan):
    applied(host, ui, parameters, scan)
    ui.offerLabel.linkActivated.emit("decline")
    assert not ui.offerLabel.visible and "Done in" in ui.statusLabel.text

    applied(host, ui, parameters, scan)
    assert not ui.offerLabel.visible and asking.shown == [] and opened == []


def test_an_installed_pytorch_is_not_offered(gpu, devices, monkeypatch):
    assert devices.offerText()
    monkeypatch.setattr(devices, "torch_version", lambda: "2.13.0+cpu")
    assert devices.offerText() == ""
