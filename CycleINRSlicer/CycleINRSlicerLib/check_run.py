"""One check of a result: scan and result go to the engine, error map and curve come back as nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import vtk
from cycleinr.grid import COLUMN_OF_AXIS, Target
from cycleinr.inference.models import BUNDLED, bundled_weights
from cycleinr.inference.options import UpsampleOptions
from cycleinr.inference.plan import plan
from cycleinr.network.weights import read_card
from cycleinr.volume import Volume
from cycleinr.worker.events import CheckAnswer
from cycleinr.worker.protocol import CheckRequest, VolumeMessage
from slicer.i18n import tr as _

from . import self_check_display
from .engine import Engine
from .engine_task import EngineTask
from .errors import NodeError
from .result_node import provenanceOf
from .view_state import WeakNode
from .volume_node import volumeFromNode


@dataclass(frozen=True)
class CheckSettings:
    """Where to compute; all else follows from how the result was made."""

    device: str = "auto"
    memoryLimitGb: float | None = None


class CheckRun(EngineTask):
    """Starts at once; see ``EngineTask`` for progress and cancel.

    Attributes:
        numbers: What ``cycleinr.checks.numbers`` gives, once the check is done.
        mapNode: The error map once the check is done; None where the result allows no self-check, and when the map
            has left the scene.

    Raises:
        CycleinrError: The result is not one of this scan, or cannot be checked here; nothing was started.
    """

    def __init__(
        self,
        engine: Engine,
        inputNode,
        resultNode,
        settings: CheckSettings,
        onChanged: Callable[[CheckRun], None],
        blocking: bool = False,
    ):
        super().__init__(engine, onChanged, blocking)
        scan, result = volumeFromNode(inputNode), volumeFromNode(resultNode)
        self._options = optionsOfResult(scan, result, provenanceOf(resultNode), settings)
        plan(scan, self._options)
        self._pair = scan, result
        self._result, self._map, self._mapFile, self.numbers = WeakNode(resultNode), WeakNode(), None, None
        self._begin({inputNode.GetID(): _("input volume"), resultNode.GetID(): _("result")})

    @property
    def mapNode(self):
        return self._map.node

    def _volumes(self) -> list[Volume]:
        return list(self._pair)

    def _request(self, messages: list[VolumeMessage]) -> CheckRequest:
        self._mapFile = self._path("error")
        return CheckRequest(*messages, self._options, self._mapFile.name)

    def _import(self, answer: CheckAnswer) -> Iterator[None]:
        self.numbers, image = answer.numbers, vtk.vtkImageData()
        if answer.shape_kji is None:
            return
        yield from self._copyAnswer(image, self._mapFile, answer.shape_kji)
        affine = np.array(answer.ijk_to_ras)
        self._map = WeakNode(self_check_display.addNodes(image, affine, self._result.node, self.numbers))

    def _release(self) -> None:
        self._pair = None


def optionsOfResult(
    scan: Volume, result: Volume, provenance: dict[str, str], settings: CheckSettings
) -> UpsampleOptions:
    """The options that a result was made with.

    Raises:
        NodeError: The result does not say how it was made, or was made with other weights than the bundled ones.
    """
    if not {"axis", "tau", "extent", "weights_sha256"} <= set(provenance):
        raise NodeError(
            _("{name} does not say how it was made, so it cannot be checked. Choose a result of CycleINR.").format(
                name=result.name
            )
        )
    column = COLUMN_OF_AXIS.get(provenance["axis"], 0)
    spacing_mm = scan.spacing_ijk_mm[column]
    return UpsampleOptions(
        target=Target(ratio=max(1.0, spacing_mm / result.spacing_ijk_mm[column])),
        axis=provenance["axis"],
        extent=provenance["extent"],
        thickness_mm=float(provenance["tau"]) * spacing_mm,
        model=_modelOf(result, provenance),
        device=settings.device,
        memory_limit_gb=settings.memoryLimitGb,
        equalize_slices=provenance.get("equalized_slices") == "yes",
    )


def _modelOf(result: Volume, provenance: dict[str, str]) -> str:
    for name in BUNDLED:
        if read_card(bundled_weights(name))["sha256"] == provenance["weights_sha256"]:
            return name
    raise NodeError(
        _(
            "{name} was made with the weights {model}, which this CycleINR does not have, so it cannot be checked. "
            "Make it again, or check it on the command line with cycleinr upsample --report."
        ).format(name=result.name, model=provenance.get("model", "?"))
    )
