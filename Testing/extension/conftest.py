import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def engine(host):
    """The application's engine, its process gone after the test."""
    from CycleINRSlicerLib.engine import sharedEngine

    yield sharedEngine()
    sharedEngine().stop()
