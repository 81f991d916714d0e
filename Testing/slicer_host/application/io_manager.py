"""``slicer.app.coreIOManager()``: volumes and scenes; any other file type fails."""

from pathlib import Path

import vtk

from . import scene_files

SCENE_SUFFIXES = (".mrb", ".mrml")
VOLUME_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".gz", ".mha", ".mhd", ".dcm", ".hdr", ".img", ".tif", ".png", ".jpg")


class IOManager:
    def __init__(self, core):
        self._core = core

    def fileType(self, path):
        suffix = Path(path).suffix.lower()
        if suffix in SCENE_SUFFIXES:
            return "SceneFile"
        if suffix in VOLUME_SUFFIXES:
            return "VolumeFile"
        raise ValueError(f"the test host reads no {suffix!r} files: {path}")

    def fileWriterFileType(self, node):
        if not node.IsA("vtkMRMLVolumeNode"):
            raise ValueError(f"the test host writes volumes only, not {node.GetClassName()}")
        return "VolumeFile"

    def loadNodes(self, file_type, properties, loaded_nodes, messages):
        path = properties["fileName"]
        if not Path(path).is_file():
            messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"file not found: {path}")
            return False
        if file_type == "SceneFile":
            return scene_files.load_scene(self._core.scene, path, clear=properties.get("clear", False))
        self._require(file_type, "VolumeFile")
        node = scene_files.load_volume(self._core, properties)
        if node is not None:
            loaded_nodes.AddItem(node)
        return node is not None

    def loadScene(self, path, clear=True):
        return scene_files.load_scene(self._core.scene, path, clear)

    def saveNodes(self, file_type, properties, messages):
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return scene_files.save_scene(self._core.scene, path)
        self._require(file_type, "VolumeFile")
        node = self._core.scene.GetNodeByID(properties["nodeID"])
        saved = scene_files.save_node(node, path, properties.get("useCompression"))
        if not saved:
            messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"could not write {path}")
        return saved

    @staticmethod
    def _require(file_type, supported):
        if file_type != supported:
            raise ValueError(f"the test host handles no {file_type}")
