"""Calls that go wrong before they begin: unknown keywords, positions, and values of the wrong kind."""

from __future__ import annotations

import difflib
import inspect
import numbers
from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

from .errors import RequestError

_P = ParamSpec("_P")
_R = TypeVar("_R")

_ALIKE = 0.5


def checked_call(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Refuse calls that a function's signature does not allow with a ``RequestError`` that names the right keyword."""
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            name = function.__qualname__.removesuffix(".__init__")
            raise _misuse(name, signature, kwargs, error) from None
        return function(*args, **kwargs)

    return checked


def number(name: str, value: object) -> float | None:
    """A keyword's number as a float, or None.

    Raises:
        RequestError: It is neither.
    """
    if value is None:
        return None
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    raise RequestError(f"The {name} is {value!r}, which is no number. Give a number, for example {name}=5 / 3.")


def callback(name: str, value: Callable[..., _R] | None) -> Callable[..., _R] | None:
    """A keyword's function, or None.

    Raises:
        RequestError: It cannot be called.
    """
    if value is None or callable(value):
        return value
    raise RequestError(f"{name}={value!r} is no function. Give one that is called during the run, or leave it away.")


def _misuse(name: str, signature: inspect.Signature, given: Mapping[str, object], error: TypeError) -> RequestError:
    kinds = [(each.name, each.kind is each.KEYWORD_ONLY) for each in signature.parameters.values()]
    by_name = [key for key, keyword_only in kinds if keyword_only]
    places = [key for key, keyword_only in kinds if not keyword_only and key != "self"]
    takes = f"{name} takes {', '.join(places)}{' and, by name, ' if places else 'by name '}{', '.join(by_name)}."
    unknown = [key for key in given if key not in signature.parameters]
    if not unknown:
        return RequestError(f"{name} cannot be called like this: {error}. {takes}")
    close = difflib.get_close_matches(unknown[0], by_name, 1, _ALIKE)
    hint = f"Do you mean {close[0]}? " if close else ""
    return RequestError(f"{name} has no keyword {unknown[0]}. {hint}{takes}")
