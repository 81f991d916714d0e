"""What the panel keeps in the scene, and the engine's options that it means."""

from __future__ import annotations

import enum
from typing import Annotated

import slicer
from cycleinr.grid import Target
from cycleinr.request import UpsampleOptions
from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


class TargetKind(enum.Enum):
    SPACING = "spacing"
    ISOTROPIC = "isotropic"
    RATIO = "ratio"

    def label(self):
        return {
            TargetKind.SPACING: _("Slice spacing"),
            TargetKind.ISOTROPIC: _("Isotropic"),
            TargetKind.RATIO: _("Ratio"),
        }[self]


class AxisChoice(enum.Enum):
    AUTO = "auto"
    I = "i"  # noqa: E741  Slicer's own name of the axis
    J = "j"
    K = "k"

    def label(self):
        """The panel replaces letters by what the slices of its scan are called."""
        return _("Automatic") if self is AxisChoice.AUTO else self.name


class ModelChoice(enum.Enum):
    AUTO = "auto"
    CT = "ct"
    MR = "mr"

    def label(self):
        return _("Automatic") if self is ModelChoice.AUTO else self.name


class ExtentChoice(enum.Enum):
    CENTRES = "centres"
    EDGES = "edges"

    def label(self):
        return _("First to last slice centre") if self is ExtentChoice.CENTRES else _("Outer slice halves too")


@parameterNodeWrapper
class CycleINRSlicerParameterNode:
    """The panel's settings; saved with the scene.

    inputVolume: the scan; None stands for the one that the slice views show.
    outputVolume: receives the result; None stands for a new node.
    regionNode: limits a run to the voxels whose centres it contains; None for the whole scan.
    thicknessMm: used unless thicknessIsAutomatic; 0 means thin slices with gaps.
    device: ``auto``, ``cpu``, ``cuda:N`` or ``mps``.
    memoryLimitGb: memory beside the volumes; 0 leaves it to the engine.
    resultInput, resultVolume, differenceVolume: the last run's scan and what came of it, for the review.
    checkVolume: the error map of the last check of resultVolume.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputVolume: vtkMRMLScalarVolumeNode
    regionNode: vtkMRMLMarkupsROINode
    targetKind: TargetKind = TargetKind.SPACING
    spacingMm: Annotated[float, WithinRange(0.05, 20.0)] = 1.0
    ratio: Annotated[float, WithinRange(1.0, 20.0)] = 3.0
    axis: AxisChoice = AxisChoice.AUTO
    thicknessIsAutomatic: bool = True
    thicknessMm: Annotated[float, WithinRange(0.0, 40.0)] = 5.0
    model: ModelChoice = ModelChoice.AUTO
    device: str = "auto"
    memoryLimitGb: Annotated[float, WithinRange(0.0, 1000.0)] = 0.0
    extent: ExtentChoice = ExtentChoice.CENTRES
    makeDifference: bool = False
    equalizeSlices: bool = False
    intensityOffset: Annotated[float, WithinRange(-100000.0, 100000.0)] = 0.0
    fillGaps: bool = False
    resultInput: vtkMRMLScalarVolumeNode
    resultVolume: vtkMRMLScalarVolumeNode
    differenceVolume: vtkMRMLScalarVolumeNode
    checkVolume: vtkMRMLScalarVolumeNode


_KEPT = ("inputVolume", "resultInput", "resultVolume", "differenceVolume", "checkVolume")


def resetSettings(parameters: CycleINRSlicerParameterNode) -> None:
    """Settings as a new scene has them; scan and results stay."""
    with slicer.util.NodeModify(parameters):
        for name in set(parameters.allParameters) - set(_KEPT):
            parameters.setValue(name, parameters.default(name).value)


def optionsOf(parameters: CycleINRSlicerParameterNode) -> UpsampleOptions:
    """The engine's options that the panel's settings mean.

    Raises:
        RequestError: The settings contradict themselves.
    """
    kind = parameters.targetKind
    return UpsampleOptions(
        target=Target(
            spacing_mm=parameters.spacingMm if kind is TargetKind.SPACING else None,
            ratio=parameters.ratio if kind is TargetKind.RATIO else None,
            isotropic=kind is TargetKind.ISOTROPIC,
        ),
        axis=parameters.axis.value,
        extent=parameters.extent.value,
        thickness_mm=None if parameters.thicknessIsAutomatic else parameters.thicknessMm,
        model=parameters.model.value,
        device=parameters.device,
        memory_limit_gb=parameters.memoryLimitGb or None,
        intensity_offset=parameters.intensityOffset,
        equalize_slices=parameters.equalizeSlices,
        fill_gaps=parameters.fillGaps,
    )
