"""How values of each type are written into the parameter node: Slicer's own text format."""

import enum
import pathlib
import types
import typing

import slicer

from .annotations import Validator, split

TEXT_TYPES = (int, float, str, bool)
PATH_TYPES = (pathlib.Path, pathlib.PurePath, pathlib.PosixPath, pathlib.WindowsPath)


class TextStorage:
    """Numbers, texts, truth values, paths and enums: one parameter of text."""

    def __init__(self, kind):
        self.kind = kind
        self._accepted = (int, float) if kind is float else kind

    def default(self):
        return next(iter(self.kind)) if issubclass(self.kind, enum.Enum) else self.kind()

    def accepts(self, value):
        return isinstance(value, self._accepted)

    def is_in(self, node, name):
        return node.HasParameter(name)

    def write(self, node, name, value):
        node.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node, name):
        text = node.GetParameter(name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if issubclass(self.kind, enum.Enum) else self.kind(text)

    def remove(self, node, name):
        node.UnsetParameter(name)


class NodeStorage:
    """A node reference, and an empty parameter of that name which says that it was set (None is a value)."""

    def __init__(self, kind):
        self.kind = kind

    def default(self):
        return None

    def accepts(self, value):
        return value is None or isinstance(value, self.kind)

    def is_in(self, node, name):
        return node.HasParameter(name)

    def write(self, node, name, value):
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name):
        return node.GetNodeReference(name)

    def remove(self, node, name):
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class NoneStorage:
    """None as a member of a union."""

    def default(self):
        return None

    def accepts(self, value):
        return value is None

    def is_in(self, node, name):
        return node.HasParameter(name)

    def write(self, node, name, _value):
        node.SetParameter(name, "None")

    def read(self, _node, _name):
        return None

    def remove(self, node, name):
        node.UnsetParameter(name)


class UnionStorage:
    """One of several types; member number ``i`` is stored as ``name.i``."""

    def __init__(self, members):
        self._members = members

    def default(self):
        optional = len(self._members) == 2 and isinstance(self._members[1], NoneStorage)
        return None if optional else self._members[0].default()

    def accepts(self, value):
        return any(member.accepts(value) for member in self._members)

    def is_in(self, node, name):
        return any(member.is_in(node, f"{name}.{i}") for i, member in enumerate(self._members))

    def write(self, node, name, value):
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            index, member = next((i, m) for i, m in reversed(list(enumerate(self._members))) if m.accepts(value))
            member.write(node, f"{name}.{index}", value)

    def read(self, node, name):
        index, member = next((i, m) for i, m in enumerate(self._members) if m.is_in(node, f"{name}.{i}"))
        return member.read(node, f"{name}.{index}")

    def remove(self, node, name):
        for index, member in enumerate(self._members):
            member.remove(node, f"{name}.{index}")


def make_storage(hint):
    """The storage for a type hint; a type that the host does not provide fails."""
    kind, _ = split(hint)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return UnionStorage([make_storage(member) for member in typing.get_args(kind)])
    if kind is type(None):
        return NoneStorage()
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeStorage(kind)
    if kind in TEXT_TYPES or kind in PATH_TYPES or isinstance(kind, type) and issubclass(kind, enum.Enum):
        return TextStorage(kind)
    raise TypeError(f"the test host stores no parameters of type {hint}")


def validators(hint):
    return [annotation for annotation in split(hint)[1] if isinstance(annotation, Validator)]
