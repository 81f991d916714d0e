"""One slice view without a window: real slice logic, real displayable managers, offscreen rendering."""

import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

DISPLAYABLE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)


class SliceView:
    """The slice view called ``name``; its slice node comes from the layout."""

    def __init__(self, core, name, orientation, size=(300, 300)):
        self.name, self._size = name, size
        self._make_window()
        self._make_logic(core, orientation)
        self._attach_displayable_managers(core)
        self._show_image()

    @property
    def composite_node(self):
        return self.logic.GetSliceCompositeNode()

    def _make_window(self):
        self._renderer = vtk.vtkRenderer()
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self.window = vtk.vtkRenderWindow()
        self.window.SetShowWindow(False)
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*self._size)
        self.window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        self._interactor.Initialize()

    def _make_logic(self, core, orientation):
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(core.application_logic)
        core.application_logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(core.scene)
        # AddSliceNode on a name that exists would return a node outside the scene
        self.slice_node = core.scene.GetSingletonNode(self.name, "vtkMRMLSliceNode")
        if self.slice_node is None:
            self.slice_node = self.logic.AddSliceNode(self.name)
            self.slice_node.SetOrientation(orientation)
        else:
            self.logic.SetSliceNode(self.slice_node)  # also creates the composite node

    def _attach_displayable_managers(self, core):
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(core.application_logic)
        for manager in DISPLAYABLE_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.SetRenderer(self._renderer)
        self._managers.Initialize(factory, self._renderer)
        self._managers.SetMRMLDisplayableNode(self.slice_node)

    def _show_image(self):
        """In Slicer the image actor belongs to the Qt side (ctkVTKSliceView)."""
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._image)

    def resize(self, width, height):
        self._size = (width, height)
        self.window.SetSize(width, height)
        self.logic.ResizeSliceNode(width, height)

    def fit(self):
        self.logic.ResizeSliceNode(*self._size)
        self.logic.FitSliceToBackground()
        self.logic.SnapSliceOffsetToIJK()

    def grab(self):
        """Render; returns a uint8 array (rows from the top, columns, RGB)."""
        connection = self.logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        self._image.SetVisibility(bool(connection))
        self.window.Render()
        capture = vtk.vtkWindowToImageFilter()
        capture.SetInput(self.window)
        capture.ReadFrontBufferOff()
        capture.SetInputBufferTypeToRGB()
        capture.Update()
        image = capture.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1].copy()

    def close(self):
        """Let go of the scene and free the graphics context."""
        self._managers.SetMRMLDisplayableNode(None)
        self.logic.SetMRMLScene(None)
        self.window.Finalize()
