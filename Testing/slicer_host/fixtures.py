"""pytest fixtures; in a ``conftest.py``: ``from slicer_host.fixtures import host, scene  # noqa: F401``.

They skip, with the reason, where slicer-core or PySide6 is not installed.
"""

import pytest

from . import missing_packages, start


@pytest.fixture(scope="session")
def running_host():
    """The host, started once per test session."""
    missing = missing_packages()
    if missing:
        pytest.skip(f"the Slicer host needs: pip install {' '.join(missing)}")
    host = start()
    yield host
    host.close()


@pytest.fixture
def host(running_host):
    """The host with an empty scene and no module.

    Exceptions in slots and observers, which nobody sees otherwise, and unused dialog answers fail the test.
    """
    yield running_host
    unnoticed = running_host.reset()
    assert not unnoticed, "; ".join(unnoticed)


@pytest.fixture
def scene(host):
    """``slicer.mrmlScene``, empty."""
    import slicer

    return slicer.mrmlScene
