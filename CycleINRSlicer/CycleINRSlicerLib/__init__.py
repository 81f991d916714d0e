"""All of CycleINRSlicer that needs Slicer or Qt; the engine itself is the package ``cycleinr``."""
