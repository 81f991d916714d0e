"""PyTorch for a GPU: whether it is offered, and how it gets into Slicer. Nothing else of CycleINR needs it.

It comes through the extension PyTorch, which finds the build that suits the graphics card; pip may not replace packages
that Slicer was built with meanwhile. Whether the installed PyTorch works, the engine's process tries; importing it into
Slicer itself has crashed Slicer.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import slicer
from cycleinr.errors import CycleinrError
from cycleinr.inference.devices import has_gpu_driver, torch_version
from slicer.i18n import tr as _

OFFLINE_HELP = "https://github.com/CycleINRSlicer/SlicerCycleINR/blob/main/docs/offline.md"

INSTALL, DECLINE = "install", "decline"
"""Links of the offer."""

_DECLINED = "CycleINR/PyTorchDeclined"
_EXTENSION = "PyTorchUtils"


class InstallationError(CycleinrError):
    """PyTorch, which a GPU needs, could not be installed."""


def offerText() -> str:
    """A line with the links ``INSTALL`` and ``DECLINE``; empty where PyTorch is there, was declined or is of no use."""
    if torch_version() is not None or not has_gpu_driver():
        return ""
    if slicer.util.settingsValue(_DECLINED, False, converter=slicer.util.toBool):
        return ""
    decline = _('<a href="{decline}">No, never ask again</a>').format(decline=DECLINE)
    if importlib.util.find_spec(_EXTENSION) is None:
        text = _(
            "This computer has a GPU, which CycleINR can use with PyTorch: install the extension PyTorch in the "
            "Extensions Manager."
        )
    else:
        text = _(
            "This computer has a GPU, which CycleINR can use with PyTorch, a download of up to 3 GB. "
            '<a href="{install}">Install it...</a>'
        ).format(install=INSTALL)
    return f"{text} {decline}"


def declineOffer() -> None:
    """Never offer PyTorch again; kept in Slicer's settings."""
    slicer.app.userSettings().setValue(_DECLINED, True)


def installTorch(progress: Callable[[str], None]) -> bool:
    """Ask, then install PyTorch; whether the user agreed. A "no" is remembered.

    To be called on the main thread, never while Slicer starts; the event loop turns meanwhile.

    Args:
        progress: Receives a sentence at the start of each step.

    Raises:
        InstallationError: The extension PyTorch is absent, or the installation failed; the text says what to do.
    """
    if slicer.app.testingEnabled():
        raise InstallationError(_("Nothing is installed while Slicer runs in testing mode."))
    logic = _extensionsLogic()
    if not _isAgreed():
        declineOffer()
        return False
    progress(_("Installing PyTorch; this takes some minutes"))
    try:
        with pinnedPackages():
            logic.installTorch(askConfirmation=False, torchVersionRequirement=torchVersions())
    except Exception as error:  # pip, PyTorchUtils and light-the-torch each raise kinds of their own
        logging.exception("Installing PyTorch failed")
        raise _failed(str(error) or type(error).__name__) from error
    importlib.invalidate_caches()
    if torch_version() is None:
        raise _failed(_("it is not there after its installation"))
    return True


def torchVersions() -> str:
    """On Windows, files of later versions have paths of more than 260 characters and stay incomplete in Slicer."""
    return ">=2.6,<2.13" if sys.platform == "win32" else ">=2.6"


def _extensionsLogic():
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ModuleNotFoundError as error:
        if error.name != _EXTENSION:
            raise
        raise InstallationError(
            _(
                "PyTorch comes through the extension PyTorch, which is not installed. Open View, Extensions Manager, "
                "install PyTorch (category Utilities) and restart Slicer."
            )
        ) from error
    return PyTorchUtilsLogic()


def _isAgreed() -> bool:
    question = _(
        "Install PyTorch for the GPU? It is a download of up to 3 GB and becomes part of Slicer's Python, whose "
        "numpy, scipy, SimpleITK and VTK stay as they are. No image leaves this computer. Without it, CycleINR goes on "
        "computing on the CPU."
    )
    return slicer.util.confirmOkCancelDisplay(question, _("PyTorch for the GPU"))


def _failed(reason: str) -> InstallationError:
    return InstallationError(
        _(
            "PyTorch could not be installed: {reason}. CycleINR goes on computing on the CPU. The Python console has "
            "pip's messages. Check the internet connection and the free disk space, and close other Slicer windows. "
            "Without internet, see {help}."
        ).format(reason=reason.rstrip("."), help=OFFLINE_HELP)
    )


PINNED = (
    "vtk", "numpy", "scipy", "SimpleITK",
    "pydicom", "dicomweb-client", "highdicom", "pyjpegls", "dcmqi", "pillow", "retrying", "six", "typing_extensions",
    "requests", "certifi", "charset-normalizer", "idna", "urllib3", "packaging", "pyparsing",
    "PyGithub", "GitPython", "gitdb", "smmap", "chardet", "CouchDB", "PyJWT", "PyNaCl", "cffi", "cryptography",
    "Deprecated", "pycparser", "python-dateutil", "wrapt",
)  # fmt: skip
"""What Slicer 5.10 and newer are built with, by the requirements in its build; pip, setuptools and wheel, which
installations themselves need, are left out."""

_VARIABLE = "PIP_CONSTRAINT"


@contextmanager
def pinnedPackages() -> Iterator[Path]:
    """Within this context every pip that Slicer starts keeps those of ``PINNED`` that are there as they are.

    pip reads the constraints file that the environment variable ``PIP_CONSTRAINT`` names; a requirement that
    contradicts it makes pip stop before it changes anything. PyTorchUtils and Slicer before 5.12 have no parameter
    for that.
    """
    before = os.environ.get(_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="CycleINR-pip-", dir=slicer.app.temporaryPath) as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("".join(f"{line}\n" for line in filter(None, map(_constraint, PINNED))), encoding="utf-8")
        # pip splits the variable at spaces, which a user's folder may have; a URL has none
        os.environ[_VARIABLE] = " ".join(filter(None, (before, path.as_uri())))
        try:
            yield path
        finally:
            if before is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = before


def _constraint(name: str) -> str:
    """What pip is bound to; empty for a package that this Slicer does not have."""
    try:
        return f"{name}=={importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        # There without metadata, as VTK in Slicer: pip may not bring another one
        return f"{name}<0" if importlib.util.find_spec(name) is not None else ""
