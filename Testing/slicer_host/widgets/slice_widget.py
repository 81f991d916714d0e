"""``qMRMLSliceWidget``: shows one offscreen slice view in the window."""

from PySide6 import QtGui, QtWidgets


class qMRMLSliceWidget(QtWidgets.QLabel):
    """Slice logic and nodes are the real ones; the picture is a copy of the offscreen rendering."""

    def __init__(self, view):
        super().__init__()
        self._view = view
        self.setMinimumSize(120, 120)
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Expanding)

    def sliceLogic(self):
        return self._view.logic

    def mrmlSliceNode(self):
        return self._view.slice_node

    def mrmlSliceCompositeNode(self):
        return self._view.composite_node

    def sliceView(self):
        """The view part; one widget plays both roles here."""
        return self

    def sliceController(self):
        """The controller part; one widget plays all roles here."""
        return self

    def fitSliceToBackground(self):
        self._view.fit()

    def setSliceOffsetValue(self, offset_mm):
        self._view.logic.StartSliceOffsetInteraction()
        self._view.logic.SetSliceOffset(offset_mm)
        self._view.logic.EndSliceOffsetInteraction()

    def renderWindow(self):
        return self._view.window

    def scheduleRender(self):
        """Pictures are taken on demand, by forceRender."""

    def resizeEvent(self, event):
        self._view.resize(event.size().width(), event.size().height())

    def forceRender(self):
        pixels = self._view.grab()  # (rows, columns, RGB)
        height, width, _ = pixels.shape
        image = QtGui.QImage(pixels.tobytes(), width, height, 3 * width, QtGui.QImage.Format_RGB888)
        self.setPixmap(QtGui.QPixmap.fromImage(image))
