"""Several scans, or all frames of a sequence: which ones, what is done to each, and the jobs that do it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import qt
import slicer
from cycleinr import Cancelled, CycleinrError
from cycleinr.request import UpsampleOptions
from slicer.i18n import tr as _

from .callbacks import NodeObservers, OneShot, WeakNode
from .forecast import forecastOf, planOf
from .jobs import makeFiner
from .preview import optionsFor
from .result_node import INPUT_REFERENCE, copyDisplay
from .task import Task
from .volume_node import NodeError, volumeFromNode


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
        (self._next.start if self._scans else self._next.stop)()

    def show(self, canStart: bool) -> None:
        """Whether a batch may begin."""
        self._canStart = canStart
        self._showCount()

    def job(self, task: Task) -> Generator[None, None, str]:
        """Make the ticked scans finer, one after the other, and tell how many are done.

        Raises:
            CycleinrError: All of them failed; one that fails does not stop the others.
        """
        parameters, failures = self._parameters, []
        ticked = [(WeakNode(node), node.GetID(), node.GetName()) for node in self._ticked()]
        task.whatStays = _("Results that were done stay.")
        for number, (scan, nodeID, name) in enumerate(ticked):
            task.part = number, len(ticked), name
            try:
                options = optionsFor(scan.node, parameters)
                yield from makeFiner(task, scan.node, options, makeDifference=parameters.makeDifference)
            except CycleinrError as error:
                if task.isGivenUp:
                    raise
                failures.append(f"{name}: {error}")
                self._outcomes[nodeID] = str(error)
            else:
                self._outcomes[nodeID] = _("Done: {name}").format(name=task.outputNode.GetName())
                self._unticked.add(nodeID)
                showAsResult(parameters, task)
        if len(failures) == len(ticked):
            raise CycleinrError(" ".join(failures))
        done = _("{done} of {all} done.").format(done=len(ticked) - len(failures), all=len(ticked))
        return " ".join((done, *failures))

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


def showAsResult(parameters, task: Task) -> None:
    """Make a task's result the one that the panel's tools act on."""
    with slicer.util.NodeModify(parameters):
        parameters.resultInput, parameters.resultVolume = task.scan.node, task.outputNode
        parameters.differenceVolume, parameters.checkVolume = task.difference.node, None


def sequenceOf(node) -> tuple:
    """Browser and sequence of a volume that shows one of several frames; None for both of any other."""
    logic = slicer.modules.sequences.logic() if hasattr(slicer.modules, "sequences") else None
    browser = logic.GetFirstBrowserNodeForProxyNode(node) if logic is not None and node is not None else None
    sequence = browser.GetSequenceNode(node) if browser is not None else None
    return (browser, sequence) if sequence is not None and sequence.GetNumberOfDataNodes() > 1 else (None, None)


def makeFramesFiner(task: Task, proxy, options: UpsampleOptions) -> Generator[None, None, None]:
    """Make all frames of the sequence behind a proxy volume finer, as a sequence in the same browser, or none of them.

    Each frame is computed as a hidden volume of its own, so that the reader can go on browsing; all get the model of
    the one that is shown.
    """
    browser, sequence = sequenceOf(proxy)
    options = replace(options, model=planOf(proxy, volumeFromNode(proxy), options).modality.lower())
    count, results = sequence.GetNumberOfDataNodes(), None
    try:
        for number in range(count):
            task.part = number, count, _("frame {number}").format(number=number + 1)
            if any(each is not None and each.GetScene() is None for each in (proxy, browser, sequence, results)):
                raise NodeError(_("It was removed from the scene meanwhile."))
            frame = _frame(proxy, sequence.GetNthDataNode(number))
            try:
                yield from makeFiner(task, frame, options)
                results = results or _emptySequence(task.outputNode.GetName(), sequence)
                task.outputNode.RemoveNodeReferenceIDs(INPUT_REFERENCE)
                results.SetDataNodeAtValue(task.outputNode, sequence.GetNthIndexValue(number))
            finally:
                task.needed = {}
                for each in (frame, task.outputNode):
                    if each is not None:
                        slicer.mrmlScene.RemoveNode(each)
    except Exception as error:
        if results is not None:
            slicer.mrmlScene.RemoveNode(results)
        if isinstance(error, CycleinrError) and not isinstance(error, Cancelled):
            raise CycleinrError(f"{task.part[2]}: {error}") from error
        raise
    browser.AddSynchronizedSequenceNode(results)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    node = browser.GetProxyNode(results)
    node.SetNodeReferenceID(INPUT_REFERENCE, proxy.GetID())
    copyDisplay(proxy, node)
    task.scan, task.output = WeakNode(proxy), WeakNode(node)


def _frame(proxy, data):
    """One frame as a hidden volume, which shares the voxels."""
    frame = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    frame.HideFromEditorsOn()
    frame.SetName(proxy.GetName())  # in this order, else the module Data lists it
    frame.CopyOrientation(data)
    frame.SetAndObserveImageData(data.GetImageData())
    frame.SetAndObserveTransformNodeID(proxy.GetTransformNodeID())
    frame.SetVoxelValueUnits(proxy.GetVoxelValueUnits())
    frame.SetVoxelValueQuantity(proxy.GetVoxelValueQuantity())
    return frame


def _emptySequence(name: str, like):
    results = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    results.CopySequenceIndex(like)
    results.RemoveAllDataNodes()
    return results
