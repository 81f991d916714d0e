"""Makes the Python modules of this folder importable under Slicer's names."""

import importlib
import sys

import slicer

SLICER_MODULES = {
    "i18n": "i18n",
    "ScriptedLoadableModule": "scripted_module",
    "parameterNodeWrapper": "parameter_node",
}


def install():
    for name, own_name in SLICER_MODULES.items():
        module = importlib.import_module(f"{__package__}.{own_name}")
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    sys.modules["SampleData"] = importlib.import_module(f"{__package__}.sample_data")
