"""Reading and writing volumes and scenes with Slicer's own logics and storage nodes."""

from pathlib import Path

import vtk

# vtkSlicerVolumesLogic's option bits
VOLUME_OPTIONS = {"labelmap": 1, "center": 2, "singleFile": 4, "autoWindowLevel": 8, "discardOrientation": 16}
OTHER_VOLUME_PROPERTIES = {"fileName", "fileNames", "name", "show", "colorNodeID"}


def load_volume(core, properties):
    """Load one volume; returns the node or None. Unknown properties fail."""
    unknown = set(properties) - set(VOLUME_OPTIONS) - OTHER_VOLUME_PROPERTIES
    if unknown:
        raise ValueError(f"unknown properties of a volume file: {sorted(unknown)}")
    options = sum(bit for name, bit in VOLUME_OPTIONS.items() if properties.get(name))
    path = properties["fileName"]
    name = properties.get("name", Path(path).name.split(".")[0])
    arguments = [path, name, options]
    if "fileNames" in properties:
        names = vtk.vtkStringArray()
        for file_name in properties["fileNames"]:
            names.InsertNextValue(str(file_name))
        arguments.append(names)
    node = core.module_logics["Volumes"].AddArchetypeVolume(*arguments)
    if node is not None and properties.get("colorNodeID"):
        node.GetDisplayNode().SetAndObserveColorNodeID(properties["colorNodeID"])
    if node is not None and properties.get("show", True):
        _show(core, node)
    return node


def _show(core, node):
    selection = core.application_logic.GetSelectionNode()
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        selection.SetActiveLabelVolumeID(node.GetID())
    else:
        selection.SetActiveVolumeID(node.GetID())
    core.application_logic.PropagateVolumeSelection()


def save_node(node, path, use_compression):
    """Write a node with its (default) storage node; false if that failed."""
    if node.GetStorageNode() is None:
        node.AddDefaultStorageNode(str(path))
    storage = node.GetStorageNode()
    if storage is None:
        return False
    storage.SetFileName(str(path))
    if use_compression is not None:
        storage.SetUseCompression(use_compression)
    return bool(storage.WriteData(node))


def save_scene(scene, path):
    """Write ``.mrb`` (with data) or ``.mrml`` (without)."""
    path = Path(path).resolve()
    if path.suffix not in (".mrb", ".mrml"):
        raise ValueError(f"a scene file ends with .mrb or .mrml, not {path.suffix!r}: {path}")
    scene.SetURL(str(path))
    scene.SetRootDirectory(str(path.parent))
    return bool(scene.WriteToMRB(str(path)) if path.suffix == ".mrb" else scene.Commit())


def load_scene(scene, path, clear):
    """Read ``.mrb`` or ``.mrml``, into the scene (as ``slicer.util.loadScene`` does) or in its place."""
    if Path(path).suffix == ".mrb":
        return bool(scene.ReadFromMRB(str(path), clear))
    scene.SetURL(str(path))
    return bool(scene.Connect() if clear else scene.Import())
