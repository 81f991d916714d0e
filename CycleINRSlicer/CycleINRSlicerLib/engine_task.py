"""One request to the engine from start to end: volumes go there, progress comes back, then what was asked for.

The engine works on copies, made when the task starts. Copies in both directions go a few megabytes at a time between
turns of the event loop, so that the application never stands still.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
from cycleinr import errors as engineErrors
from cycleinr.errors import Cancelled, CycleinrError
from cycleinr.volume import Volume
from cycleinr.worker.protocol import VolumeMessage
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from . import known_problems, result_node
from .engine import Engine
from .errors import EngineProcessError, InstallationError
from .installation import installedVersion

CANCEL_GRACE_MS = 600
"""A process that does not give up by then is killed."""

IMPORT_FAILURES = ("ImportError", "ModuleNotFoundError", "OSError")
"""What a broken PyTorch raises when the engine's process imports it."""

_POLL_MS = 100
COPY_SHARE, COMPUTE_SHARE = 0.02, 0.95


class RunState(enum.Enum):
    PREPARING = "preparing"
    RUNNING = "running"
    IMPORTING = "importing"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


UNFINISHED = (RunState.PREPARING, RunState.RUNNING, RunState.IMPORTING)


class EngineTask(VTKObservationMixin):
    """A request and what comes of it; ``onChanged(task)`` is called on every change, on the main thread.

    A kind of task says in ``_volumes`` what the engine needs, in ``_request`` what it asks for, and in ``_import``
    what becomes of the answer.

    Attributes:
        state: A ``RunState``.
        phase, fraction, remaining_s: Progress for people; the seconds are None while unknown.
        error: Why it failed or was cancelled, an exception whose text is for the reader.
    """

    def __init__(self, engine: Engine, onChanged: Callable[[EngineTask], None], blocking: bool = False):
        super().__init__()
        self._engine, self._onChanged, self._blocking = engine, onChanged, blocking
        self._number, self._files, self._answer, self._watched = None, [], None, {}
        self.state, self.phase, self.fraction, self.remaining_s = RunState.PREPARING, _("Copying the scan"), 0.0, None
        self.error = None

    # -- what a kind of task is
    def _volumes(self) -> list[Volume]:
        """The volumes that the engine needs; asked once."""
        raise NotImplementedError

    def _request(self, messages: list[VolumeMessage]) -> object:
        """The request, one of those in ``cycleinr.worker.protocol``, with the volumes as they travel."""
        raise NotImplementedError

    def _import(self) -> Iterator[None]:
        """Bring the engine's ``_answer`` into the scene, in steps between turns of the event loop."""
        raise NotImplementedError

    # -- from start to end
    def _begin(self, watched: dict[str, str]) -> None:
        """Start; the removal of a node ends the task. ``watched`` has the node's ID and what it is called then."""
        self._watched = watched
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneClose)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeRemoved)
        self._engine.start()
        self._do(self._send())

    @property
    def isFinished(self) -> bool:
        return self.state not in UNFINISHED

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
                self._engine.waitForOutput(_POLL_MS)
        if self.error is not None:
            raise self.error

    def _giveUp(self, error: CycleinrError) -> None:
        if self.isFinished or self.error is not None:
            return
        if self.state is not RunState.RUNNING:
            self._finish(RunState.CANCELLED, error)
            return
        self.error = error
        self._engine.cancel(self._number)
        qt.QTimer.singleShot(CANCEL_GRACE_MS, self._killIfRunning)

    def _killIfRunning(self) -> None:
        if self.state is RunState.RUNNING:
            self._engine.stop()  # its listener, this task, hears of it

    # -- steps between turns of the event loop
    def _do(self, steps: Iterator[None]) -> None:
        self._steps = steps
        if not self._blocking:
            qt.QTimer.singleShot(0, self._turn)

    def _turn(self) -> None:
        if self._steps is None or self.isFinished:
            return
        try:
            next(self._steps)
        except StopIteration:
            self._steps = None
            if self.state is RunState.IMPORTING:
                self._finish(RunState.DONE, None)
        except CycleinrError as error:
            self._finish(RunState.FAILED, error)
        except OSError as error:
            self._finish(RunState.FAILED, _diskError(error))
        except MemoryError:
            self._finish(RunState.FAILED, engineErrors.OutOfMemoryError(_("There is no memory left for the result.")))
        else:
            self._onChanged(self)
            self._do(self._steps)

    def _send(self) -> Iterator[None]:
        """Copy the volumes into the engine's folder, then hand the request over."""
        self._checkEngine()
        volumes, messages = self._volumes(), []
        total, before = sum(volume.array.nbytes for volume in volumes), 0
        for volume in volumes:
            path = self._path("input")
            for copied in _save(volume.array, path):
                self.fraction = COPY_SHARE * (before + copied) / total
                yield
            before += volume.array.nbytes
            affine = volume.ijk_to_ras.tolist()
            messages.append(VolumeMessage(path.name, affine, volume.modality, volume.slice_thickness_mm))
        self._checkEngine()
        request = self._request(messages)
        self.state = RunState.RUNNING
        self._number = self._engine.submit(request.to_message(), self._onEvent)

    def _checkEngine(self) -> None:
        """A process that cannot start dies before it is asked anything."""
        if not self._engine.isRunning:
            raise EngineProcessError(self._engine.lastDeath)

    def _path(self, name: str) -> Path:
        """A file in the engine's folder; it goes when the task ends."""
        path = self._engine.folder / f"{name}_{len(self._files)}_{id(self)}.npy"
        self._files.append(path)
        return path

    def _copyAnswer(self, image: vtk.vtkImageData, path: Path, shape_kji: tuple[int, ...]) -> Iterator[None]:
        """Copy an array of the engine into an image."""
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.shape != tuple(shape_kji):
            raise EngineProcessError(
                f"The engine's result has the shape {array.shape} instead of {tuple(shape_kji)}. Try again; if it "
                "happens again, report it with the log."
            )
        # The array goes with this generator: Windows removes no file that is mapped
        for fraction in result_node.copyInto(image, array):
            self.fraction = COMPUTE_SHARE + (1 - COMPUTE_SHARE) * fraction
            yield

    # -- what the engine says
    def _onEvent(self, event: dict) -> None:
        if self.isFinished:
            return
        getattr(self, f"_on_{event['event']}")(event)

    def _on_progress(self, event: dict) -> None:
        self.phase, self.remaining_s = event["phase"], event["remaining_s"]
        self.fraction = COPY_SHARE + (COMPUTE_SHARE - COPY_SHARE) * event["fraction"]
        self._onChanged(self)

    def _on_done(self, event: dict) -> None:
        if self.error is not None:  # cancelled a moment too late for the engine
            self._finish(RunState.CANCELLED, self.error)
            return
        self.state, self.phase, self.remaining_s = RunState.IMPORTING, _("Adding the result to the scene"), 0.0
        self._answer = event
        self._onChanged(self)
        self._do(self._import())

    def _on_failed(self, event: dict) -> None:
        self._finish(RunState.FAILED, _engineError(event["kind"], event["message"]))

    def _on_cancelled(self, event: dict) -> None:
        self._finish(RunState.CANCELLED, self.error)

    def _on_died(self, event: dict) -> None:
        if self.error is not None:
            self._finish(RunState.CANCELLED, self.error)
        else:
            self._finish(RunState.FAILED, EngineProcessError(event["message"]))

    # -- what happens in the scene meanwhile
    def _onSceneClose(self, *_event) -> None:
        self._giveUp(Cancelled(_("The scene was closed, so the run was cancelled.")))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _scene, _event, node) -> None:
        what = self._watched.get(node.GetID())
        if what:
            self._giveUp(Cancelled(_("The {what} was removed, so the run was cancelled.").format(what=what)))

    def _finish(self, state: RunState, error: CycleinrError | None) -> None:
        self.removeObservers()
        if self._steps is not None:
            self._steps.close()
        self._steps = None
        self._release()
        for path in self._files:
            path.unlink(missing_ok=True)
        self.state, self.error = state, error
        if state is RunState.DONE:
            self.fraction, self.remaining_s = 1.0, 0.0
        self._onChanged(self)

    def _release(self) -> None:
        """Let go of what only a task that is under way needs."""


def _save(array: np.ndarray, path: Path) -> Iterator[int]:
    """Write an array as an ``.npy`` file, a few slices at a time; yields the bytes that are written."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        for start, stop in result_node.chunks(array):
            file.write(np.ascontiguousarray(array[start:stop]).data)
            yield array.nbytes * stop // len(array)


def _engineError(kind: str, message: str) -> CycleinrError:
    """The engine's error as the class that it was there; a package that cannot be imported is explained."""
    if kind in IMPORT_FAILURES:
        return InstallationError(known_problems.explain(known_problems.thisComputer(installedVersion), message))
    return getattr(engineErrors, kind, EngineProcessError)(message)


def _diskError(error: OSError) -> CycleinrError:
    return engineErrors.OutputError(
        _("The scan could not be handed to the engine ({reason}). Free space in {folder}.").format(
            reason=error.strerror or error, folder=slicer.app.temporaryPath
        )
    )
