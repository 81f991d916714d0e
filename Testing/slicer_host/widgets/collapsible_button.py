"""``ctkCollapsibleButton``: a titled group that hides its content."""

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

HEADER_HEIGHT = 24
UNLIMITED_HEIGHT = 16777215


class ctkCollapsibleButton(QtWidgets.QWidget):
    contentsCollapsed = Signal(bool)
    toggled = Signal(bool)
    clicked = Signal(bool)

    def __init__(self, text="", parent=None):
        if isinstance(text, QtWidgets.QWidget):
            text, parent = "", text
        super().__init__(parent)
        self._text, self._collapsed, self._hidden_children = text, False, []
        self.setContentsMargins(6, HEADER_HEIGHT + 4, 6, 6)

    def _get_text(self):
        return self._text

    def setText(self, text):
        self._text = text
        self.update()

    def _get_collapsed(self):
        return self._collapsed

    def setCollapsed(self, collapsed):
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._show_content(not collapsed)
        self.contentsCollapsed.emit(collapsed)
        self.toggled.emit(not collapsed)

    def _get_checked(self):
        return not self._collapsed

    def setChecked(self, checked):
        self.setCollapsed(not checked)

    text = Property(str, _get_text, setText)
    collapsed = Property(bool, _get_collapsed, setCollapsed)
    checked = Property(bool, _get_checked, setChecked)

    def _show_content(self, shown):
        if shown:
            children, self._hidden_children = self._hidden_children, []
        else:  # a second time too: children may have come since
            children = [c for c in self.children() if isinstance(c, QtWidgets.QWidget) and not c.isHidden()]
            self._hidden_children += children
        for child in children:
            child.setVisible(shown)
        self.setMaximumHeight(UNLIMITED_HEIGHT if shown else HEADER_HEIGHT + 4)

    def showEvent(self, event):
        if self._collapsed:  # children that were added after `collapsed` was set
            self._show_content(False)
        super().showEvent(event)

    def mousePressEvent(self, event):
        if event.position().y() <= HEADER_HEIGHT:
            self.setCollapsed(not self._collapsed)
            self.clicked.emit(not self._collapsed)

    def paintEvent(self, _event):
        painter, style, width = QtGui.QPainter(self), self.style(), int(self.width)
        button = QtWidgets.QStyleOptionButton()
        button.rect, button.palette = QtCore.QRect(0, 0, width, HEADER_HEIGHT), self.palette
        button.state = QtWidgets.QStyle.State_Enabled | QtWidgets.QStyle.State_Raised
        style.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, button, painter, self)
        arrow = QtWidgets.QStyleOption()
        arrow.rect, arrow.palette, arrow.state = QtCore.QRect(6, 5, 14, 14), self.palette, button.state
        kind = "PE_IndicatorArrowRight" if self._collapsed else "PE_IndicatorArrowDown"
        style.drawPrimitive(getattr(QtWidgets.QStyle, kind), arrow, painter, self)
        painter.drawText(QtCore.QRect(26, 0, width - 30, HEADER_HEIGHT), QtCore.Qt.AlignVCenter, self._text)
