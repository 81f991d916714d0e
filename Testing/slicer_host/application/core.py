"""Scene, application logic and module logics: what the application sets up before any window. No Qt."""

import slicer
import vtk

from .color_files import add_color_files

LOGIC_CLASSES = {
    "Colors": "vtkSlicerColorLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}


class Core:
    """Owns ``slicer.mrmlScene`` and the logics that the application and its modules share."""

    def __init__(self, cache_folder):
        self.scene = slicer.vtkMRMLScene()
        slicer.mrmlScene = self.scene
        self._add_crosshair()
        self.application_logic = self._make_application_logic(cache_folder)
        self.module_logics = {name: self._make_module_logic(name, kind) for name, kind in LOGIC_CLASSES.items()}
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self._connect_data_io(cache_folder)

    def _add_crosshair(self):
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)

    def _make_application_logic(self, cache_folder):
        logic = slicer.vtkSlicerApplicationLogic()
        logic.SetHomeDirectory(str(cache_folder.parent))  # without colour files; those that the host has are added
        logic.SetMRMLScene(self.scene)
        logic.GetColorLogic().SetMRMLScene(self.scene)
        logic.GetColorLogic().AddDefaultColorNodes()
        add_color_files(self.scene, logic.GetColorLogic())
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance().SetMRMLApplicationLogic(logic)
        return logic

    def _make_module_logic(self, name, class_name):
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(self.application_logic)
        logic.SetMRMLScene(self.scene)
        self.application_logic.SetModuleLogic(name, logic)
        return logic

    def _connect_data_io(self, cache_folder):
        """Storage nodes read scene files through these managers."""
        self._remote_io = slicer.vtkMRMLRemoteIOLogic()
        self._data_io = slicer.vtkDataIOManagerLogic()
        for logic in (self._remote_io, self._data_io):
            logic.SetMRMLScene(self.scene)
            logic.SetMRMLApplicationLogic(self.application_logic)
        self._remote_io.GetCacheManager().SetRemoteCacheDirectory(str(cache_folder))
        self._data_io.SetAndObserveDataIOManager(self._remote_io.GetDataIOManager())
        self._remote_io.AddDataIOToScene()
