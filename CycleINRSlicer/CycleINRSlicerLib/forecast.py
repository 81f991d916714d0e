"""What a run would do, said before Apply: slices, size, memory, time, and why.

Looking at all voxels takes up to half a second for a large MR scan, so it is done once a volume; a plan after an edit
of the settings is a matter of a millisecond then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import numpy as np
from cycleinr import CycleinrError, ModalityError, NothingToDoError
from cycleinr.grid import COLUMN_OF_AXIS, plane_of
from cycleinr.inference.plan import Plan, plan
from cycleinr.inspection import inspect
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from slicer.i18n import tr as _

from .callbacks import Remembered
from .parameters import CycleINRSlicerParameterNode, optionsOf
from .preview import regionOf
from .volume_node import volumeFromNode

_TELLING_S = 1.0
_DIFFERENCE_S = 25e-9
"""Seconds a voxel of the difference takes, until one was made."""


@dataclass(frozen=True)
class ForecastTexts:
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
    axisNames: dict[str, str] = field(default_factory=dict)
    axisText: str = ""
    thicknessText: str = ""
    modelText: str = ""
    hint: str = ""
    problem: str = ""
    warning: str = ""
    seconds: float = 0.0


@dataclass
class Pace:
    """How fast this computer is, by the last run; before it, as the engine estimates it."""

    run: float = 1.0
    difference_s: float = _DIFFERENCE_S

    def learnRun(self, work: Plan, seconds: float) -> None:
        """A run of this plan took so long; a short one, which is mostly starting, tells little."""
        if work.seconds >= _TELLING_S:
            self.run = seconds / work.seconds

    def learnDifference(self, voxels: int, seconds: float) -> None:
        """The difference of so many voxels took so long."""
        self.difference_s = seconds / voxels

    def secondsOf(self, work: Plan, withDifference: bool) -> float:
        """How long a run of this plan will take."""
        return self.run * work.seconds + withDifference * self.difference_s * float(np.prod(work.shape_kji))


pace = Pace()
"""The application's, as the engine's process is."""

_inspections = Remembered(1000)


def planOf(node, volume: Volume, options: UpsampleOptions) -> Plan:
    """What a run with these options would do with a node's volume.

    Raises:
        CycleinrError: The values or the options rule the run out.
    """
    facts = volume.ijk_to_ras.tobytes(), volume.modality, volume.acquisition, options.intensity_offset
    seen = _inspections.of(node.GetImageData(), facts, lambda: inspect(volume, options.intensity_offset))
    return plan(volume, options, seen)


def forecastOf(node, parameters: CycleINRSlicerParameterNode) -> ForecastTexts:
    """Say what a run of this scan with the panel's settings would do, or why there can be none."""
    if node is None:
        return ForecastTexts(
            hint=_("Load a CT or MR scan: drag its file or DICOM folder into this window, or try Sample Data.")
        )
    names: dict[str, str] = {}
    try:
        volume = volumeFromNode(node)
        names = {axis: sentence(plane_of(volume, axis)) for axis in COLUMN_OF_AXIS}
        region, within = regionOf(node, parameters.regionNode)
        work = planOf(node, volume, replace(optionsOf(parameters), region=region))
    except NothingToDoError as error:
        return ForecastTexts(axisNames=names, hint=_("Nothing to do. {why}").format(why=error))
    except CycleinrError as error:
        problem = _withoutOptions(str(error))
        modelText = problem if isinstance(error, ModalityError) else ""
        return ForecastTexts(axisNames=names, problem=problem, modelText=modelText)
    grid = work.grid
    if grid.is_identity:
        return ForecastTexts(axisNames=names, hint="\n".join(work.warnings))
    plane, seconds = names[grid.axis], pace.secondsOf(work, parameters.makeDifference)
    megabytes = work.output_megabytes * (2 if parameters.makeDifference else 1)
    size = f"{megabytes:.0f} MB" if megabytes < 10_000 else f"{megabytes / 1000:.1f} GB"
    lines = (
        _("{plane} slices: {now} → {then}, {old:.4g} → {new:.4g} mm apart").format(
            plane=plane, now=grid.n_in, then=grid.n_out, old=grid.spacing_in_mm, new=grid.spacing_out_mm
        ),
        _("{size} voxels, {memory}").format(size=" × ".join(map(str, work.shape_kji[::-1])), memory=size),
        _("about {time}, {memory:.1f} GB of memory").format(time=durationText(seconds), memory=work.peak_gigabytes),
        work.padding,
        within,
    )
    return ForecastTexts(
        text="\n".join(filter(None, lines)),
        axisNames=names,
        axisText=_("{plane} slices, {spacing:.4g} mm apart.").format(plane=plane, spacing=grid.spacing_in_mm),
        thicknessText=sentence(work.tau_reason),
        modelText=work.model_reason,
        warning=_withoutOptions("\n".join(volume.notes + work.warnings)),
        seconds=seconds,
    )


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


def sentence(text: str) -> str:
    """A text with a capital at its start."""
    return text[:1].upper() + text[1:]
