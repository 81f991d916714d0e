"""What the engine is asked to do with a scan and its result: the jobs of a ``Task`` behind Apply and Export."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import slicer
from cycleinr import Cancelled, CycleinrError
from cycleinr.request import UpsampleOptions
from cycleinr.worker.protocol import ExportRequest, UpsampleRequest, write_sources
from slicer.i18n import tr as _

from .callbacks import WeakNode
from .forecast import pace, planOf
from .result_node import differenceSteps, provenanceOf, showResult
from .task import Task
from .volume_node import NodeError, sourceFiles, volumeFromNode


def makeFiner(
    task: Task, inputNode, options: UpsampleOptions, outputNode=None, makeDifference: bool = False
) -> Generator[None, None, None]:
    """Make a scan finer. A cancel while the difference is computed leaves the result, which is there already.

    Args:
        task: Is told of ``scan``, ``output`` and ``difference``.
        outputNode: Receives the result; None makes a new node.
        makeDifference: Whether to add the difference to B-spline.

    Raises:
        CycleinrError: The input or the options cannot work.
    """
    if outputNode is not None and outputNode is inputNode:
        raise NodeError(_("The result may not replace the input. Choose another output volume."))
    volume = volumeFromNode(inputNode)
    work, chosen = planOf(inputNode, volume, options), WeakNode(outputNode)
    task.scan, task.output, task.difference = WeakNode(inputNode), WeakNode(), WeakNode()
    task.needed = {_("input volume"): task.scan}

    def request(message, newFile) -> UpsampleRequest:
        return UpsampleRequest(message, options, newFile("result.npy").name)

    answer, image = yield from task.compute([volume], request)
    node = showResult(image, np.array(answer["ijk_to_ras"]), inputNode, chosen.node, answer["provenance"])
    task.output = WeakNode(node)
    if options.region is None:
        pace.learnRun(work, answer["seconds"])
    if makeDifference:
        task.phase, resultAt_s = _("Computing the difference to B-spline"), task.seconds
        try:
            task.difference = WeakNode((yield from differenceSteps(inputNode, node)))
            pace.learnDifference(node.GetImageData().GetNumberOfPoints(), task.seconds - resultAt_s)
        except Cancelled:
            if slicer.mrmlScene.IsClosing():
                raise


def export(task: Task, inputNode, resultNode, parent: Path) -> Generator[None, None, tuple[Path, dict]]:
    """Write a result as a DICOM series of its scan's study, into a new folder; gives that, and what is in it.

    Raises:
        CycleinrError: The scan's files are not at hand, or the result does not say how it was made.
    """
    sources, provenance = list(sourceFiles(inputNode)), provenanceOf(resultNode)
    folder, engine = newFolder(parent, provenance), task.engine
    task.needed = {_("result"): WeakNode(resultNode)}

    def request(message, newFile) -> ExportRequest:
        listed = newFile("sources.json")
        write_sources(listed, sources)
        return ExportRequest(message, listed.name, str(folder), provenance)

    try:
        answer, _image = yield from task.compute([volumeFromNode(resultNode)], request)
    finally:
        # A killed process cannot clear away what it had begun
        if not engine.isRunning and engine.workerPid is not None:
            from cycleinr.files.atomic import remove_leftovers  # not when the panel opens

            remove_leftovers(parent, engine.workerPid)
    return folder, answer


def whyNoExport(inputNode, resultNode) -> str:
    """Why a result cannot become a DICOM series, in one sentence; empty where it can. Quick: looks for one file."""
    if inputNode is None or resultNode is None:
        return _("Make a result first.")
    try:
        next(sourceFiles(inputNode))
    except CycleinrError as error:
        return str(error)
    return ""


def newFolder(parent: Path, provenance: dict[str, str]) -> Path:
    """A folder that does not exist yet; its name says no patient's name, which the volume's name may hold."""
    name = f"CycleINR {float(provenance.get('spacing_mm', 'nan')):.3g} mm"
    names = (name if n == 1 else f"{name} {n}" for n in range(1, 1_000_000))
    return next(parent / each for each in names if not (parent / each).exists())
