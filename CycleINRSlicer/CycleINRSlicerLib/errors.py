"""Errors that only arise inside Slicer; like the engine's, their texts name value, cause and remedy."""

from cycleinr.errors import CycleinrError


class NodeError(CycleinrError):
    """A node is missing, is no scalar volume, or cannot be used as it is (its transform, its scene)."""


class InstallationError(CycleinrError):
    """PyTorch, which a GPU needs, could not be installed."""


class EngineProcessError(CycleinrError):
    """The engine's process did not start, died, or answered what nobody can understand."""
