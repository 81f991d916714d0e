"""What may stand in ``Annotated[type, ...]``: validators, defaults and hints for widgets."""

import math
import typing
from dataclasses import dataclass


class Validator:
    """Base class of validators."""

    def validate(self, value):
        raise NotImplementedError


@dataclass(frozen=True)
class WithinRange(Validator):
    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclass(frozen=True)
class Minimum(Validator):
    minimum: float

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"value must be at least {self.minimum}, is {value}")


@dataclass(frozen=True)
class Maximum(Validator):
    maximum: float

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"value must be at most {self.maximum}, is {value}")


@dataclass(frozen=True)
class Choice(Validator):
    choices: list

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"value must be one of {self.choices}, is {value!r}")


@dataclass(frozen=True)
class Exclude(Validator):
    excludedValues: list

    def validate(self, value):
        if value in self.excludedValues:
            raise ValueError(f"value must be none of {self.excludedValues}, is {value!r}")


@dataclass(frozen=True)
class Decimals:
    """Decimals that a spin box shows."""

    value: int


@dataclass(frozen=True)
class SingleStep:
    """Step of a spin box or slider."""

    value: float


@dataclass(frozen=True)
class Label:
    """Text beside the widget that ``createGui`` makes."""

    label: str


class Default:
    """The default value, or a function that makes it."""

    def __init__(self, value=None, *, generator=None):
        self._value, self._generator = value, generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value


def split(hint):
    """``Annotated[T, a, b]`` -> (T, [a, b]); any other hint -> (hint, [])."""
    if typing.get_origin(hint) is typing.Annotated:
        kind, *annotations = typing.get_args(hint)
        return kind, annotations
    return hint, []


def first(annotations, kind):
    """The first annotation of class ``kind``, or None."""
    return next((annotation for annotation in annotations if isinstance(annotation, kind)), None)


def bounds(annotations):
    """(minimum, maximum) that the annotations allow, infinite where they say nothing."""
    within, low, high = (first(annotations, kind) for kind in (WithinRange, Minimum, Maximum))
    if within:
        return within.minimum, within.maximum
    return low.minimum if low else -math.inf, high.maximum if high else math.inf
