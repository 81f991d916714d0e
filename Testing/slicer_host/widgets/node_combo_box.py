"""``qMRMLNodeComboBox``: the node selector, over the real scene."""

import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from .observations import Observations

REFRESHING_EVENTS = ("NodeAddedEvent", "NodeRemovedEvent", "EndCloseEvent", "EndImportEvent", "EndBatchProcessEvent")
CREATE, DELETE = "create:", "delete"


def _flag(name, default):
    """A boolean Qt property that changes the list, and the setter of that name."""
    key = f"_flag_{name}"

    def read(self):
        return self.__dict__.get(key, default)

    def write(self, value):
        self.__dict__[key] = bool(value)
        self._refresh()

    return Property(bool, read, write), write


class qMRMLNodeComboBox(QtWidgets.QWidget):
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._combo_box = None  # properties may be set before it exists
        self._scene = None
        self._scene_observations, self._name_observations = Observations(self), Observations(self)
        self._node_types, self._attributes, self._node_ids = [], {}, []
        self._current_id, self._requested_id, self._base_name, self._none_display = "", "", "", "None"
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo_box = QtWidgets.QComboBox()
        layout.addWidget(self._combo_box)
        self._combo_box.activated.connect(self._on_activated)
        self._refresh()

    # -- properties
    noneEnabled, setNoneEnabled = _flag("noneEnabled", False)
    addEnabled, setAddEnabled = _flag("addEnabled", True)
    removeEnabled, setRemoveEnabled = _flag("removeEnabled", True)
    renameEnabled, setRenameEnabled = _flag("renameEnabled", False)
    editEnabled, setEditEnabled = _flag("editEnabled", False)
    showHidden, setShowHidden = _flag("showHidden", False)
    showChildNodeTypes, setShowChildNodeTypes = _flag("showChildNodeTypes", True)
    selectNodeUponCreation, setSelectNodeUponCreation = _flag("selectNodeUponCreation", True)

    def _get_node_types(self):
        return self._node_types

    def setNodeTypes(self, node_types):
        self._node_types = list(node_types)
        self._refresh()

    def _get_base_name(self):
        return self._base_name

    def setBaseName(self, name):
        self._base_name = name

    def _get_none_display(self):
        return self._none_display

    def setNoneDisplay(self, text):
        self._none_display = text
        self._refresh()

    def _get_current_node_id(self):
        return self._current_id

    def setCurrentNodeID(self, node_id):
        if self._scene is None:
            self._requested_id = node_id  # chosen as soon as there is a scene
        known = node_id in [node.GetID() for node in self._nodes]
        new_id = node_id if known else ""
        changed, self._current_id = new_id != self._current_id, new_id
        self._combo_box.setCurrentIndex(max(0, self._combo_box.findData(self._current_id)))
        if changed:
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(self._current_id)

    nodeTypes = Property("QStringList", _get_node_types, setNodeTypes)
    baseName = Property(str, _get_base_name, setBaseName)
    noneDisplay = Property(str, _get_none_display, setNoneDisplay)
    currentNodeID = Property(str, _get_current_node_id, setCurrentNodeID)

    # -- nodes
    @property
    def _nodes(self):
        """The listed nodes, which this widget does not keep alive."""
        found = [self._scene.GetNodeByID(node_id) for node_id in self._node_ids] if self._scene else []
        return [node for node in found if node is not None]

    def currentNode(self):
        return self._scene.GetNodeByID(self._current_id) if self._scene and self._current_id else None

    def setCurrentNode(self, node):
        self.setCurrentNodeID("" if node is None else node if isinstance(node, str) else node.GetID())

    def nodeCount(self):
        return len(self._nodes)

    def nodeFromIndex(self, index):
        return self._nodes[index]

    def addAttribute(self, node_type, name, value=None):
        """Show only nodes of ``node_type`` that carry the attribute, with that value unless it is None."""
        self._attributes[(node_type, name)] = value
        self._refresh()

    def addNode(self, node_type=None):
        """Create a node as the user does with "Create new ..."."""
        node_type = node_type or self._node_types[0]
        name = self._base_name or self._scene.GetTagByClassName(node_type)
        node = self._scene.AddNewNodeByClass(node_type, self._scene.GenerateUniqueName(name))
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self):
        if self.currentNode():
            self._scene.RemoveNode(self.currentNode())

    # -- scene
    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        self._scene_observations.clear()
        self._scene = scene
        if scene is not None:
            for event in REFRESHING_EVENTS:
                self._scene_observations.add(scene, getattr(scene, event), "_refresh")
        self.setEnabled(scene is not None)
        self._refresh()
        if scene is not None and self._requested_id:
            self.setCurrentNodeID(self._requested_id)
            self._requested_id = ""

    def _is_listed(self, node):
        children_too = self.showChildNodeTypes
        of_type = any(node.GetClassName() == t or children_too and node.IsA(t) for t in self._node_types)
        if not of_type or node.GetHideFromEditors() and not self.showHidden:
            return False
        wanted = {name: value for (node_type, name), value in self._attributes.items() if node.IsA(node_type)}
        found = {name: node.GetAttribute(name) for name in wanted}
        return all(found[name] is not None and value in (None, found[name]) for name, value in wanted.items())

    def _refresh(self, _scene=None):
        if self._combo_box is None or self._scene is not None and self._scene.IsBatchProcessing():
            return
        scene = self._scene
        nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())] if scene else []
        self._node_ids = [node.GetID() for node in nodes if self._is_listed(node)]
        self._observe_names()
        self._fill()
        ids = [node.GetID() for node in self._nodes]
        if self._current_id not in ids and not self.noneEnabled and ids:
            self.setCurrentNodeID(ids[0])  # the selector is never empty if it can help it
        else:
            self.setCurrentNodeID(self._current_id)

    def _observe_names(self):
        self._name_observations.clear()
        for node in self._nodes:
            self._name_observations.add(node, vtk.vtkCommand.ModifiedEvent, "_on_node_modified")

    def _fill(self):
        self._combo_box.clear()
        if self.noneEnabled or not self._nodes:
            self._combo_box.addItem(self._none_display, "")
        for node in self._nodes:
            self._combo_box.addItem(node.GetName(), node.GetID())
        if self._scene and self.addEnabled:
            for node_type in self._node_types:
                self._combo_box.addItem(f"Create new {self._scene.GetTagByClassName(node_type)}", CREATE + node_type)
        if self._scene and self.removeEnabled:
            self._combo_box.addItem("Delete current node", DELETE)

    def _on_node_modified(self, node):
        index = self._combo_box.findData(node.GetID())
        if index >= 0:
            self._combo_box.setItemText(index, node.GetName())

    def _on_activated(self, index):
        chosen = self._combo_box.itemData(index) or ""
        if chosen.startswith(CREATE):
            self.addNode(chosen.removeprefix(CREATE))
        elif chosen == DELETE:
            self.removeCurrentNode()
        else:
            self.setCurrentNodeID(chosen)
