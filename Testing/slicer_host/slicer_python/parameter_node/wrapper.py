"""The class decorator ``parameterNodeWrapper``."""

import typing
import weakref

import qt
import slicer
import vtk

from .annotations import Default, first, split
from .connectors import Connector, make_connector
from .storage import make_storage, validators

PARAMETER_NAME_PROPERTY = "SlicerParameterName"


class Parameter:
    """One typed attribute of a wrapper class."""

    def __init__(self, name, hint, default):
        self.name, self.hint = name, hint
        self._storage, self._validators = make_storage(hint), validators(hint)
        annotated = first(split(hint)[1], Default)
        self.default = default or annotated or Default(self._storage.default())

    def is_in(self, node, prefix):
        return self._storage.is_in(node, prefix + self.name)

    def read(self, node, prefix):
        if not self.is_in(node, prefix):
            self.write(node, prefix, self.default.value)
        return self._storage.read(node, prefix + self.name)

    def write(self, node, prefix, value):
        if not self._storage.accepts(value):
            raise TypeError(f"{self.name} must be of type {self.hint}, is {value!r}")
        for validator in self._validators:
            validator.validate(value)
        self._storage.write(node, prefix + self.name, value)


class WrapperMethods:
    """What the decorator adds to a class besides its parameters.

    Values are read when the parameter node is modified, and only then: a scene that is loaded may add the nodes that it
    refers to later, and the wrapper goes on to say None.
    """

    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode, self._prefix = parameterNode, prefix or ""
        self._guis, self._next_tag, self._updating_gui = {}, 0, False
        for parameter in self.allParameters.values():
            if not parameter.is_in(parameterNode, self._prefix):
                parameter.write(parameterNode, self._prefix, parameter.default.value)
        self._read_all()
        wrapper = weakref.ref(self)
        self._observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: wrapper()._read_all())

    def __del__(self):
        self.parameterNode.RemoveObserver(self._observer)

    def _read_all(self):
        self._values = {name: each.read(self.parameterNode, self._prefix) for name, each in self.allParameters.items()}

    def _parameter(self, name):
        if name not in self.allParameters:
            raise ValueError(f"cannot find a param with the given name: {name}; there are {list(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name):
        self._parameter(name)
        return self._values[name]

    def setValue(self, name, value):
        parameter = self._parameter(name)
        with slicer.util.NodeModify(self.parameterNode):
            parameter.write(self.parameterNode, self._prefix, value)
            self._values[name] = parameter.read(self.parameterNode, self._prefix)

    def default(self, name):
        return self._parameter(name).default

    def dataType(self, name):
        return self._parameter(name).hint

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, was_modified):
        return self.parameterNode.EndModify(was_modified)

    def Modified(self):
        self.parameterNode.Modified()

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui):
        """Connect the widgets (of a widget, or of ``childWidgetVariables``) that carry SlicerParameterName."""
        widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else vars(gui).values()
        named = {widget.property(PARAMETER_NAME_PROPERTY): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping):
        """Connect widgets given as ``{parameter name: widget}``; returns the tag for ``disconnectGui``."""
        hints = {name: self._parameter(name).hint for name in mapping}
        connectors = {
            name: widget if isinstance(widget, Connector) else make_connector(widget, hints[name])
            for name, widget in mapping.items()
        }
        tag = self._next_tag
        self._next_tag += 1
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.on_changed(lambda name=name, connector=connector: self._take_from_gui(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_gui())
        self._guis[tag] = (connectors, observer)
        return tag

    def disconnectGui(self, tag):
        if tag not in self._guis:
            return
        connectors, observer = self._guis.pop(tag)
        self.RemoveObserver(observer)
        for connector in connectors.values():
            connector.on_changed(None)

    def _take_from_gui(self, name, connector):
        if not self._updating_gui:
            self.setValue(name, connector.read())

    def _update_gui(self):
        if self._updating_gui:
            return
        self._updating_gui = True
        try:
            with slicer.util.NodeModify(self):
                for connectors, _ in self._guis.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating_gui = False


def _attribute(name):
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def _wrap(cls):
    parameters = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if hasattr(WrapperMethods, name):
            raise ValueError(f"cannot use reserved name {name!r} in a parameterNodeWrapper")
        default = Default(getattr(cls, name)) if hasattr(cls, name) else None
        parameters[name] = Parameter(name, hint, default)
    cls.allParameters = parameters
    for name, value in vars(WrapperMethods).items():
        if name not in ("__dict__", "__weakref__", "__module__", "__doc__"):
            setattr(cls, name, value)
    for name in parameters:
        setattr(cls, name, _attribute(name))
    return cls


def parameterNodeWrapper(classtype=None):
    """Class decorator, with or without parentheses."""
    return _wrap if classtype is None else _wrap(classtype)


def isParameterNodeWrapper(class_or_object):
    return getattr(class_or_object, "_is_parameter_node_wrapper", False)
