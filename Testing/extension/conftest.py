import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def engine(host):
    """The application's engine; a process that an earlier test left idle goes on serving, as it does for a user."""
    from CycleINRSlicerLib.engine import sharedEngine
    from slicer_scans import filesIn

    engine = sharedEngine()
    yield engine
    if engine.isRunning and filesIn(engine.folder.path):
        engine.stop()


@pytest.fixture
def coldEngine(engine):
    """The application's engine before its process is started; the process is gone after the test."""
    engine.stop()
    yield engine
    engine.stop()


@pytest.fixture
def process(host):
    """A stand-in for the engine's process, with an engine of its own."""
    from CycleINRSlicerLib.engine import Engine
    from fake_process import FakeProcess

    process = FakeProcess()
    process.engine = Engine(lambda: process)
    yield process
    process.engine.stop()


@pytest.fixture
def small_steps(monkeypatch):
    """Copies take many turns of the event loop, for small scans too."""
    from cycleinr.worker import folder

    monkeypatch.setattr(folder, "CHUNK_BYTES", 50_000)


@pytest.fixture
def widget(host, engine):
    """The module's panel in the main window, entered."""
    import slicer
    from slicer_scans import MODULE_FILE

    loaded = host.load_module(MODULE_FILE)
    slicer.util.mainWindow().show()
    return loaded.widget


@pytest.fixture
def ui(widget):
    return widget.ui


@pytest.fixture
def parameters(widget):
    return widget.logic.getParameterNode()


@pytest.fixture
def scan(scene):
    from slicer_scans import thickNode

    return thickNode(every=4)
