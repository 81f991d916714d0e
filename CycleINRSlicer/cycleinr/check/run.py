"""All checks of one result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import RequestError
from ..inference.options import Progress, ProgressCallback, UpsampleOptions, never_cancelled, no_progress
from ..inference.plan import Plan, plan
from ..inference.stages import Stages
from ..volume import Volume
from .noise import Noise, noise
from .residual import Residual, residual
from .self_check import SelfCheck, self_check, why_not


@dataclass(frozen=True, eq=False)
class Check:
    """What was found out about a result.

    :param work: what the run's options came to.
    :param self_check: None where there is none; ``left_out`` says why.
    """

    work: Plan
    residual: Residual
    noise: Noise
    self_check: SelfCheck | None
    left_out: str = ""

    @property
    def unit(self) -> str:
        """The unit of all intensities in the report."""
        return "HU" if self.work.modality == "CT" else "MR units"


def check_result(
    volume: Volume,
    result: Volume,
    options: UpsampleOptions,
    progress: ProgressCallback = no_progress,
    cancelled: Callable[[], bool] = never_cancelled,
) -> Check:
    """Check a result without ground truth; neither volume is modified.

    :param volume: the acquired scan.
    :param result: what `upsample` made of it with ``options``.
    :raises RequestError: ``result`` is no result of ``volume`` with ``options``.
    :raises Cancelled: ``cancelled`` said so.
    :raises CycleinrError: as `upsample`.
    """
    work = plan(volume, options)
    _check_place(result, work)
    stages = Stages(progress, [0.05, 0.05, 0.9])
    stages.next()(Progress("Comparing with the acquired slices", 0.0))
    left = residual(volume, result, work.grid, work.tau, work.modality, cancelled)
    stages.next()(Progress("Measuring noise", 0.0))
    levels = noise(volume, result, work.grid.axis)
    left_out = why_not(volume, work, options)
    passes = None if left_out else self_check(volume, result, work, options, stages.next(), cancelled)
    progress(Progress("Checked", 1.0, 0.0))
    return Check(work, left, levels, passes, left_out)


def _check_place(result: Volume, work: Plan) -> None:
    if result.geometry_equal(work):
        return
    same_shape = result.shape_kji == work.shape_kji
    found, expected = (" x ".join(map(str, shape[::-1])) for shape in (result.shape_kji, work.shape_kji))
    raise RequestError(
        f"The volume of {found} voxels is no result of this scan with these settings, which gives {expected} voxels"
        f"{' elsewhere' if same_shape else ''}. Check a result with the scan and the settings that it was made with."
    )
