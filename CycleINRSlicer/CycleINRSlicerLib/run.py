"""One run: the scan goes to the engine, progress comes back, the result becomes a node; nothing else stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import vtk
from cycleinr.request import UpsampleOptions
from cycleinr.worker.protocol import UpsampleRequest, VolumeMessage
from slicer.i18n import tr as _

from . import result_node
from .callbacks import WeakNode
from .difference import differenceSteps
from .engine import Engine
from .engine_task import EngineTask, RunState
from .forecast import pace, planOf
from .volume_node import NodeError


class Run(EngineTask):
    """Starts at once; see ``EngineTask`` for progress and cancel.

    Args:
        inputNode: The scan.
        outputNode: Receives the result; None makes a new node.
        makeDifference: Whether to add the difference to B-spline.

    Attributes:
        inputNode: The scan; None when it has left the scene.
        outputNode, differenceNode: The result once the run is done, and its difference to B-spline if asked for; None
            before, and again when it has left the scene: a finished run keeps no volume alive.

    Raises:
        CycleinrError: The input or the options cannot work; nothing was started.
    """

    def __init__(
        self,
        engine: Engine,
        inputNode,
        options: UpsampleOptions,
        onChanged: Callable[[Run], None],
        outputNode=None,
        makeDifference: bool = False,
    ):
        super().__init__(engine, onChanged)
        if outputNode is not None and outputNode is inputNode:
            raise NodeError(_("The result may not replace the input. Choose another output volume."))
        volume, self._plan = planOf(inputNode, options)
        self._options, self._makesDifference, self._resultFile = options, makeDifference, None
        self._input, self._chosenOutput = WeakNode(inputNode), WeakNode(outputNode)
        self._output, self._difference = WeakNode(), WeakNode()
        self._begin([volume], {inputNode.GetID(): _("input volume")})

    @property
    def inputNode(self):
        return self._input.node

    @property
    def outputNode(self):
        return self._output.node

    @property
    def differenceNode(self):
        return self._difference.node

    def cancel(self) -> None:
        """Give the run up; it is over within a second, and nothing of it stays but a result that is there already."""
        if self.outputNode is not None:
            self._end(RunState.DONE)
        else:
            super().cancel()

    def _request(self, messages: list[VolumeMessage]) -> UpsampleRequest:
        self._resultFile = self._path("result")
        return UpsampleRequest(*messages, self._options, self._resultFile.name)

    def _import(self, answer: dict) -> Iterator[None]:
        """Copy the result out of the engine's folder and show it."""
        image = vtk.vtkImageData()
        yield from self._copyAnswer(image, self._resultFile, self._plan.shape_kji)
        affine, inputNode = np.array(answer["ijk_to_ras"]), self._input.node
        node = result_node.showResult(image, affine, inputNode, self._chosenOutput.node, answer["provenance"])
        self._output = WeakNode(node)
        if self._options.region is None:
            pace.learnRun(self._plan, answer["seconds"])
        if self._makesDifference:
            self.phase = _("Computing the difference to B-spline")
            resultAt_s = self.seconds
            self._difference = WeakNode((yield from differenceSteps(inputNode, node)))
            pace.learnDifference(node.GetImageData().GetNumberOfPoints(), self.seconds - resultAt_s)
