"""Imported by every Python whose PYTHONPATH has this folder: Windows' rules hold in processes of the application."""

import importlib.util
from pathlib import Path

_FILE = Path(__file__).resolve().parents[1] / "windows_rules.py"
_SPEC = importlib.util.spec_from_file_location("windows_rules", _FILE)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
_MODULE.install_from_environment()
