"""Where to compute: the box of devices, and the offer of PyTorch, which a GPU needs."""

from __future__ import annotations

import importlib.util

import slicer
from cycleinr.computer import has_gpu_driver, torch_version
from slicer.i18n import tr as _

AUTO = "auto"


def fillDevices(box, answer: dict | None) -> None:
    """Put the devices that the engine's process found into a ``QComboBox``; None while nobody has looked."""
    box.clear()
    box.addItem(_("Automatic"), AUTO)
    for device in answer["devices"] if answer else [{"name": "cpu", "label": _("CPU"), "memory_gb": None}]:
        memory = device["memory_gb"]
        text = device["label"] if memory is None else f"{device['label']}, {memory:.0f} GB"
        box.addItem(text, device["name"])


def showDevice(box, name: str) -> None:
    """Choose a device; one that this computer lacks is listed all the same, since a loaded scene may ask for it."""
    if box.findData(name) < 0:
        box.addItem(_("{name} (not on this computer)").format(name=name), name)
    box.currentIndex = box.findData(name)


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
