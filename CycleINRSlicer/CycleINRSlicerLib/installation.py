"""What the engine needs inside Slicer and how it gets there; nothing is imported or installed before somebody asks.

Slicer brings numpy, scipy, SimpleITK and pydicom along. PyTorch comes through the extension PyTorch, which finds the
build that suits the graphics card; the rest comes from pip. Neither may replace a package that Slicer was built with:
see ``pinned_packages``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass

import slicer
from slicer.i18n import tr as _

from . import known_problems, probe
from .errors import InstallationError
from .known_problems import OFFLINE_HELP, Computer
from .pinned_packages import pinnedPackages

REQUESTER = "CycleINR"


@dataclass(frozen=True)
class Package:
    """A distribution that is also imported under its name, and the versions that the engine works with."""

    name: str
    versions: str

    @property
    def requirement(self) -> str:
        return self.name + self.versions


TORCH = Package("torch", ">=2.6")
OTHERS = (Package("safetensors", ">=0.4"),)


def missingPackages() -> list[str]:
    """Requirements, such as ``torch>=2.6``, that no installed version fulfils. Imports none of the packages."""
    return [package.requirement for package in (TORCH, *OTHERS) if not _isThere(package)]


def requireInstalled() -> None:
    """For callers that may not open a window or install anything.

    Raises:
        InstallationError: Something is missing; the text says how to get it.
    """
    missing = missingPackages()
    if missing:
        raise InstallationError(
            _(
                "CycleINR needs {packages}. Press Apply in its panel, or call ensureInstalled(askUser=False) of "
                "CycleINRSlicerLib.installation in the Python console. Without internet, see {help}."
            ).format(packages=", ".join(missing), help=OFFLINE_HELP)
        )


def ensureInstalled(askUser: bool, progress: Callable[[str], None] | None = None) -> None:
    """Install what is missing and try it in a process of its own. Returns at once where nothing is missing.

    To be called on the main thread, never while Slicer starts.

    Args:
        askUser: Ask before anything is downloaded; False says that the caller has consented.
        progress: Receives a sentence at the start of each step.

    Raises:
        InstallationError: The user declined, the extension PyTorch is absent, an installation failed, or what is
            installed does not work; the text says what to do.
    """
    missing = missingPackages()
    if not missing:
        return
    computer = known_problems.thisComputer(installedVersion)
    _checkPossible(computer, missing)
    installer = _torchInstaller(computer) if TORCH.requirement in missing else None
    if askUser:
        _ask(missing)
    progress = progress or slicer.util.showStatusMessage
    with pinnedPackages():
        if installer is not None:
            progress(_("Installing PyTorch; this takes some minutes"))
            _attempt("PyTorch", installer)
        others = [package.requirement for package in OTHERS if package.requirement in missing]
        if others:
            progress(_("Installing {packages}").format(packages=", ".join(others)))
            _attempt(", ".join(others), lambda: _pipInstall(others))
    importlib.invalidate_caches()
    stillMissing = missingPackages()
    if stillMissing:
        raise _failed(", ".join(stillMissing), _("it is not there after its installation"))
    progress(_("Trying PyTorch"))
    checkWorks()


def checkWorks(timeout_s: float = probe.TIMEOUT_S) -> None:
    """Import and use the packages in a process of its own, as the engine does. Takes seconds.

    Raises:
        InstallationError: They do not work; known causes are explained.
    """
    failure = probe.run(timeout_s)
    if failure is not None:
        raise InstallationError(known_problems.explain(known_problems.thisComputer(installedVersion), failure))


def installedVersion(name: str) -> str | None:
    """The version of a distribution, by its metadata; None if there is none or it cannot be imported."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    spec = importlib.util.find_spec(name)
    # A folder that a broken uninstallation left behind has no __init__.py
    return version if spec is not None and spec.origin is not None else None


def _isThere(package: Package) -> bool:
    from packaging.specifiers import SpecifierSet

    version = installedVersion(package.name)
    return version is not None and SpecifierSet(package.versions).contains(version, prereleases=True)


def _checkPossible(computer: Computer, missing: list[str]) -> None:
    if slicer.app.testingEnabled():
        raise InstallationError(
            _("Nothing is installed while Slicer runs in testing mode. Missing: {packages}.").format(
                packages=", ".join(missing)
            )
        )
    if TORCH.requirement not in missing:
        return
    problem = known_problems.beforeInstalling(computer)
    if problem is not None:
        raise InstallationError(problem)
    if computer.torch is not None:
        raise InstallationError(
            _(
                "CycleINR needs {requirement}, and PyTorch {version} is installed. Uninstall PyTorch in the module "
                "PyTorch Utils, restart Slicer and press Apply again."
            ).format(requirement=TORCH.requirement, version=computer.torch)
        )


def _ask(missing: list[str]) -> None:
    size = _("PyTorch is a download of 0.2 GB, or of 2 to 3 GB with support for NVIDIA cards. ")
    question = _(
        "CycleINR needs Python packages that are not installed yet: {packages}.\n\n{size}They become part of Slicer's "
        "Python; its numpy, scipy, SimpleITK and VTK stay as they are. No image leaves this computer.\n\n"
        "Install them now?"
    ).format(packages=", ".join(missing), size=size if TORCH.requirement in missing else "")
    if not slicer.util.confirmOkCancelDisplay(question, _("Install what CycleINR needs")):
        raise InstallationError(
            _(
                "CycleINR does not work without {packages}. Nothing was installed; press Apply to be asked again."
            ).format(packages=", ".join(missing))
        )


def _torchInstaller(computer: Computer) -> Callable[[], object]:
    """Installs PyTorch when it is called. It also imports torch into Slicer; nothing of ours uses that."""
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ModuleNotFoundError as error:
        if error.name != "PyTorchUtils":
            raise
        raise InstallationError(
            _(
                "CycleINR needs the extension PyTorch, which is not installed. Open View, Extensions Manager, install "
                "PyTorch (category Utilities), restart Slicer and press Apply again."
            )
        ) from error
    versions = TORCH.versions + known_problems.torchLimit(computer)
    return lambda: PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=versions)


def _pipInstall(requirements: list[str]) -> None:
    try:
        from slicer.packaging import pip_ensure
    except ImportError:  # before Slicer 5.12
        slicer.util.pip_install(requirements)
        return
    pip_ensure(requirements, prompt_install=False, requester=REQUESTER)


def _attempt(what: str, install: Callable[[], object]) -> None:
    try:
        install()
    except Exception as error:  # pip, PyTorchUtils and light-the-torch each raise kinds of their own
        logging.exception("Installing %s failed", what)
        raise _failed(what, str(error) or type(error).__name__) from error


def _failed(what: str, reason: str) -> InstallationError:
    return InstallationError(
        _(
            "{what} could not be installed: {reason}. The Python console has pip's messages. Check the internet "
            "connection and the free disk space, close other Slicer windows and press Apply again. Without internet, "
            "see {help}."
        ).format(what=what, reason=reason.rstrip("."), help=OFFLINE_HELP)
    )
