"""One run: the scan goes to the engine, progress comes back, the result becomes a node; nothing else stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from cycleinr.inference.options import UpsampleOptions
from cycleinr.inference.plan import Plan, plan
from cycleinr.volume import Volume
from cycleinr.worker.protocol import UpsampleRequest, VolumeMessage
from slicer.i18n import tr as _

from . import result_node
from .difference import differenceSteps
from .engine import Engine
from .engine_task import EngineTask, RunState
from .errors import NodeError
from .volume_node import volumeFromNode


@dataclass(frozen=True)
class RunRequest:
    """What to make finer, into which node (None: a new one), how, and whether to add the difference to B-spline."""

    inputNode: object
    outputNode: object | None
    options: UpsampleOptions
    makeDifference: bool = False


class Run(EngineTask):
    """Starts at once; see ``EngineTask`` for progress and cancel.

    Attributes:
        outputNode, differenceNode: The result once the run is done, and its difference to B-spline if asked for.

    Raises:
        CycleinrError: The input or the options cannot work; nothing was started.
    """

    def __init__(self, engine: Engine, request: RunRequest, onChanged: Callable[[Run], None], blocking: bool = False):
        super().__init__(engine, onChanged, blocking)
        if request.outputNode is not None and request.outputNode is request.inputNode:
            raise NodeError(_("The result may not replace the input. Choose another output volume."))
        self._volume = volumeFromNode(request.inputNode)
        self._plan: Plan = plan(self._volume, request.options)
        self._wanted = request
        self._inputID = request.inputNode.GetID()
        self._outputID = request.outputNode.GetID() if request.outputNode else None
        self.outputNode = self.differenceNode = None
        self._begin({self._inputID: _("input volume")})

    def cancel(self) -> None:
        """Give the run up; it is over within a second, and nothing of it stays but a result that is there already."""
        if self.outputNode is not None and not self.isFinished:
            self._finish(RunState.DONE, None)
            return
        super().cancel()

    def _volumes(self) -> list[Volume]:
        return [self._volume]

    def _request(self, messages: list[VolumeMessage]) -> UpsampleRequest:
        self._release()
        return UpsampleRequest(0, *messages, self._wanted.options, self._path("result").name)

    def _import(self) -> Iterator[None]:
        """Copy the result out of the engine's folder and show it."""
        answer, image = self._answer, vtk.vtkImageData()
        yield from self._copyAnswer(image, self._files[-1], self._plan.shape_kji)
        inputNode = slicer.mrmlScene.GetNodeByID(self._inputID)
        outputNode = slicer.mrmlScene.GetNodeByID(self._outputID) if self._outputID else None
        affine = np.array(answer["ijk_to_ras"])
        self.outputNode = result_node.showResult(image, affine, inputNode, outputNode, answer["provenance"])
        if self._wanted.makeDifference:
            self.phase = _("Computing the difference to B-spline")
            self.differenceNode = yield from differenceSteps(inputNode, self.outputNode)

    def _release(self) -> None:
        self._volume = None
