"""``slicer.parameterNodeWrapper``: typed attributes over a real ``vtkMRMLScriptedModuleNode``.

Values are stored in Slicer's own format, so scenes are interchangeable. Provided types: int, float, bool, str, pathlib
paths, Enum classes, node classes, and unions of these (``X | None`` included). Others fail when the class is defined.
"""

from .annotations import Choice, Decimals, Default, Exclude, Label, Maximum, Minimum, SingleStep, Validator, WithinRange
from .gui import createGui
from .wrapper import isParameterNodeWrapper, parameterNodeWrapper

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "Label",
    "Maximum",
    "Minimum",
    "SingleStep",
    "Validator",
    "WithinRange",
    "createGui",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]
