"""The application around the scene: logics, files, views, modules, main window and ``slicer.app``."""
