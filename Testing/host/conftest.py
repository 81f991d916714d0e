import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from slicer_host.fixtures import host, running_host, scene  # noqa: E402, F401
