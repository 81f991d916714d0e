"""Where to compute: the box of devices, and the offer of PyTorch, which a GPU needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import slicer
from cycleinr.computer import has_gpu_driver, torch_version
from slicer.i18n import tr as _

AUTO, CPU = "auto", "cpu"


class DeviceBox:
    """Fills a combo box with devices and keeps it equal to the chosen name.

    Args:
        box: A ``QComboBox``.
        onChosen: Receives the device's name when the user chooses another.
    """

    def __init__(self, box, onChosen: Callable[[str], None]):
        self._box, self._onChosen = box, onChosen
        self._names: list[str] = []
        self.reason = ""
        self._fill([(AUTO, _("Automatic")), (CPU, _("CPU"))])
        box.connect("currentIndexChanged(int)", self._onIndexChanged)

    def fill(self, answer: dict) -> None:
        """Show the devices that the engine's process found, and why it would take which."""
        self.reason = answer["reason"]
        self._fill([(AUTO, _("Automatic")), *((device["name"], _deviceText(device)) for device in answer["devices"])])

    def choose(self, name: str) -> None:
        """Show ``name``; one that this computer lacks is listed all the same, since a loaded scene may ask for it."""
        if name not in self._names:
            self._add(name, _("{name} (not on this computer)").format(name=name))
        index = self._names.index(name)
        if self._box.currentIndex != index:
            self._box.currentIndex = index

    def _fill(self, devices: list[tuple[str, str]]) -> None:
        wasBlocked = self._box.blockSignals(True)
        self._box.clear()
        self._names = []
        for name, text in devices:
            self._add(name, text)
        self._box.blockSignals(wasBlocked)

    def _add(self, name: str, text: str) -> None:
        self._names.append(name)
        self._box.addItem(text)

    def _onIndexChanged(self, index: int) -> None:
        if 0 <= index < len(self._names):
            self._onChosen(self._names[index])


def _deviceText(device: dict) -> str:
    memory = device["memory_gb"]
    return device["label"] if memory is None else f"{device['label']}, {memory:.0f} GB"


PYTORCH_MODULE = "PyTorchUtils"
"""Module of the extension PyTorch, which finds the build that suits the graphics card; also the link to it."""

_DECLINED = "CycleINR/PyTorchDeclined"


def offerText() -> str:
    """A line with links, in HTML, to PyTorch for a GPU; empty where it is there, was declined or is of no use."""
    isDeclined = slicer.util.settingsValue(_DECLINED, False, converter=slicer.util.toBool)
    if isDeclined or torch_version() is not None or not has_gpu_driver():
        return ""
    if importlib.util.find_spec(PYTORCH_MODULE) is None:
        how = _("install the extension PyTorch in the Extensions Manager")
    else:
        how = _('<a href="{module}">get it</a> with the extension PyTorch').format(module=PYTORCH_MODULE)
    return _(
        "This computer has a GPU, which CycleINR can use with PyTorch, a download of up to 3 GB: {how}. "
        '<a href="decline">No, never ask again</a>'
    ).format(how=how)


def declineOffer() -> None:
    """Never offer PyTorch again; kept in Slicer's settings."""
    slicer.app.userSettings().setValue(_DECLINED, True)
