"""The engine as a process of its own: Slicer sends requests as JSON lines and stays responsive meanwhile."""
