"""What a run would do, said before Apply: size, spacing, memory, time, and why.

Looking at all voxels takes up to half a second for a large MR scan, so it is done once a volume; a plan after an edit
of the settings is a matter of a millisecond then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vtk
from cycleinr.grid import COLUMN_OF_AXIS
from cycleinr.inference.options import UpsampleOptions
from cycleinr.inference.plan import Plan, plan
from cycleinr.inspection import Inspection, inspect
from cycleinr.volume import Volume
from slicer.i18n import tr as _

from .volume_node import volumeFromNode


@dataclass(frozen=True)
class Summary:
    """Texts for the panel; ``problem`` is empty when Apply is possible, ``warning`` when nothing speaks against it."""

    inputText: str = ""
    resultText: str = ""
    axisText: str = ""
    thicknessText: str = ""
    modelText: str = ""
    problem: str = ""
    warning: str = ""


def summaryOf(volume: Volume, work: Plan) -> Summary:
    """Describe a plan that works."""
    size_mb = volume.array.nbytes / 1e6
    inputText = "\n".join(filter(None, (_sizeText(volume.shape_kji, volume.spacing_ijk_mm, size_mb), work.padding)))
    cost = _("about {time} on the CPU, {memory:.1f} GB of memory").format(
        time=durationText(work.seconds), memory=work.peak_gigabytes
    )
    resultText = f"{_sizeText(work.shape_kji, work.spacing_ijk_mm, work.output_megabytes)}\n{cost}"
    return Summary(
        inputText,
        resultText,
        axisText(volume, work.grid.axis),
        work.tau_reason,
        work.model_reason,
        warning="\n".join(volume.notes + work.warnings),
    )


def axisText(volume: Volume, axis: str) -> str:
    """The through-plane axis in a reader's words, for example ``K: axial slices, 5 mm apart``."""
    direction = volume.directions[:, COLUMN_OF_AXIS[axis]]
    main = int(np.abs(direction).argmax())
    plane = (_("sagittal"), _("coronal"), _("axial"))[main]
    if abs(direction[main]) < np.cos(np.deg2rad(5)):
        plane = _("oblique {plane}").format(plane=plane)
    spacing_mm = volume.spacing_ijk_mm[COLUMN_OF_AXIS[axis]]
    return _("{axis}: {plane} slices, {spacing:.4g} mm apart").format(
        axis=axis.upper(), plane=plane, spacing=spacing_mm
    )


def durationText(seconds: float) -> str:
    """``8 s``, ``2 min 05 s``, ``1 h 10 min``."""
    seconds = max(1, round(seconds))
    if seconds < 60:
        return _("{seconds} s").format(seconds=seconds)
    if seconds < 3600:
        return _("{minutes} min {seconds:02d} s").format(minutes=seconds // 60, seconds=seconds % 60)
    return _("{hours} h {minutes:02d} min").format(hours=seconds // 3600, minutes=seconds % 3600 // 60)


def _sizeText(shape_kji: tuple[int, int, int], spacing_ijk_mm: tuple[float, float, float], megabytes: float) -> str:
    size = " × ".join(str(n) for n in shape_kji[::-1])
    spacing = " × ".join(f"{mm:.3g}" for mm in spacing_ijk_mm)
    memory = f"{megabytes:.0f} MB" if megabytes < 10_000 else f"{megabytes / 1000:.1f} GB"
    return f"{size} ({memory})\n{spacing} mm"


class _LastInspection:
    """What was last said of a volume's voxels, and of which; keeps no voxels alive."""

    def __init__(self):
        self._image, self._of, self._seen = vtk.vtkWeakReference(), None, None

    def of(self, node, volume: Volume, offset: float) -> Inspection:
        image = node.GetImageData()
        wanted = (image.GetMTime(), volume.ijk_to_ras.tobytes(), volume.modality, volume.acquisition, offset)
        if self._image.Get() is not image or self._of != wanted:
            self._seen = inspect(volume, offset)
            self._image.Set(image)
            self._of = wanted
        return self._seen


_last = _LastInspection()


def planOf(node, options: UpsampleOptions) -> tuple[Volume, Plan]:
    """The scan of a volume node, and what a run with these options would do with it.

    Raises:
        CycleinrError: The node, its values or the options rule the run out.
    """
    volume = volumeFromNode(node)
    return volume, plan(volume, options, _last.of(node, volume, options.intensity_offset))
