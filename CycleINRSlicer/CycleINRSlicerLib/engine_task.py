"""One request to the engine from start to end: volumes go there, progress comes back, then what was asked for.

The engine works on copies, made when the task starts. Copies in both directions go a few megabytes at a time between
turns of the event loop, so that the application never stands still.
"""

from __future__ import annotations

import enum
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import slicer
from cycleinr.errors import Cancelled, CycleinrError, OutOfMemoryError, OutputError
from cycleinr.volume import Volume
from cycleinr.worker.folder import save_in_steps
from cycleinr.worker.protocol import (
    CancelledEvent,
    DoneEvent,
    Event,
    FailedEvent,
    ProgressEvent,
    Request,
    VolumeMessage,
)
from slicer.i18n import tr as _

from .callbacks import OneShot, SceneWatch
from .engine import DiedEvent, Engine, EngineProcessError
from .result_node import loadInto

CANCEL_GRACE_MS = 600
"""A process that does not give up by then is killed."""

_POLL_MS = 100
COPY_SHARE, COMPUTE_SHARE = 0.02, 0.95


class RunState(enum.Enum):
    """Where a task is; IDLE is the panel's own, before there is one."""

    IDLE = "idle"
    PREPARING = "preparing"
    RUNNING = "running"
    IMPORTING = "importing"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def isBusy(self) -> bool:
        return self in (RunState.PREPARING, RunState.RUNNING, RunState.IMPORTING)


class EngineTask:
    """A request and what comes of it; ``onChanged(task)`` is called on every change, on the main thread.

    A kind of task says in ``_request`` what it asks for, and in ``_import`` what becomes of the answer; every end is
    ``_end``.

    Attributes:
        state: A ``RunState``.
        phase, fraction, remaining_s: Progress for people; the seconds are None while unknown.
        seconds: How long it has taken so far, or took.
        error: Why it failed or was cancelled, an exception whose text is for the reader.
    """

    def __init__(self, engine: Engine, onChanged: Callable[[EngineTask], None]):
        self._engine, self._onChanged = engine, onChanged
        self.state, self.phase, self.fraction, self.remaining_s = RunState.PREPARING, _("Copying the scan"), 0.0, None
        self.error: CycleinrError | None = None
        self._startedAt_s, self._endedAt_s = time.monotonic(), None
        self._number: int | None = None
        self._files: list[Path] = []
        self._steps: Iterator[None] | None = None
        self._watch: SceneWatch | None = None
        self._givenUp: CycleinrError | None = None
        self._nextTurn, self._patience = OneShot(0, self._turn), OneShot(CANCEL_GRACE_MS, self._killIfRunning)

    # -- what a kind of task is
    def _request(self, messages: list[VolumeMessage]) -> Request:
        """What to ask for, with the volumes as they travel."""
        raise NotImplementedError

    def _import(self, answer: dict) -> Iterator[None]:
        """Bring the request's answer into the scene, in steps between turns of the event loop."""
        raise NotImplementedError

    # -- from start to end
    def _begin(self, volumes: list[Volume], watched: dict[str, str]) -> None:
        """Start with the volumes that the engine needs; the removal of a node, by ID and what it is called, ends it."""
        self._watch = SceneWatch(watched, self._onSceneClose, self._onNodeRemoved)
        self._engine.start()
        self._do(self._send(volumes))

    @property
    def seconds(self) -> float:
        return (self._endedAt_s or time.monotonic()) - self._startedAt_s

    @property
    def isFinished(self) -> bool:
        return not self.state.isBusy

    def cancel(self) -> None:
        """Give up; it is over within a second, and nothing stays."""
        self._giveUp(Cancelled(_("Cancelled. The scene is as it was.")))

    def wait(self) -> None:
        """Block until it is over, without the application's event loop.

        Raises:
            CycleinrError: What ended it, when it is not done.
        """
        while not self.isFinished:
            if self._steps is not None:
                self._turn()
            else:
                self._engine.process.waitForOutput(_POLL_MS)
        if self.error is not None:
            raise self.error

    def _giveUp(self, error: CycleinrError) -> None:
        if self.isFinished or self._givenUp is not None:
            return
        if self.state is not RunState.RUNNING:
            self._end(RunState.CANCELLED, error)
            return
        self._givenUp = error
        self._engine.cancel(self._number)
        self._patience.start()

    def _killIfRunning(self) -> None:
        if self.state is RunState.RUNNING:
            self._engine.stop()  # its listener, this task, hears of it

    def _onSceneClose(self) -> None:
        self._giveUp(Cancelled(_("The scene was closed, so the run was cancelled.")))

    def _onNodeRemoved(self, what: str) -> None:
        self._giveUp(Cancelled(_("The {what} was removed, so the run was cancelled.").format(what=what)))

    def _end(self, state: RunState, error: CycleinrError | None = None) -> None:
        """The one end of every task. It cannot fail: the state comes first, and what fails after it is reported."""
        if self.isFinished:
            return
        self.state, self.error, self._endedAt_s = state, error, time.monotonic()
        if state is RunState.DONE:
            self.fraction, self.remaining_s = 1.0, 0.0
        for letGo in (self._stopCalls, self._closeSteps, self._discardFiles, self._tell):
            try:
                letGo()
            except Exception:  # as with an exception in a slot
                sys.excepthook(*sys.exc_info())
        self._onChanged = _tellNobody

    def _stopCalls(self) -> None:
        self._nextTurn.stop()
        self._patience.stop()
        if self._watch is not None:
            self._watch.stop()

    def _closeSteps(self) -> None:
        """What the steps hold goes now, a map of the engine's file for instance; the step that is running ends so."""
        steps, self._steps = self._steps, None
        if steps is not None and not steps.gi_running:
            steps.close()

    def _discardFiles(self) -> None:
        self._engine.process.discard(self._files)
        self._files = []

    def _tell(self) -> None:
        try:
            self._onChanged(self)
        except Exception:  # as with an exception in a slot: reported, and the task goes on
            sys.excepthook(*sys.exc_info())

    # -- steps between turns of the event loop
    def _do(self, steps: Iterator[None]) -> None:
        self._steps = steps
        self._nextTurn.start()

    def _turn(self) -> None:
        if self._steps is None or self.isFinished:
            return
        steps = self._steps
        reached, error = _attempt(lambda: next(steps, _OVER))
        if self.isFinished:  # within the step
            steps.close()
        elif error is not None:
            self._end(RunState.FAILED, error)
        elif self._steps is not steps:  # the engine's answer came within the step
            return
        elif reached is _OVER:
            self._steps = None
            if self.state is RunState.IMPORTING:
                self._end(RunState.DONE)
        else:
            self._tell()
            if self._steps is steps:
                self._do(steps)

    def _send(self, volumes: list[Volume]) -> Iterator[None]:
        """Copy the volumes into the engine's folder, then hand the request over."""
        self._checkEngine()
        messages, copied = [], 0
        total = sum(array.nbytes for volume in volumes for array in _arraysOf(volume))
        for volume in volumes:
            names = []
            for array in _arraysOf(volume):
                path = self._path("input")
                for fraction in save_in_steps(array, path):
                    self.fraction = COPY_SHARE * (copied + fraction * array.nbytes) / total
                    yield
                    self._checkEngine()
                copied += array.nbytes
                names.append(path.name)
            messages.append(VolumeMessage.of(volume, *names))
        self.state = RunState.RUNNING
        self._number = self._engine.submit(self._request(messages), self._onEvent)

    def _checkEngine(self) -> None:
        """A process that cannot start dies before it is asked anything."""
        if not self._engine.process.isRunning:
            raise EngineProcessError(self._engine.lastDeath)

    def _path(self, name: str, suffix: str = ".npy") -> Path:
        """A file in the engine's folder; it goes when the task ends."""
        path = self._engine.process.folder / f"{name}_{len(self._files)}_{id(self)}{suffix}"
        self._files.append(path)
        return path

    def _copyAnswer(self, image, path: Path, shape_kji: tuple[int, ...]) -> Iterator[None]:
        """Fill an image with an array of the engine."""
        for fraction in loadInto(image, path, shape_kji):
            self.fraction = COMPUTE_SHARE + (1 - COMPUTE_SHARE) * fraction
            yield

    # -- what the engine says
    def _onEvent(self, event: Event | DiedEvent) -> None:
        if self.isFinished:
            return
        match event:
            case ProgressEvent():
                self._onProgress(event)
            case DoneEvent():
                self._onDone(event)
            case FailedEvent():
                self._end(RunState.FAILED, _engineError(event))
            case CancelledEvent():
                self._end(RunState.CANCELLED, self._givenUp)
            case DiedEvent():
                self._onDied(event)

    def _onProgress(self, event: ProgressEvent) -> None:
        self.phase, self.remaining_s = event.phase, event.remaining_s
        self.fraction = COPY_SHARE + (COMPUTE_SHARE - COPY_SHARE) * event.fraction
        self._tell()

    def _onDone(self, event: DoneEvent) -> None:
        if self._givenUp is not None:  # a moment too late for the engine
            self._end(RunState.CANCELLED, self._givenUp)
            return
        self.state, self.phase, self.remaining_s = RunState.IMPORTING, _("Adding the result to the scene"), 0.0
        self._tell()
        self._do(self._import(event.answer))

    def _onDied(self, event: DiedEvent) -> None:
        if self._givenUp is not None:
            self._end(RunState.CANCELLED, self._givenUp)
        else:
            self._end(RunState.FAILED, EngineProcessError(event.reason))


def _tellNobody(_task: EngineTask) -> None:
    """A finished task keeps nobody alive who was told."""


_OVER = object()


def _attempt(step: Callable[[], object]) -> tuple[object, CycleinrError | None]:
    """What a step gives, or the error that ended it, for the reader.

    The error comes without its traceback, whose frames hold voxels, and a map of a file that Windows would not delete.
    """
    try:
        return step(), None
    except CycleinrError as error:
        return None, _withoutFrames(error)
    except OSError as error:
        return None, _diskError(_withoutFrames(error))
    except MemoryError as error:
        _withoutFrames(error)
        return None, OutOfMemoryError(_("There is no memory left for the result."))
    except Exception as error:  # a mistake of ours: reported, and the task ends all the same
        sys.excepthook(*sys.exc_info())
        reason = f"{type(error).__name__}: {_withoutFrames(error)}"
        return None, EngineProcessError(
            _("Something went wrong that should not ({reason}). The Python console has more; please report it.").format(
                reason=reason
            )
        )


def _arraysOf(volume: Volume) -> list[np.ndarray]:
    return [volume.array] if volume.valid is None else [volume.array, volume.valid]


def _withoutFrames(error: Exception) -> Exception:
    """An error without what the frames of its traceback hold."""
    for each in (error, error.__cause__, error.__context__):
        if each is not None:
            traceback.clear_frames(each.__traceback__)
            each.__traceback__ = None
    return error


def _engineError(event: FailedEvent) -> CycleinrError:
    """The engine's error as it was raised there."""
    error = event.error()
    return EngineProcessError(str(error)) if type(error) is CycleinrError else error


def _diskError(error: OSError) -> CycleinrError:
    return OutputError(
        _("The scan could not be handed to the engine ({reason}). Free space in {folder}.").format(
            reason=error.strerror or error, folder=slicer.app.temporaryPath
        )
    )
