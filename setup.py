"""Puts the trained weights into the wheel: they lie beside the engine, where Slicer packages them, not inside it."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MODELS = Path("CycleINRSlicer") / "Resources" / "Models"


class BuildWithWeights(build_py):
    """Copies weights and model cards to ``cycleinr/models``, where ``cycleinr.request`` looks next."""

    def run(self):
        # Else what an older build left there, and has moved or gone since, would be in the wheel
        shutil.rmtree(Path(self.build_lib), ignore_errors=True)
        super().run()
        if not self.editable_mode:
            shutil.copytree(MODELS, Path(self.build_lib) / "cycleinr" / "models", dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithWeights})
