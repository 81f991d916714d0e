"""Puts data nodes into the subject hierarchy, which in Slicer the Qt plugins do."""

import slicer
import vtk

# The node classes whose plugins add them; the module uses no others
SHOWN = ("Volume", "Transform", "Table", "Text", "Model", "Markups", "PlotChart", "PlotSeries")
SHOWN_CLASSES = tuple(f"vtkMRML{kind}Node" for kind in SHOWN)


class SubjectHierarchyKeeper:
    """Adds an item for each new data node, removes it with the node, and merges the hierarchy of a loaded scene.

    ``tree`` has the names that the module Data lists. As there, a node is asked whether it is hidden only when it is
    added or renamed.
    """

    def __init__(self, scene):
        self._scene, self._listed = scene, {}
        self._observers = [
            scene.AddObserver(scene.NodeAddedEvent, self._with_node(self._on_added)),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._with_node(self._on_removed)),
            scene.AddObserver(scene.EndImportEvent, self._on_imported),
        ]

    @property
    def tree(self):
        return [name for name, is_hidden in self._listed.values() if not is_hidden]

    def close(self):
        for tag in self._observers:
            self._scene.RemoveObserver(tag)

    @staticmethod
    def _with_node(method):
        """VTK hands the node over only to a callback that says which type of call data it takes."""

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def callback(_scene, _event, node):
            method(node)

        return callback

    def _hierarchy(self):
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _add(self, node):
        hierarchy = self._hierarchy()
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        self._list(node)
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._list)

    def _list(self, node, _event=None):
        name, _is_hidden = self._listed.get(node.GetID(), (None, None))
        if node.GetScene() is self._scene and node.GetName() != name:
            self._listed[node.GetID()] = node.GetName(), node.GetHideFromEditors()

    def _on_added(self, node):
        if node.IsA("vtkMRMLSubjectHierarchyNode"):
            slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(self._scene)
        elif self._is_shown(node) and not self._scene.IsImporting():
            self._add(node)

    def _on_removed(self, node):
        self._listed.pop(node.GetID(), None)
        if self._scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        item = self._hierarchy().GetItemByDataNode(node)
        if item:
            self._hierarchy().RemoveItem(item, False, False)

    def _on_imported(self, *_):
        for class_name in SHOWN_CLASSES:
            for node in slicer.util.getNodesByClass(class_name):
                if self._is_shown(node):
                    self._add(node)

    @staticmethod
    def _is_shown(node):
        return not node.GetHideFromEditors() and any(node.IsA(class_name) for class_name in SHOWN_CLASSES)
