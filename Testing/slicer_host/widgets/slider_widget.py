"""``ctkSliderWidget``: a slider and a spin box for one number."""

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

STEPS = 1000


def _of_spin_box(name, kind):
    """A Qt property that the inner spin box holds, and the setter of that name."""

    def read(self):
        return getattr(self._spin_box, name)

    def write(self, value):
        setattr(self._spin_box, name, value)
        self._move_slider()

    return Property(kind, read, write), write


class ctkSliderWidget(QtWidgets.QWidget):
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider, self._spin_box = QtWidgets.QSlider(QtCore.Qt.Horizontal), QtWidgets.QDoubleSpinBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spin_box)
        self._slider.setRange(0, STEPS)
        self._spin_box.valueChanged.connect(self._on_spin_box)
        self._slider.valueChanged.connect(self._on_slider)

    value, setValue = _of_spin_box("value", float)
    minimum, setMinimum = _of_spin_box("minimum", float)
    maximum, setMaximum = _of_spin_box("maximum", float)
    singleStep, setSingleStep = _of_spin_box("singleStep", float)
    decimals, setDecimals = _of_spin_box("decimals", int)
    suffix, setSuffix = _of_spin_box("suffix", str)
    prefix, setPrefix = _of_spin_box("prefix", str)

    def setRange(self, minimum, maximum):
        self._spin_box.setRange(minimum, maximum)
        self._move_slider()

    def _span(self):
        return self._spin_box.maximum - self._spin_box.minimum

    def _move_slider(self):
        fraction = (self._spin_box.value - self._spin_box.minimum) / self._span() if self._span() else 0
        blocked = self._slider.blockSignals(True)
        self._slider.setValue(round(fraction * STEPS))
        self._slider.blockSignals(blocked)

    def _on_spin_box(self, value):
        self._move_slider()
        self.valueIsChanging.emit(value)
        self.valueChanged.emit(value)

    def _on_slider(self, position):
        self._spin_box.setValue(self._spin_box.minimum + self._span() * position / STEPS)
