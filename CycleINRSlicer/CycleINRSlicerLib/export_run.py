"""Writing a result as a DICOM series of its scan's study, in the engine's process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from cycleinr.errors import CycleinrError
from cycleinr.worker.protocol import DoneEvent, ExportRequest, ProgressEvent, VolumeMessage, write_sources
from slicer.i18n import tr as _

from .engine import DiedEvent, Engine
from .engine_task import EngineTask, RunState
from .result_node import provenanceOf
from .volume_node import instancesOf, sourceFile, sourceFiles, volumeFromNode


class ExportRun(EngineTask):
    """Starts at once; see ``EngineTask`` for progress and cancel.

    Attributes:
        folder: The new folder of the series; exists, whole, once the task is done.
        fileCount: How many files it has.
        maxError: Largest rounding error, in the result's units; 0 for integer scans.

    Raises:
        CycleinrError: The scan's files are not at hand, or the result does not say how it was made.
    """

    def __init__(
        self, engine: Engine, inputNode, resultNode, parentFolder: Path, onChanged: Callable[[ExportRun], None]
    ):
        super().__init__(engine, onChanged)
        self._sources, self._writerPid = sourceFiles(inputNode), None
        self._provenance = provenanceOf(resultNode)
        self.folder, self.fileCount, self.maxError = newFolder(Path(parentFolder), self._provenance), 0, 0.0
        self._begin([volumeFromNode(resultNode)], {resultNode.GetID(): _("result")})

    def cancel(self) -> None:
        """Give up; nothing stays but a series that is whole already."""
        if self.state is not RunState.IMPORTING:
            super().cancel()

    def _request(self, messages: list[VolumeMessage]) -> ExportRequest:
        self._writerPid = self._engine.process.workerPid
        sourcesFile = self._path("sources", ".json")
        write_sources(sourcesFile, self._sources)
        return ExportRequest(*messages, sourcesFile.name, str(self.folder), self._provenance)

    def _import(self, answer: dict) -> Iterator[None]:
        self.fileCount, self.maxError = answer["files"], answer["max_error"]
        yield

    def _onProgress(self, event: ProgressEvent) -> None:
        self._writerPid = self._engine.process.workerPid  # unknown at first, where the process had only just started
        super()._onProgress(event)

    def _onDone(self, event: DoneEvent) -> None:
        self._givenUp = None  # too late to cancel: the series is there
        super()._onDone(event)

    def _onDied(self, event: DiedEvent) -> None:
        """A killed process cannot clear away what it had begun."""
        if self._writerPid is not None:
            from cycleinr.files.atomic import remove_leftovers  # not when the panel opens

            remove_leftovers(self.folder.parent, self._writerPid)
        super()._onDied(event)


def whyNoExport(inputNode, resultNode) -> str:
    """Why a result cannot become a DICOM series, in one sentence; empty where it can. Quick: looks for one file."""
    if inputNode is None or resultNode is None:
        return _("Make a result first.")
    try:
        sourceFile(inputNode, instancesOf(inputNode)[0])
    except CycleinrError as error:
        return str(error)
    return ""


def newFolder(parent: Path, provenance: dict[str, str]) -> Path:
    """A folder that does not exist yet; its name says no patient's name, which the volume's name may hold."""
    name = f"CycleINR {float(provenance.get('spacing_mm', 'nan')):.3g} mm"
    names = (name if n == 1 else f"{name} {n}" for n in range(1, 1_000_000))
    return next(parent / each for each in names if not (parent / each).exists())
