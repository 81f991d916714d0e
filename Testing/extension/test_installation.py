"""Nothing is installed or asked for before a result; PyTorch is offered after one, where a GPU could use it.

The network is never reached: PyTorchUtils is a stand-in, pip a recorder. The engine's process is a real one.
"""

import importlib
import importlib.machinery
import importlib.metadata
import os
import subprocess
import sys
import types
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from panel_steps import finished, ready, results
from slicer_scans import LIMIT_S, thickNode, volumeNodes

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


class PyTorchUtils(types.ModuleType):
    """The extension PyTorch's module: records the calls and what pip would be bound by; ``meanwhile`` runs in them."""

    def __init__(self, install):
        super().__init__("PyTorchUtils")
        self.calls, self.constraints, self.meanwhile = [], [], lambda: None
        outer = self

        class PyTorchUtilsLogic:
            def installTorch(
                self,
                askConfirmation=False,
                forceComputationBackend=None,
                torchVersionRequirement=None,
                torchvisionVersionRequirement=None,
            ):
                import slicer

                outer.calls.append((askConfirmation, torchVersionRequirement))
                outer.constraints += constraints()
                slicer.app.processEvents()
                outer.meanwhile()
                slicer.app.processEvents()
                install()

        self.PyTorchUtilsLogic = PyTorchUtilsLogic


def constraints() -> list[str]:
    """The lines that pip would be bound by now."""
    urls = os.environ["PIP_CONSTRAINT"].split()
    return Path(url2pathname(urlsplit(urls[-1]).path)).read_text().split()


@pytest.fixture
def installation(host):
    from CycleINRSlicerLib import installation

    return installation


@pytest.fixture
def without_torch(coldEngine, monkeypatch, tmp_path):
    """The engine's process finds neither PyTorch nor safetensors."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TORCH)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH")))))


@pytest.fixture
def gpu(installation, monkeypatch):
    """A GPU that PyTorch could use, no PyTorch, and settings as Slicer has them at first."""
    import qt

    monkeypatch.setattr(installation, "torch_version", lambda: None)
    monkeypatch.setattr(installation, "has_gpu_driver", lambda: True)
    qt.QSettings().remove("CycleINR")
    yield
    qt.QSettings().remove("CycleINR")


@pytest.fixture
def torch_extension(gpu, installation, monkeypatch):
    """The extension PyTorch is installed; what it installs is there at once."""
    module = PyTorchUtils(lambda: monkeypatch.setattr(installation, "torch_version", lambda: "2.12.1"))
    module.__spec__ = importlib.machinery.ModuleSpec("PyTorchUtils", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return module


@pytest.fixture
def asking(host):
    """Slicer outside testing mode, where message boxes open; ``answer_next`` says what the user presses."""
    with host.without_testing_mode() as dialogs:
        yield dialogs


@pytest.fixture
def agreeing(asking):
    import qt

    asking.answer_next(qt.QMessageBox.Ok)
    return asking


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
def test_one_press_of_apply_is_all(host, without_torch, asking, installation, ui, parameters, scan, monkeypatch):
    monkeypatch.setattr(installation, "torch_version", lambda: None)
    monkeypatch.setattr(installation, "has_gpu_driver", lambda: False)
    applied(host, ui, parameters, scan)

    assert len(results(scan)) == 1
    assert host.pip.calls == [] and asking.shown == [] and not ui.offerLabel.visible


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_scripts_need_nothing_either(host, without_torch, asking, widget, scan, device):
    assert widget.logic.process(scan, ratio=2, device=device).GetImageData() is not None
    assert host.pip.calls == [] and asking.shown == []


# -- the offer
def test_pytorch_is_offered_after_a_result(host, torch_extension, asking, ui, parameters, scan):
    assert not ui.offerLabel.visible
    applied(host, ui, parameters, scan)

    assert ui.offerLabel.visible and 'href="install"' in ui.offerLabel.text and 'href="decline"' in ui.offerLabel.text
    assert asking.shown == [] and torch_extension.calls == []


def test_without_the_extension_pytorch_the_offer_names_it(host, gpu, ui, parameters, scan):
    applied(host, ui, parameters, scan)

    assert "install the extension PyTorch" in ui.offerLabel.text and 'href="install"' not in ui.offerLabel.text


def test_a_no_is_final(host, torch_extension, asking, ui, parameters, scan):
    applied(host, ui, parameters, scan)
    ui.offerLabel.linkActivated.emit("decline")
    assert not ui.offerLabel.visible and "Done in" in ui.statusLabel.text

    applied(host, ui, parameters, scan)
    assert not ui.offerLabel.visible and asking.shown == [] and torch_extension.calls == []


def test_a_no_to_the_question_is_one_too(host, torch_extension, asking, installation, ui, parameters, scan):
    import qt

    applied(host, ui, parameters, scan)
    asking.answer_next(qt.QMessageBox.Cancel)
    ui.offerLabel.linkActivated.emit("install")

    assert torch_extension.calls == [] and installation.offerText() == ""
    assert "Done in" in ui.statusLabel.text and ui.applyButton.enabled


def test_an_installed_pytorch_is_not_offered(gpu, installation, monkeypatch):
    assert installation.offerText()
    monkeypatch.setattr(installation, "torch_version", lambda: "2.13.0+cpu")
    assert installation.offerText() == ""


# -- installing
def test_accepted(host, torch_extension, agreeing, engine, ui, parameters, scan):
    applied(host, ui, parameters, scan)
    ui.offerLabel.linkActivated.emit("install")
    host.process_events(until=lambda: "Device: " in ui.statusLabel.text, timeout_s=LIMIT_S)

    assert torch_extension.calls == [(False, ">=2.6")]
    assert engine.devices.reason in ui.statusLabel.text and not ui.offerLabel.visible
    (shown,) = agreeing.shown
    assert "GB" in shown.text and "CPU" in shown.text
    applied(host, ui, parameters, scan)


def test_buttons_do_nothing_during_an_installation(host, torch_extension, agreeing, ui, parameters, scan):
    seen = []

    def impatient():
        seen.append((ui.statusLabel.text, ui.applyButton.enabled, ui.inputSelector.enabled, ui.offerLabel.visible))
        for button in (ui.applyButton, ui.checkButton, ui.exportButton, ui.applyButton):
            button.click()
            button.clicked.emit()  # as a click that was on its way before the button went grey
        ui.offerLabel.linkActivated.emit("install")

    torch_extension.meanwhile = impatient
    applied(host, ui, parameters, scan)
    ui.offerLabel.linkActivated.emit("install")

    assert seen == [("Installing PyTorch; this takes some minutes", False, True, False)]
    assert len(torch_extension.calls) == 1 and len(results(scan)) == 1
    ready(host, ui)
    applied(host, ui, parameters, scan)
    assert len(results(scan)) == 2


def test_scene_closed_during_an_installation(host, torch_extension, agreeing, ui, widget, parameters, scan):
    import slicer

    torch_extension.meanwhile = lambda: slicer.mrmlScene.Clear(0)
    applied(host, ui, parameters, scan)
    ui.offerLabel.linkActivated.emit("install")

    assert ui.applyButton.text == "Apply" and not ui.progressBar.visible and volumeNodes() == []
    again = smallNode()
    applied(host, ui, widget.logic.getParameterNode(), again)
    assert len(results(again)) == 1


def test_module_unloaded_during_an_installation(host, torch_extension, agreeing, ui, parameters, scan, engine):
    torch_extension.meanwhile = lambda: host.unload_module("CycleINRSlicer")
    applied(host, ui, parameters, scan)
    ui.offerLabel.linkActivated.emit("install")

    assert not engine.isRunning


def test_a_failed_installation_is_said_and_the_cpu_goes_on(host, torch_extension, agreeing, ui, parameters, scan):
    def fail():
        raise OSError("[WinError 206] The filename or extension is too long")

    torch_extension.meanwhile = fail
    applied(host, ui, parameters, scan)
    ui.offerLabel.linkActivated.emit("install")

    assert "PyTorch could not be installed: [WinError 206]" in ui.problemLabel.text
    assert "free disk space" in ui.problemLabel.text and "PIP_CONSTRAINT" not in os.environ
    applied(host, ui, parameters, scan)


def test_torch_is_not_there_after_its_installation(gpu, installation, agreeing, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", PyTorchUtils(lambda: None))

    with pytest.raises(installation.InstallationError, match="not there after its installation"):
        installation.installTorch(print)


def test_extension_pytorch_is_absent(gpu, installation, asking):
    """Said before the user is asked."""
    with pytest.raises(installation.InstallationError, match="Extensions Manager, install PyTorch"):
        installation.installTorch(print)
    assert asking.shown == []


def test_extension_pytorch_is_broken(gpu, installation, asking, monkeypatch, tmp_path):
    """Its own missing import is its own error, not ours to explain."""
    (tmp_path / "PyTorchUtils.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()

    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        installation.installTorch(print)


def test_slicers_own_tests_install_nothing(torch_extension, installation):
    with pytest.raises(installation.InstallationError, match="testing mode"):
        installation.installTorch(print)
    assert torch_extension.calls == []


def test_windows_gets_a_torch_that_installs(installation, monkeypatch):
    monkeypatch.setattr(installation.sys, "platform", "win32")
    assert installation.torchVersions() == ">=2.6,<2.13"


# -- Slicer's own packages stay
def test_pip_is_bound_to_slicers_own_packages(installation, torch_extension, agreeing):
    installation.installTorch(print)

    for name in ("numpy", "scipy", "SimpleITK", "pydicom", "packaging"):
        assert f"{name}=={importlib.metadata.version(name)}" in torch_extension.constraints
    assert "PIP_CONSTRAINT" not in os.environ


def test_users_own_constraints_stay(monkeypatch):
    from CycleINRSlicerLib.installation import pinnedPackages

    monkeypatch.setenv("PIP_CONSTRAINT", "theirs.txt")
    with pinnedPackages():
        assert os.environ["PIP_CONSTRAINT"].startswith("theirs.txt ")
    assert os.environ["PIP_CONSTRAINT"] == "theirs.txt"


def test_packages_without_metadata_may_not_come_from_pip(tmp_path, monkeypatch):
    """Those that this Slicer does not have at all may: older ones were built with fewer."""
    from CycleINRSlicerLib import installation

    (tmp_path / "built_in").mkdir()
    (tmp_path / "built_in" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.setattr(installation, "PINNED", ("numpy", "built_in", "no_such_package"))
    with installation.pinnedPackages():
        assert constraints() == [f"numpy=={importlib.metadata.version('numpy')}", "built_in<0"]


def test_every_package_that_slicer_is_built_with_is_bound():
    """The table of its build, 5.10 to 5.12, less the tools that installations themselves need."""
    from CycleINRSlicerLib.installation import PINNED

    imported = {"numpy", "scipy", "SimpleITK", "vtk", "pydicom", "packaging", "requests", "cryptography"}
    assert imported <= set(PINNED) and not {"pip", "setuptools", "wheel", "torch"} & set(PINNED)


def test_real_pip_refuses_to_replace_numpy(monkeypatch, tmp_path):
    """Also where the path of the temporary folder has a space, which pip would split the variable at."""
    import slicer
    from CycleINRSlicerLib import installation

    folder = tmp_path / "a user's folder"
    folder.mkdir()
    monkeypatch.setattr(
        installation, "slicer", types.SimpleNamespace(app=types.SimpleNamespace(temporaryPath=folder))
    )
    own = importlib.metadata.version("numpy")
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--disable-pip-version-check"]
    assert slicer.app.temporaryPath != folder

    with installation.pinnedPackages():
        same = subprocess.run([*pip, "numpy"], capture_output=True, text=True)
        other = subprocess.run([*pip, f"numpy!={own}"], capture_output=True, text=True)

    assert same.returncode == 0, same.stderr
    assert other.returncode != 0 and f"(constraint) numpy=={own}" in other.stdout + other.stderr
