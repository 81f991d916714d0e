"""One run: the scan goes to the engine, progress comes back, the result becomes a node; nothing else stays.

The engine works on a copy, made when the run starts. Copies in both directions go a few megabytes at a time between
turns of the event loop, so that the application never stands still.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
from cycleinr import errors as engineErrors
from cycleinr.errors import Cancelled, CycleinrError
from cycleinr.inference.options import UpsampleOptions
from cycleinr.inference.plan import Plan, plan
from cycleinr.worker.protocol import UpsampleRequest, VolumeMessage
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from . import known_problems, result_node
from .difference import differenceSteps
from .engine import Engine
from .errors import EngineProcessError, InstallationError, NodeError
from .installation import installedVersion
from .volume_node import volumeFromNode

CANCEL_GRACE_MS = 600
"""A process that does not give up by then is killed."""

IMPORT_FAILURES = ("ImportError", "ModuleNotFoundError", "OSError")
"""What a broken PyTorch raises when the engine's process imports it."""

_POLL_MS = 100
_COPY_SHARE, _COMPUTE_SHARE = 0.02, 0.95


class RunState(enum.Enum):
    PREPARING = "preparing"
    RUNNING = "running"
    IMPORTING = "importing"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


UNFINISHED = (RunState.PREPARING, RunState.RUNNING, RunState.IMPORTING)


@dataclass(frozen=True)
class RunRequest:
    """What to make finer, into which node (None: a new one), how, and whether to add the difference to B-spline."""

    inputNode: object
    outputNode: object | None
    options: UpsampleOptions
    makeDifference: bool = False


class Run(VTKObservationMixin):
    """Starts at once; ``onChanged(run)`` is called on every change of state and progress, on the main thread.

    Attributes:
        state: A ``RunState``.
        phase, fraction, remaining_s: Progress for people; the seconds are None while unknown.
        outputNode, differenceNode: The result once the run is done, and its difference to B-spline if asked for.
        error: Why it failed or was cancelled, an exception whose text is for the reader.

    Raises:
        CycleinrError: The input or the options cannot work; nothing was started.
    """

    def __init__(self, engine: Engine, request: RunRequest, onChanged: Callable[[Run], None], blocking: bool = False):
        super().__init__()
        if request.outputNode is not None and request.outputNode is request.inputNode:
            raise NodeError(_("The result may not replace the input. Choose another output volume."))
        self._volume = volumeFromNode(request.inputNode)
        self._plan: Plan = plan(self._volume, request.options)
        self._engine, self._request, self._onChanged, self._blocking = engine, request, onChanged, blocking
        self._inputID = request.inputNode.GetID()
        self._outputID = request.outputNode.GetID() if request.outputNode else None
        self._number, self._files, self._result = None, [], None
        self.state, self.phase, self.fraction, self.remaining_s = RunState.PREPARING, _("Copying the scan"), 0.0, None
        self.outputNode = self.differenceNode = self.error = None
        self._observe()
        engine.start()
        self._do(self._send())

    @property
    def isFinished(self) -> bool:
        return self.state not in UNFINISHED

    def cancel(self) -> None:
        """Give the run up; it is over within a second, and nothing of it stays but a result that is there already."""
        if self.outputNode is not None and not self.isFinished:
            self._finish(RunState.DONE, None)
            return
        self._giveUp(Cancelled(_("Cancelled. The scene is as it was.")))

    def wait(self) -> None:
        """Block until the run is over, without the application's event loop.

        Raises:
            CycleinrError: What ended the run, when it is not done.
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
            self._engine.stop()  # its listener, this run, hears of it

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
        """Copy the scan into the engine's folder, then hand the request over."""
        self._checkEngine()
        array, path = self._volume.array, self._path("input")
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            for start, stop in result_node.chunks(array):
                file.write(np.ascontiguousarray(array[start:stop]).data)
                self.fraction = _COPY_SHARE * stop / len(array)
                yield
        self._checkEngine()
        volume, output = self._volume, self._path("result")
        affine = volume.ijk_to_ras.tolist()
        message = VolumeMessage(path.name, affine, volume.modality, volume.slice_thickness_mm)
        request = UpsampleRequest(0, message, self._request.options, output.name)
        self.state, self._volume = RunState.RUNNING, None
        self._number = self._engine.submit({"do": "upsample", **asdict(request)}, self._onEvent)

    def _checkEngine(self) -> None:
        """A process that cannot start dies before it is asked anything."""
        if not self._engine.isRunning:
            raise EngineProcessError(self._engine.lastDeath)

    def _path(self, name: str) -> Path:
        path = self._engine.folder / f"{name}_{id(self)}.npy"
        self._files.append(path)
        return path

    def _import(self) -> Iterator[None]:
        """Copy the result out of the engine's folder and show it."""
        result, image = self._result, vtk.vtkImageData()
        array = np.load(self._files[-1], mmap_mode="r", allow_pickle=False)
        if array.shape != self._plan.shape_kji:
            raise EngineProcessError(
                f"The engine's result has the shape {array.shape} instead of {self._plan.shape_kji}. Try again; if it "
                "happens again, report it with the log."
            )
        for fraction in result_node.copyInto(image, array):
            self.fraction = _COMPUTE_SHARE + (1 - _COMPUTE_SHARE) * fraction
            yield
        del array  # Windows removes no file that is mapped
        inputNode = slicer.mrmlScene.GetNodeByID(self._inputID)
        outputNode = slicer.mrmlScene.GetNodeByID(self._outputID) if self._outputID else None
        affine = np.array(result["ijk_to_ras"])
        self.outputNode = result_node.showResult(image, affine, inputNode, outputNode, result["provenance"])
        if self._request.makeDifference:
            self.phase = _("Computing the difference to B-spline")
            self.differenceNode = yield from differenceSteps(inputNode, self.outputNode)

    # -- what the engine says
    def _onEvent(self, event: dict) -> None:
        if self.isFinished:
            return
        getattr(self, f"_on_{event['event']}")(event)

    def _on_progress(self, event: dict) -> None:
        self.phase, self.remaining_s = event["phase"], event["remaining_s"]
        self.fraction = _COPY_SHARE + (_COMPUTE_SHARE - _COPY_SHARE) * event["fraction"]
        self._onChanged(self)

    def _on_done(self, event: dict) -> None:
        if self.error is not None:  # cancelled a moment too late for the engine
            self._finish(RunState.CANCELLED, self.error)
            return
        self.state, self.phase, self.remaining_s = RunState.IMPORTING, _("Adding the result to the scene"), 0.0
        self._result = event
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
    def _observe(self) -> None:
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneClose)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeRemoved)

    def _onSceneClose(self, *_event) -> None:
        self._giveUp(Cancelled(_("The scene was closed, so the run was cancelled.")))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _scene, _event, node) -> None:
        if node.GetID() == self._inputID:
            self._giveUp(Cancelled(_("The input volume was removed, so the run was cancelled.")))

    def _finish(self, state: RunState, error: CycleinrError | None) -> None:
        self.removeObservers()
        if self._steps is not None:
            self._steps.close()
        self._steps = self._volume = None
        for path in self._files:
            path.unlink(missing_ok=True)
        self.state, self.error = state, error
        if state is RunState.DONE:
            self.fraction, self.remaining_s = 1.0, 0.0
        self._onChanged(self)


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
