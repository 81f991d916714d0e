"""A result and what belongs to it get their names one after the other, and no request to end comes between them.

The command line's signal handler asks `hold`; where nothing handles signals this way, as in Slicer, nothing is held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class _Section(threading.local):
    """Signal handlers run in the main thread, so that what other threads write is no concern of theirs."""

    depth = 0
    begun = False
    held: Callable[[], None] | None = None
    named: tuple[Path, ...] = ()


_SECTION = _Section()


@contextmanager
def in_one_piece() -> Iterator[None]:
    """From the first name that is given in the block to its end, requests to end wait."""
    if _SECTION.depth == 0:
        _SECTION.begun, _SECTION.held, _SECTION.named = False, None, ()
    _SECTION.depth += 1
    try:
        yield
    finally:
        _SECTION.depth -= 1
        if _SECTION.depth == 0:
            _SECTION.begun = False
    if _SECTION.depth == 0 and _SECTION.held is not None:
        _SECTION.held()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Around the rename that gives a finished file or folder its name."""
    _SECTION.begun = _SECTION.depth > 0
    yield
    if _SECTION.depth:
        _SECTION.named = (*_SECTION.named, path)


def hold(end: Callable[[], None]) -> bool:
    """Whether a request to end has to wait; `end` is then called, in the same thread, once all names are given.

    It is not called where giving them failed, which ends the work anyway.
    """
    if not _SECTION.begun:
        return False
    _SECTION.held = end
    return True


def names_given() -> tuple[Path, ...]:
    """What got its name in the latest block."""
    return _SECTION.named
