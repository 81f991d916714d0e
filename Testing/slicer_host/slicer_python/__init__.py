"""Slicer's Python modules that the slicer-core wheel lacks, written from their documented behaviour."""
