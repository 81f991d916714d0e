"""PythonQt's way of speaking to Qt, on top of PySide6."""
