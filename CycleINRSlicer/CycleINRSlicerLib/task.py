"""One job for the engine from start to end: volumes go there, progress comes back, then what was asked for.

The engine works on copies, made when the task starts. Copies in both directions go a few megabytes at a time between
turns of the event loop, so that the application never stands still.
"""

from __future__ import annotations

import enum
import itertools
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from cycleinr import Cancelled, CycleinrError, OutOfMemoryError, OutputError
from cycleinr.result import Progress
from cycleinr.volume import Volume
from cycleinr.worker.folder import save_in_steps
from cycleinr.worker.protocol import Event, Request, VolumeMessage
from slicer.i18n import tr as _

from .callbacks import NodeObservers, OneShot, WeakNode
from .engine import Engine, EngineProcessError
from .result_node import copyInto

CANCEL_GRACE_MS = 600
"""A process that does not give up by then is killed."""

_POLL_MS = 100
COPY_SHARE, COMPUTE_SHARE = 0.02, 0.95
_fileNumbers = itertools.count()  # never again the name of a file that Windows may not have deleted yet


class RunState(enum.Enum):
    """Where a task is: at its way to the engine, there, at its way back, or at its end."""

    PREPARING = "preparing"
    RUNNING = "running"
    IMPORTING = "importing"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Task:
    """Starts at once, and holds no node when it is over.

    Args:
        engine: The ``Engine``.
        job: Is given the task and yields between turns of the event loop. It has the engine ``compute``, and returns
            the result, or raises what is wrong; what it is to clear away after a cancel, it does in ``finally``.
        onChanged: Called with the task on every progress and change of state, on the main thread.

    Attributes:
        state: A ``RunState``.
        phase, fraction, remaining_s: Progress for people; the seconds are None while unknown.
        error: Why it failed or was cancelled, an exception whose text is for the reader.
        outcome: What the job returned.
        scan, output, difference: What was made finer, the result, and what the network added to it; set by the job.
        needed: Nodes that the job cannot do without, by what they are called to people; set by the job.
        part: Which part of the job is under way, counted from 0, of how many, and its name; set by the job.
        whatStays: What a cancel says of the scene; set by the job.
        isGivenUp: Whether all of it is to end, and not just the part whose node was removed.
    """

    def __init__(self, engine: Engine, job: Callable[[Task], Generator], onChanged: Callable[[Task], None]):
        self.engine, self._onChanged = engine, onChanged
        self.state, self.phase, self.fraction, self.remaining_s = RunState.PREPARING, "", 0.0, None
        self.error: CycleinrError | None = None
        self.outcome: Any = None
        self.scan = self.output = self.difference = WeakNode()
        self.needed: dict[str, WeakNode] = {}
        self.part, self.whatStays, self.isGivenUp = (0, 1, ""), _("The scene is as it was."), False
        self._startedAt_s, self._endedAt_s = time.monotonic(), None
        self._files: list[Path] = []
        self._number: int | None = None  # of the request that the job waits for
        self._answer: Event | None = None  # its last event, until the job has read it
        self._interruption: Cancelled | None = None
        self._nextTurn, self._patience = OneShot(0, self._turn), OneShot(CANCEL_GRACE_MS, engine.stop)
        scene = slicer.mrmlScene
        self._scene = NodeObservers(self._onScene, scene.StartCloseEvent, scene.NodeRemovedEvent)
        self._scene.follow(scene)
        self._steps = self._begin(job)
        self._turn()

    # -- what others ask
    @property
    def outputNode(self):
        """The result, once it is there and while it is in the scene."""
        return self.output.node

    @property
    def seconds(self) -> float:
        """How long it has taken so far, or took."""
        return (self._endedAt_s or time.monotonic()) - self._startedAt_s

    @property
    def isFinished(self) -> bool:
        return self._endedAt_s is not None

    def cancel(self) -> None:
        """Give up; it is over within a second."""
        self._giveUp(_("Cancelled.") + " " + self.whatStays)

    def wait(self) -> None:
        """Block until it is over, without the application's event loop.

        Raises:
            CycleinrError: What ended it, when it is not done.
        """
        while not self.isFinished:
            if self._number is None:
                self._turn()
            else:
                self.engine.waitForOutput(_POLL_MS)
        if self.error is not None:
            raise self.error

    # -- what a job asks
    def compute(self, volumes: list[Volume], requestOf: Callable[..., Request]) -> Generator[None, None, tuple]:
        """Have the engine do a request; gives its answer, and its array as an image where it has one.

        Args:
            volumes: What the engine needs.
            requestOf: Makes the request of these volumes as they travel, and ``newFile``.
        """
        self.state = RunState.PREPARING
        self.engine.start()
        messages = []
        for number, volume in enumerate(volumes):
            names = []
            for array in filter(lambda each: each is not None, (volume.array, volume.valid)):
                path = self.newFile("input.npy")
                for fraction in save_in_steps(array, path):
                    self._show(_("Copying the scan"), COPY_SHARE * (number + fraction) / len(volumes))
                    yield
                names.append(path.name)
            messages.append(VolumeMessage.of(volume, *names))
        request = requestOf(*messages, self.newFile)
        answer = yield from self._ask(request)
        image = None
        if answer.get("shape_kji") is not None:
            image = vtk.vtkImageData()
            for fraction in copyInto(image, np.load(self.engine.folder.path / request.output, mmap_mode="r")):
                share = COMPUTE_SHARE + (1 - COMPUTE_SHARE) * fraction
                self._show(_("Adding the result to the scene"), share, 0.0)
                yield
        self._discardFiles()
        return answer, image

    def newFile(self, name: str) -> Path:
        """A new file in the engine's folder, with a number before its name; it goes with the request.

        Raises:
            EngineProcessError: The process has ended, or could not start.
        """
        if self.engine.folder.path is None:
            raise EngineProcessError(self.engine.lastDeath)
        self._files.append(self.engine.folder.path / f"{next(_fileNumbers)}_{name}")
        return self._files[-1]

    def _ask(self, request: Request) -> Generator[None, None, dict]:
        self.state = RunState.RUNNING
        self._number = self.engine.submit(request, self._onEvent)
        while self._answer is None:
            yield
        event, self._answer, self._number = self._answer, None, None
        self._patience.stop()
        self.state = RunState.IMPORTING
        if isinstance(event, dict):  # perhaps a moment after the cancel
            return event
        interruption, self._interruption = self._interruption, None
        error = EngineProcessError(str(event)) if type(event) is CycleinrError else event
        raise interruption or error

    def _onEvent(self, event: Event) -> None:
        if isinstance(event, Progress):
            share = COPY_SHARE + (COMPUTE_SHARE - COPY_SHARE) * event.fraction
            self._show(event.phase, share, event.remaining_s)
            self._tell()
        else:
            self._answer = event
            if not self._steps.gi_running:  # else it could not even be sent
                self._turn()

    def _show(self, phase: str, fraction: float, remaining_s: float | None = None) -> None:
        number, count, name = self.part
        self.fraction = (number + fraction) / count
        self.phase, self.remaining_s = phase, remaining_s
        if count > 1:
            text = _("{number} of {all}, {name}: {phase}")
            self.phase = text.format(number=number + 1, all=count, name=name, phase=phase)
            self.remaining_s = None

    # -- turns of the event loop
    def _begin(self, job: Callable[[Task], Generator]) -> Generator:
        return (yield from job(self))

    def _turn(self) -> None:
        """Let the job make its next step."""
        error, isOver = None, True
        interruption = self._interruption if self._answer is None else None
        try:
            if interruption is not None:
                self._interruption = interruption if self.isGivenUp else None
                self._steps.throw(interruption)
            else:
                next(self._steps)
            isOver = False
        except StopIteration as end:
            self.outcome = end.value
        except Exception as reason:
            error = _forReader(reason)
        if isOver:
            self._end(error)
        else:
            if self._number is None:
                self._nextTurn.start()
            self._tell()

    def _giveUp(self, why: str, wholly: bool = True) -> None:
        if self.isFinished or self.isGivenUp:
            return
        self._interruption, self.isGivenUp = Cancelled(why), wholly
        if self._number is not None and self._answer is None:
            self.engine.cancel(self._number)
            self._patience.start()
        elif not self._steps.gi_running:
            self._turn()

    def _onScene(self) -> None:
        removed = [what for what, node in self.needed.items() if node.node is None]
        if slicer.mrmlScene.IsClosing():
            self._giveUp(_("The scene was closed, so the run was cancelled."))
        elif removed:
            self.needed = {}
            self._giveUp(_("The {what} was removed, so the run was cancelled.").format(what=removed[0]), wholly=False)

    def _end(self, error: CycleinrError | None) -> None:
        self.error, self._endedAt_s = error, time.monotonic()
        if error is None:
            self.state, self.fraction, self.remaining_s = RunState.DONE, 1.0, 0.0
        else:
            self.state = RunState.CANCELLED if isinstance(error, Cancelled) else RunState.FAILED
        self._nextTurn.stop()
        self._patience.stop()
        self._scene.stop()
        self._discardFiles()
        self._tell()
        self._onChanged = _tellNobody

    def _discardFiles(self) -> None:
        files, self._files = self._files, []
        self.engine.folder.discard(files)

    def _tell(self) -> None:
        try:
            self._onChanged(self)
        except Exception:  # as with an exception in a slot: reported, and the task goes on
            sys.excepthook(*sys.exc_info())


def _tellNobody(_task: Task) -> None:
    """A finished task keeps nobody alive who was told."""


def _forReader(reason: Exception) -> CycleinrError:
    """What ended a step, as an error for the reader."""
    if isinstance(reason, CycleinrError):
        error = reason
    elif isinstance(reason, OSError):
        error = OutputError(
            _("The scan could not be handed to the engine ({reason}). Free space in {folder}.").format(
                reason=reason.strerror or reason, folder=slicer.app.temporaryPath
            )
        )
    elif isinstance(reason, MemoryError):
        error = OutOfMemoryError(_("There is no memory left for the result."))
    else:  # a mistake of ours: reported, and the task ends all the same
        sys.excepthook(type(reason), reason, reason.__traceback__)
        what = _("Something went wrong that should not ({reason}). The Python console has more; please report it.")
        error = EngineProcessError(what.format(reason=f"{type(reason).__name__}: {reason}"))
    # Their frames hold voxels, and maps of files that Windows would not delete
    for each in (reason, error):
        each.__traceback__ = each.__cause__ = each.__context__ = None
    return error
