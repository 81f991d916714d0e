"""Several scans, or all frames of a sequence: what is done to each, and the batch that computes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import qt
import slicer
from cycleinr.errors import Cancelled, CycleinrError
from cycleinr.request import UpsampleOptions
from slicer.i18n import tr as _

from .callbacks import NodeObservers, OneShot, SceneWatch, WeakNode
from .engine import sharedEngine
from .engine_task import RunState
from .forecast import forecastOf, planOf
from .preview import optionsFor
from .result_node import INPUT_REFERENCE, copyDisplay
from .run import Run
from .volume_node import NodeError, checkNode


@dataclass(frozen=True)
class Job:
    """One run of a batch: ``start(onChanged)`` begins it, ``end(run, problem)`` hears how it ended (None: not done)."""

    name: str
    start: Callable[[Callable[[Run], None]], Run]
    end: Callable[[Run | None, str], None]


class Batch:
    """Runs one after the other; to the panel it is one task (see ``EngineTask`` for its attributes).

    Args:
        jobs: What to run. One that fails does not stop the others, unless only all together mean something.
        onChanged: Called with the batch on every progress and change of state, on the main thread.
        allOrNone: Called at the end with whether all are done, where only all together mean something.
    """

    def __init__(self, jobs: list[Job], onChanged, allOrNone: Callable[[bool], None] | None = None):
        self._jobs, self._onChanged, self._allOrNone = jobs, onChanged, allOrNone
        self._run = self._givenUp = self.error = None
        self._begun, self._failures = 0, []
        self.state, self.phase, self.fraction, self.remaining_s = RunState.PREPARING, "", 0.0, None
        self._startedAt_s, self._next = time.monotonic(), OneShot(0, self._startNext)
        self._watch = SceneWatch({}, self._onSceneClose, lambda _what: None)
        self._next.start()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._startedAt_s

    @property
    def isFinished(self) -> bool:
        return not self.state.isBusy

    @property
    def summary(self) -> str:
        """What came of it, once it is done."""
        done = len(self._jobs) - len(self._failures)
        return " ".join((_("{done} of {all} done.").format(done=done, all=len(self._jobs)), *self._failures))

    def cancel(self) -> None:
        """Give up what is not done yet."""
        if self._allOrNone is None:
            self._giveUp(_("Cancelled. Results that were done stay."))
        else:
            self._giveUp(_("Cancelled. The scene is as it was."))

    def _onSceneClose(self) -> None:
        self._giveUp(_("The scene was closed, so the run was cancelled."))

    def _giveUp(self, why: str) -> None:
        if self._givenUp is None and not self.isFinished:
            self._givenUp = Cancelled(why)
            self._end() if self._run is None else self._run.cancel()

    def _startNext(self) -> None:
        if self._givenUp or self._begun == len(self._jobs) or (self._allOrNone and self._failures):
            self._end()
            return
        job, self._begun, self.state = self._jobs[self._begun], self._begun + 1, RunState.RUNNING
        try:
            self._run = job.start(self._onRunChanged)
        except CycleinrError as error:
            self._note(None, str(error))

    def _onRunChanged(self, run: Run) -> None:
        if run.isFinished:
            self._note(run if run.state is RunState.DONE else None, str(run.error or ""))
            return
        self.phase = _("{number} of {all}, {name}: {phase}").format(
            number=self._begun, all=len(self._jobs), name=self._jobs[self._begun - 1].name, phase=run.phase
        )
        self.fraction = (self._begun - 1 + run.fraction) / len(self._jobs)
        self._onChanged(self)

    def _note(self, run: Run | None, problem: str) -> None:
        job, self._run = self._jobs[self._begun - 1], None
        if run is None:
            self._failures.append(f"{job.name}: {problem}")
        job.end(run, problem)
        self._next.start()

    def _end(self) -> None:
        self._next.stop()
        self._watch.stop()
        isWhole = self._givenUp is None and not self._failures
        if self._allOrNone is not None:
            self._allOrNone(isWhole)
        self.error, self.state = self._givenUp, RunState.DONE
        if self._givenUp is not None:
            self.state = RunState.CANCELLED
        elif self._failures and (self._allOrNone or len(self._failures) == len(self._jobs)):
            self.error, self.state = CycleinrError(" ".join(self._failures)), RunState.FAILED
        self._onChanged(self)


class ScansTable:
    """The scene's scans, what the settings come to for each, and which are ticked.

    Filled a row at a time between turns of the event loop, and only while its section is open.
    """

    def __init__(self, ui):
        self._ui, self._parameters, self._scans, self._canStart = ui, None, [], True
        self._unticked: set[str] = set()
        self._outcomes: dict[str, str] = {}
        self._next = OneShot(0, self._addRow)
        scene = slicer.vtkMRMLScene
        self._scene = NodeObservers(self.update, scene.NodeAddedEvent, scene.NodeRemovedEvent)
        ui.scansSection.connect("contentsCollapsed(bool)", self.update)
        ui.scansTable.connect("cellChanged(int,int)", self._onCellChanged)

    def setParameters(self, parameters) -> None:
        """Use the settings of this scene; None while a scene closes."""
        self._parameters, self._outcomes, self._unticked = parameters, {}, set()
        self.update()

    def update(self, *_event) -> None:
        """Fill the table anew."""
        isShown = self._parameters is not None and not self._ui.scansSection.collapsed
        self._scene.follow(slicer.mrmlScene if isShown else None)
        self._scans = list(map(WeakNode, _scans() if isShown else ()))
        self._ui.scansTable.setRowCount(0)
        self._showCount()
        self._next.start()

    def show(self, canStart: bool) -> None:
        """Whether a batch may begin."""
        self._canStart = canStart
        self._showCount()

    def jobs(self) -> list[Job]:
        """A job for each ticked scan."""
        return [self._jobOf(node) for node in self._ticked()]

    def _jobOf(self, node) -> Job:
        scan, nodeID, parameters = WeakNode(node), node.GetID(), self._parameters

        def start(onChanged) -> Run:
            checkNode(scan.node)
            options, wanted = optionsFor(scan.node, parameters), parameters.makeDifference
            return Run(sharedEngine(), scan.node, options, onChanged, makeDifference=wanted)

        def end(run: Run | None, problem: str) -> None:
            self._outcomes[nodeID] = problem if run is None else _("Done: {name}").format(name=run.outputNode.GetName())
            if run is not None:
                self._unticked.add(nodeID)
                showAsResult(parameters, scan.node, run.outputNode, run.differenceNode)

        return Job(node.GetName(), start, end)

    def _ticked(self) -> list:
        rows = range(self._ui.scansTable.rowCount)
        return [node for row in rows if self._isTicked(row) and (node := self._scans[row].node) is not None]

    def _isTicked(self, row: int) -> bool:
        return self._ui.scansTable.item(row, 0).checkState() == qt.Qt.Checked

    def _onCellChanged(self, row: int, column: int) -> None:
        if column == 0 and (node := self._scans[row].node) is not None:
            (self._unticked.discard if self._isTicked(row) else self._unticked.add)(node.GetID())
            self._showCount()

    def _addRow(self) -> None:
        row = self._ui.scansTable.rowCount
        node = self._scans[row].node if row < len(self._scans) else None
        if node is None:  # all are there; or it is leaving, and the table is about to be filled anew
            return
        forecast, nodeID = forecastOf(node, self._parameters), node.GetID()
        does = "\n".join((*forecast.text.split("\n")[:2], forecast.modelText.partition(":")[0]))
        text = self._outcomes.get(nodeID) or forecast.problem or forecast.hint or does
        item = qt.QTableWidgetItem(node.GetName())
        isTicked = bool(forecast.text) and nodeID not in self._unticked
        item.setCheckState(qt.Qt.Checked if isTicked else qt.Qt.Unchecked)
        item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable if forecast.text else qt.Qt.NoItemFlags)
        wasBlocked = self._ui.scansTable.blockSignals(True)
        self._ui.scansTable.setRowCount(row + 1)
        self._ui.scansTable.setItem(row, 0, item)
        self._ui.scansTable.setItem(row, 1, qt.QTableWidgetItem(text))
        self._ui.scansTable.resizeRowToContents(row)
        self._ui.scansTable.blockSignals(wasBlocked)
        self._showCount()
        self._next.start()

    def _showCount(self) -> None:
        count = len(self._ticked())
        self._ui.scansButton.text = _("Apply to ticked scans ({count})").format(count=count)
        self._ui.scansButton.enabled = self._canStart and count > 0


def _scans() -> list:
    """Scalar volumes that a reader may choose, and that were not made of another."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [each for each in nodes if not each.GetHideFromEditors() and each.GetNodeReference(INPUT_REFERENCE) is None]


def showAsResult(parameters, scanNode, resultNode, differenceNode=None) -> None:
    """Make a result the one that the panel's tools act on."""
    with slicer.util.NodeModify(parameters):
        parameters.resultInput, parameters.resultVolume = scanNode, resultNode
        parameters.differenceVolume, parameters.checkVolume = differenceNode, None


class SequenceFrames:
    """All frames of the sequence behind a proxy volume; their results become a sequence in the same browser.

    Each frame is computed as a hidden volume of its own, so that the reader can go on browsing.
    """

    def __init__(self, proxyNode, browserNode):
        sequence = browserNode.GetSequenceNode(proxyNode)
        self._sequenceID, self.count = sequence.GetID(), sequence.GetNumberOfDataNodes()
        self._proxy, self._browser, self._sequence = WeakNode(proxyNode), WeakNode(browserNode), WeakNode(sequence)
        self._results, self._frame = WeakNode(), WeakNode()

    @classmethod
    def of(cls, node) -> SequenceFrames | None:
        """Those of a volume that shows one of several frames, else None."""
        if node is None or not hasattr(slicer.modules, "sequences"):
            return None
        browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(node)
        found = cls(node, browser) if browser is not None else None
        return found if found is not None and found.count > 1 else None

    @property
    def pair(self) -> tuple:
        """The proxies of scan and result, once all is done."""
        return self._proxy.node, self._browser.node.GetProxyNode(self._results.node)

    def jobs(self, options: UpsampleOptions) -> list[Job]:
        """One for each frame, all with the model of the one that is shown.

        Raises:
            CycleinrError: The shown frame or the options rule a run out.
        """
        options = replace(options, model=planOf(self._proxy.node, options)[1].modality.lower())
        numbers = range(self.count)
        names = [_("frame {number}").format(number=number + 1) for number in numbers]
        return [Job(names[n], partial(self._startFrame, options, n), partial(self._endFrame, n)) for n in numbers]

    def areAllWanted(self, answers: dict[str, bool]) -> bool:
        """Whether all frames are wanted, or the shown one; asked once, as ``answers`` by sequence say."""
        if self._sequenceID not in answers:
            question = _("This is one of {count} frames. Compute all of them, or (No) the shown one?")
            answers[self._sequenceID] = slicer.util.confirmYesNoDisplay(question.format(count=self.count))
        return answers[self._sequenceID]

    def finish(self, isWhole: bool) -> None:
        """Put the results into the browser, or nothing where not all are there."""
        browser, proxy, results = self._browser.node, self._proxy.node, self._results.node
        if results is None:
            return
        if not isWhole or browser is None or proxy is None:
            slicer.mrmlScene.RemoveNode(results)
            return
        browser.AddSynchronizedSequenceNode(results)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        node = browser.GetProxyNode(results)
        node.SetNodeReferenceID(INPUT_REFERENCE, proxy.GetID())
        copyDisplay(proxy, node)

    def _startFrame(self, options: UpsampleOptions, number: int, onChanged) -> Run:
        sequence, proxy = self._sequence.node, self._proxy.node
        data = sequence.GetNthDataNode(number) if sequence is not None and proxy is not None else None
        if data is None:
            raise NodeError(_("It was removed from the scene meanwhile."))
        frame = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", proxy.GetName())
        self._frame = WeakNode(frame)
        frame.HideFromEditorsOn()
        frame.CopyOrientation(data)
        frame.SetAndObserveImageData(data.GetImageData())
        frame.SetAndObserveTransformNodeID(proxy.GetTransformNodeID())
        frame.SetVoxelValueUnits(proxy.GetVoxelValueUnits())
        frame.SetVoxelValueQuantity(proxy.GetVoxelValueQuantity())
        return Run(sharedEngine(), frame, options, onChanged)

    def _endFrame(self, number: int, run: Run | None, _problem: str) -> None:
        result, sequence = run and run.outputNode, self._sequence.node
        if result is not None and sequence is not None:
            if self._results.node is None:
                results = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", result.GetName())
                results.CopySequenceIndex(sequence)
                results.RemoveAllDataNodes()
                self._results = WeakNode(results)
            result.RemoveNodeReferenceIDs(INPUT_REFERENCE)
            self._results.node.SetDataNodeAtValue(result, sequence.GetNthIndexValue(number))
        for node in (result, self._frame.node):
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
