"""What a run would do, said before Apply: slices, size, memory, time, and why.

Looking at all voxels takes up to half a second for a large MR scan, so it is done once a volume; a plan after an edit
of the settings is a matter of a millisecond then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from cycleinr.errors import CycleinrError, ModalityError, NothingToDoError
from cycleinr.grid import COLUMN_OF_AXIS, plane_of
from cycleinr.inference.plan import Plan, plan
from cycleinr.inspection import inspect
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from slicer.i18n import tr as _

from .callbacks import Remembered
from .parameters import CycleINRSlicerParameterNode
from .preview import markedBy, optionsFor
from .volume_node import volumeFromNode

_TELLING_S = 1.0
_DIFFERENCE_S = 25e-9
"""Seconds a voxel of the difference takes, until one was made."""


@dataclass(frozen=True)
class Forecast:
    """Texts for the panel. Apply is possible where both ``hint`` and ``problem`` are empty.

    Attributes:
        text: What a run makes, and what it takes.
        axisNames: What each axis letter is called, for this scan.
        axisText, thicknessText, modelText: What was chosen for the reader, and why.
        hint: Why there is nothing to do, where nothing is wrong.
        problem: What is wrong.
        warning: What speaks against the request; empty for nothing.
        seconds: How long a run takes.
    """

    text: str = ""
    axisNames: tuple[tuple[str, str], ...] = ()
    axisText: str = ""
    thicknessText: str = ""
    modelText: str = ""
    hint: str = ""
    problem: str = ""
    warning: str = ""
    seconds: float = 0.0


class Pace:
    """How fast this computer is, by the last run; before it, as the engine estimates it."""

    def __init__(self):
        self._run, self._difference_s = 1.0, _DIFFERENCE_S

    def learnRun(self, work: Plan, seconds: float) -> None:
        """A run of this plan took so long; a short one, which is mostly starting, tells little."""
        if work.seconds >= _TELLING_S:
            self._run = seconds / work.seconds

    def learnDifference(self, voxels: int, seconds: float) -> None:
        """The difference of so many voxels took so long."""
        self._difference_s = seconds / voxels

    def secondsOf(self, work: Plan, withDifference: bool) -> float:
        """How long a run of this plan will take."""
        return self._run * work.seconds + withDifference * self._difference_s * float(np.prod(work.shape_kji))


pace = Pace()
"""The application's, as the engine's process is."""


_inspections = Remembered(1000)


def planOf(node, options: UpsampleOptions) -> tuple[Volume, Plan]:
    """The scan of a volume node, and what a run with these options would do with it.

    Raises:
        CycleinrError: The node, its values or the options rule the run out.
    """
    volume = volumeFromNode(node)
    facts = volume.ijk_to_ras.tobytes(), volume.modality, volume.acquisition, options.intensity_offset
    seen = _inspections.of(node.GetImageData(), facts, lambda: inspect(volume, options.intensity_offset))
    return volume, plan(volume, options, seen)


def forecastOf(node, parameters: CycleINRSlicerParameterNode) -> Forecast:
    """Say what a run of this scan with the panel's settings would do, or why there can be none."""
    if node is None:
        return Forecast(
            hint=_("Load a CT or MR scan: drag its file or DICOM folder into this window, or try Sample Data.")
        )
    names: tuple[tuple[str, str], ...] = ()
    try:
        volume = volumeFromNode(node)
        names = tuple((axis, sentence(plane_of(volume, axis))) for axis in COLUMN_OF_AXIS)
        volume, work = planOf(node, optionsFor(node, parameters))
    except NothingToDoError as error:
        return Forecast(axisNames=names, hint=_("Nothing to do. {why}").format(why=error))
    except CycleinrError as error:
        problem = _withoutOptions(str(error))
        return Forecast(axisNames=names, problem=problem, modelText=problem if isinstance(error, ModalityError) else "")
    if work.grid.is_identity:
        return Forecast(axisNames=names, hint="\n".join(work.warnings))
    seconds = pace.secondsOf(work, parameters.makeDifference)
    return Forecast(
        text="\n".join((_text(work, seconds, names, parameters.makeDifference), *_regionTexts(node, parameters))),
        axisNames=names,
        axisText=_("{plane} slices, {spacing:.4g} mm apart.").format(
            plane=dict(names)[work.grid.axis], spacing=work.grid.spacing_in_mm
        ),
        thicknessText=sentence(work.tau_reason),
        modelText=work.model_reason,
        warning=_withoutOptions("\n".join(volume.notes + work.warnings)),
        seconds=seconds,
    )


def _text(work: Plan, seconds: float, names: tuple[tuple[str, str], ...], withDifference: bool) -> str:
    grid = work.grid
    slices = _("{plane} slices: {now} → {then}, {old:.4g} → {new:.4g} mm apart").format(
        plane=dict(names)[grid.axis],
        now=grid.n_in,
        then=grid.n_out,
        old=grid.spacing_in_mm,
        new=grid.spacing_out_mm,
    )
    times = 2 if withDifference else 1
    size = sizeText(work.shape_kji, times * work.output_megabytes)
    cost = _("about {time}, {memory:.1f} GB of memory").format(time=durationText(seconds), memory=work.peak_gigabytes)
    return "\n".join(filter(None, (slices, size, cost, work.padding)))


def _regionTexts(node, parameters: CycleINRSlicerParameterNode) -> list[str]:
    roiNode = parameters.regionNode
    if roiNode is None:
        return []
    _region, isRotated = markedBy(roiNode, node)
    within = _("Only within the bounding box of {roi}, which is rotated against the voxels.")
    return [(within if isRotated else _("Only within {roi}.")).format(roi=roiNode.GetName())]


def _withoutOptions(text: str) -> str:
    """What the engine says, without the command line's options; the panel has the same settings under Advanced."""
    return re.sub(r" \(--[^)]*\)", "", text)


def durationText(seconds: float) -> str:
    """``8 s``, ``2 min 05 s``, ``1 h 10 min``."""
    seconds = max(1, round(seconds))
    if seconds < 60:
        return _("{seconds} s").format(seconds=seconds)
    if seconds < 3600:
        return _("{minutes} min {seconds:02d} s").format(minutes=seconds // 60, seconds=seconds % 60)
    return _("{hours} h {minutes:02d} min").format(hours=seconds // 3600, minutes=seconds % 3600 // 60)


def sizeText(shape_kji: tuple[int, int, int], megabytes: float) -> str:
    """``358 × 422 × 166 voxels, 50 MB``."""
    memory = f"{megabytes:.0f} MB" if megabytes < 10_000 else f"{megabytes / 1000:.1f} GB"
    return _("{size} voxels, {memory}").format(size=" × ".join(map(str, shape_kji[::-1])), memory=memory)


def sentence(text: str) -> str:
    """A text with a capital at its start."""
    return text[:1].upper() + text[1:]
