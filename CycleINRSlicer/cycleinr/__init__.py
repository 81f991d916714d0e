"""CycleINR: through-plane super-resolution of CT and MR volumes at any ratio.

The package is free of Slicer and Qt. Importing it imports neither torch nor SimpleITK: those load when a function
that needs them is called, so that the command line answers ``--help`` at once and Slicer starts no slower.
"""

__version__ = "0.1.0"
