"""Getting PyTorch and the rest into Slicer: consent, every way it can fail, and what the user reads then.

The network is never reached: PyTorchUtils is a stand-in, pip a recorder. The trial process is a real one.
"""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

pytestmark = pytest.mark.usefixtures("host")

BOTH = ["torch>=2.6", "safetensors>=0.4"]


class Packages:
    """What is installed, on top of what really is; name -> version, or None for absent."""

    def __init__(self, pip):
        self.pretended, self._pip = {}, pip

    def version(self, name):
        if self._pip.installed.get(name):
            return "99"
        return self.pretended[name] if name in self.pretended else importlib.metadata.version(name)

    def remove(self, *names):
        for name in names:
            self.pretended[name], self._pip.installed[name] = None, False


class FakePyTorchUtils(types.ModuleType):
    """The extension PyTorch's module: records the call, the constraints that pip would see, and what to do."""

    def __init__(self, packages):
        super().__init__("PyTorchUtils")
        self.calls, self.constraints, self.failure, self.installs = [], [], None, "2.12.1"
        outer = self

        class PyTorchUtilsLogic:
            def installTorch(
                self,
                askConfirmation=False,
                forceComputationBackend=None,
                torchVersionRequirement=None,
                torchvisionVersionRequirement=None,
            ):
                outer.calls.append((askConfirmation, torchVersionRequirement))
                outer.constraints += constraints()
                if outer.failure is not None:
                    raise outer.failure
                packages.pretended["torch"] = outer.installs

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
def packages(host, installation, monkeypatch):
    """Installed packages as a test wants them; trials of them succeed."""
    packages = Packages(host.pip)
    monkeypatch.setattr(installation, "installedVersion", packages.version)
    monkeypatch.setattr(installation.probe, "run", lambda timeout_s: None)
    return packages


@pytest.fixture
def torch_extension(packages, monkeypatch):
    """The extension PyTorch is installed."""
    module = FakePyTorchUtils(packages)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return module


@pytest.fixture
def asking(host):
    """Slicer outside testing mode, where message boxes open; ``answer_next`` says what the user presses."""
    with host.without_testing_mode() as dialogs:
        yield dialogs


@pytest.fixture
def computer(installation, monkeypatch):
    """Make the code believe in another computer."""

    def pretend(system, machine, torch, numpy):
        from CycleINRSlicerLib.known_problems import Computer

        fake = Computer(system, machine, torch, numpy)
        monkeypatch.setattr(installation.known_problems, "thisComputer", lambda _installedVersion: fake)
        return fake

    return pretend


# -- what is missing
def test_nothing_is_missing_here_and_nothing_happens(host, installation):
    assert installation.missingPackages() == []
    installation.requireInstalled()
    installation.ensureInstalled(askUser=True)

    assert host.pip.calls == [] and host.dialogs.shown == []


def test_looking_imports_nothing():
    code = (
        "import sys, types; sys.path[:0] = sys.argv[1:]\n"
        "slicer, i18n = types.ModuleType('slicer'), types.ModuleType('slicer.i18n'); i18n.tr = str\n"
        "slicer.i18n = i18n\n"
        "sys.modules.update({'slicer': slicer, 'slicer.i18n': i18n, 'qt': types.ModuleType('qt')})\n"
        "from CycleINRSlicerLib import installation\n"
        "assert installation.missingPackages() == []\n"
        "sys.exit(bool({'torch', 'safetensors', 'pip', 'PyTorchUtils'} & set(sys.modules)))"
    )
    module_folder = Path(__file__).resolve().parents[2] / "CycleINRSlicer"

    assert subprocess.run([sys.executable, "-c", code, module_folder]).returncode == 0


@pytest.fixture
def site_packages(tmp_path, monkeypatch):
    """A folder of packages that Python sees first."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # What this process has imported already must not answer for what the folder has
    for name in ("torch", "safetensors"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def add(name, version=None, code=None):
        if version is not None:
            information = tmp_path / f"{name}-{version}.dist-info"
            information.mkdir()
            (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (tmp_path / name).mkdir()
        if code is not None:
            (tmp_path / name / "__init__.py").write_text(code)
        importlib.invalidate_caches()

    return add


@pytest.mark.parametrize(
    "version, fits", [("1.13.1", False), ("2.5.1", False), ("2.6.0", True), ("2.9.0+cu130", True), ("3.0a1", True)]
)
def test_versions_that_fit(installation, site_packages, version, fits):
    site_packages("torch", version, "raise RuntimeError('imported')")

    assert ("torch>=2.6" not in installation.missingPackages()) == fits


def test_a_folder_that_an_uninstallation_left_behind_is_no_package(installation, site_packages, monkeypatch):
    monkeypatch.setattr(installation, "TORCH", installation.Package("half_removed", ">=2.2"))
    site_packages("half_removed", "2.9.0")

    assert installation.missingPackages() == ["half_removed>=2.2"]


def test_scripts_are_told_what_is_missing_and_nothing_is_installed(host, installation, packages):
    packages.remove("torch", "safetensors")

    with pytest.raises(installation.InstallationError, match="needs torch>=2.6, safetensors>=0.4"):
        installation.requireInstalled()
    assert host.pip.calls == []


# -- installing
def test_accepted(host, installation, packages, torch_extension, asking):
    import qt

    packages.remove("torch", "safetensors")
    asking.answer_next(qt.QMessageBox.Ok)
    steps = []

    installation.ensureInstalled(askUser=True, progress=steps.append)

    assert installation.missingPackages() == []
    assert torch_extension.calls == [(False, ">=2.6")]
    assert [call.requirements for call in host.pip.calls if call.function == "pip_install"] == [("safetensors>=0.4",)]
    (shown,) = asking.shown
    assert "torch>=2.6, safetensors>=0.4" in shown.text and "GB" in shown.text
    assert steps == ["Installing PyTorch; this takes some minutes", "Installing safetensors>=0.4", "Trying PyTorch"]


def test_consent_given_beforehand_opens_no_window(installation, packages, torch_extension, asking):
    packages.remove("torch")

    installation.ensureInstalled(askUser=False)

    assert torch_extension.calls and asking.shown == []


def test_only_pip_packages_need_no_extension(host, installation, packages, asking):
    packages.remove("safetensors")

    installation.ensureInstalled(askUser=False)

    assert host.pip.calls[0].function == "pip_ensure" and installation.missingPackages() == []


def test_slicer_before_5_12(host, installation, packages, asking):
    packages.remove("safetensors")

    with host.without_packaging():
        installation.ensureInstalled(askUser=False)

    assert [(call.function, call.requirements) for call in host.pip.calls] == [("pip_install", ("safetensors>=0.4",))]


def test_declined(host, installation, packages, torch_extension, asking):
    import qt

    packages.remove("torch")
    asking.answer_next(qt.QMessageBox.Cancel)

    with pytest.raises(installation.InstallationError, match="Nothing was installed"):
        installation.ensureInstalled(askUser=True)
    assert torch_extension.calls == [] and host.pip.calls == []


def test_extension_pytorch_is_absent(installation, packages, asking):
    """Said before the user is asked for consent."""
    packages.remove("torch")
    assert importlib.util.find_spec("PyTorchUtils") is None

    with pytest.raises(installation.InstallationError, match="Extensions Manager, install PyTorch"):
        installation.ensureInstalled(askUser=True)


def test_extension_pytorch_is_broken(installation, packages, asking, site_packages):
    """Its own missing import is its own error, not ours to explain."""
    packages.remove("torch")
    site_packages("PyTorchUtils", None, "import no_such_module")

    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        installation.ensureInstalled(askUser=False)


@pytest.mark.parametrize(
    "failure", [subprocess.CalledProcessError(1, "pip install"), RuntimeError("PythonSlicer executable not found")]
)
def test_pip_fails(host, installation, packages, asking, failure):
    packages.remove("safetensors")
    host.pip.failure = failure

    with pytest.raises(installation.InstallationError, match="safetensors.*could not be installed.*free disk space"):
        installation.ensureInstalled(askUser=False)


def test_installing_torch_fails(host, installation, packages, torch_extension, asking):
    """And the rest is left alone."""
    packages.remove("torch", "safetensors")
    torch_extension.failure = OSError("[WinError 206] The filename or extension is too long")

    with pytest.raises(installation.InstallationError, match=r"PyTorch could not be installed: \[WinError 206\]"):
        installation.ensureInstalled(askUser=False)
    assert host.pip.calls == []


def test_torch_is_not_there_after_its_installation(installation, packages, torch_extension, asking):
    packages.remove("torch")
    torch_extension.installs = None

    with pytest.raises(installation.InstallationError, match="not there after its installation"):
        installation.ensureInstalled(askUser=False)


def test_too_old_torch_is_not_replaced_under_slicer(installation, packages, torch_extension, asking):
    packages.pretended["torch"] = "1.13.1"

    with pytest.raises(installation.InstallationError, match="PyTorch 1.13.1 is installed. Uninstall"):
        installation.ensureInstalled(askUser=False)
    assert torch_extension.calls == []


def test_slicers_own_tests_install_nothing(host, installation, packages, torch_extension):
    packages.remove("torch", "safetensors")

    with pytest.raises(installation.InstallationError, match="testing mode"):
        installation.ensureInstalled(askUser=False)
    assert torch_extension.calls == [] and host.pip.calls == []


# -- Slicer's own packages stay
def test_installers_are_bound_to_slicers_own_packages(installation, packages, torch_extension, asking):
    packages.remove("torch")

    installation.ensureInstalled(askUser=False)

    for name in ("numpy", "scipy", "SimpleITK", "pydicom", "packaging"):
        assert f"{name}=={importlib.metadata.version(name)}" in torch_extension.constraints
    assert "PIP_CONSTRAINT" not in os.environ


def test_users_own_constraints_stay(installation, monkeypatch):
    from CycleINRSlicerLib.pinned_packages import pinnedPackages

    monkeypatch.setenv("PIP_CONSTRAINT", "theirs.txt")
    with pinnedPackages():
        assert os.environ["PIP_CONSTRAINT"].startswith("theirs.txt ")
    assert os.environ["PIP_CONSTRAINT"] == "theirs.txt"


def test_packages_without_metadata_may_not_come_from_pip(installation, site_packages, monkeypatch):
    """Those that this Slicer does not have at all may: older ones were built with fewer."""
    from CycleINRSlicerLib import pinned_packages

    site_packages("built_in", None, "")
    monkeypatch.setattr(pinned_packages, "PINNED", ("numpy", "built_in", "no_such_package"))
    with pinned_packages.pinnedPackages():
        assert constraints() == [f"numpy=={importlib.metadata.version('numpy')}", "built_in<0"]


def test_every_package_that_slicer_is_built_with_is_bound():
    """The table of its build, 5.10 to 5.12, less the tools that installations themselves need."""
    from CycleINRSlicerLib.pinned_packages import PINNED

    imported = {"numpy", "scipy", "SimpleITK", "vtk", "pydicom", "packaging", "requests", "cryptography"}
    assert imported <= set(PINNED) and not {"pip", "setuptools", "wheel", "torch"} & set(PINNED)


def test_real_pip_refuses_to_replace_numpy(installation, monkeypatch, tmp_path):
    """Also where the path of the temporary folder has a space, which pip would split the variable at."""
    import slicer
    from CycleINRSlicerLib import pinned_packages

    folder = tmp_path / "a user's folder"
    folder.mkdir()
    monkeypatch.setattr(
        pinned_packages, "slicer", types.SimpleNamespace(app=types.SimpleNamespace(temporaryPath=folder))
    )
    own = importlib.metadata.version("numpy")
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--disable-pip-version-check"]
    assert slicer.app.temporaryPath != folder

    with pinned_packages.pinnedPackages():
        same = subprocess.run([*pip, "numpy"], capture_output=True, text=True)
        other = subprocess.run([*pip, f"numpy!={own}"], capture_output=True, text=True)

    assert same.returncode == 0, same.stderr
    assert other.returncode != 0 and f"(constraint) numpy=={own}" in other.stdout + other.stderr


# -- the trial in a process of its own
def test_what_is_installed_here_works(installation):
    installation.checkWorks()


@pytest.mark.parametrize(
    "code, said",
    [
        ("raise ImportError('DLL load failed while importing _C')", "ImportError: DLL load failed"),
        ("import os; os._exit(9)", "ended with code 9: no output"),
        (
            "def from_numpy(array):\n    raise RuntimeError('Numpy is not available')",
            "RuntimeError: Numpy is not available",
        ),
    ],
    ids=["import fails", "process dies", "numpy unusable"],
)
def test_broken_torch_is_found_and_said(installation, site_packages, code, said):
    site_packages("torch", "2.9.0", code)
    site_packages("safetensors", "0.5", "")
    (Path(importlib.util.find_spec("safetensors").origin).parent / "torch.py").touch()

    with pytest.raises(installation.InstallationError) as caught:
        installation.checkWorks()
    assert said in str(caught.value) and "PyTorch 2.9.0 is installed, but does not work" in str(caught.value)


def test_a_trial_that_never_ends_is_ended(installation, site_packages):
    site_packages("torch", "2.9.0", "import threading; threading.Event().wait()")

    with pytest.raises(installation.InstallationError, match="no answer within 1 seconds"):
        installation.checkWorks(timeout_s=1)


def test_a_broken_installation_is_said_at_once(installation, packages, torch_extension, asking, monkeypatch):
    packages.remove("torch")
    monkeypatch.setattr(installation.probe, "run", lambda timeout_s: "ImportError: no _C")

    with pytest.raises(installation.InstallationError, match="does not work.*ImportError: no _C"):
        installation.ensureInstalled(askUser=False)


# -- known problems
def test_windows_gets_a_torch_that_installs(installation, packages, torch_extension, asking, computer):
    packages.remove("torch")
    computer("win32", "AMD64", None, "2.4.6")

    installation.ensureInstalled(askUser=False)

    assert torch_extension.calls == [(False, ">=2.6,<2.13")]


def test_windows_with_a_broken_torch_is_explained(installation, packages, computer, monkeypatch):
    computer("win32", "AMD64", "2.13.0+cpu", "2.4.6")
    monkeypatch.setattr(installation.probe, "run", lambda timeout_s: "ImportError: no _C")

    with pytest.raises(installation.InstallationError, match="260 characters.*below 2.13.*no _C"):
        installation.checkWorks()


def test_intel_mac_with_numpy_2_is_explained_before_anything_is_downloaded(
    installation, packages, torch_extension, asking, computer
):
    packages.remove("torch")
    computer("darwin", "x86_64", None, "2.4.6")

    with pytest.raises(installation.InstallationError, match="Rosetta.*2.2.2, needs numpy below 2.*numpy 2.4.6"):
        installation.ensureInstalled(askUser=True)
    assert torch_extension.calls == []


def test_intel_mac_with_torch_of_another_extension_is_explained(installation, packages, computer, monkeypatch):
    computer("darwin", "x86_64", "2.2.2", "2.0.2")
    monkeypatch.setattr(installation.probe, "run", lambda timeout_s: "RuntimeError: Numpy is not available")

    with pytest.raises(installation.InstallationError, match="command line in another Python.*Numpy is not available"):
        installation.checkWorks()


@pytest.mark.parametrize("machine, numpy", [("x86_64", "1.26.4"), ("arm64", "2.4.6")])
def test_other_macs_can_install(installation, packages, torch_extension, asking, computer, machine, numpy):
    packages.remove("torch")
    computer("darwin", machine, None, numpy)

    installation.ensureInstalled(askUser=False)

    assert torch_extension.calls == [(False, ">=2.6")]
