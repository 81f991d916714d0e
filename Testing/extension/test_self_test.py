"""The module's own test class passes in each of the ways in which Slicer runs it."""

import unittest

import pytest
from slicer_scans import MODULE_FILE, volumeNodes


@pytest.fixture
def module(host, engine):
    return host.load_module(MODULE_FILE)


def test_ctest_runs_each_test_method(module):
    """``slicer_add_python_unittest`` loads the class with unittest, which never calls ``runTest``."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.python_module.CycleINRSlicerTest)
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun >= 1 and result.wasSuccessful(), result.failures + result.errors


def test_reload_and_test_calls_run_test(module):
    module.instance.runTest(msec=1)
    assert len(volumeNodes()) == 3  # sample scan, its crop, the result


def test_generic_test_builds_the_panel_and_changes_scenes(host, engine):
    import slicer

    with host.without_main_window():
        module = host.load_module(MODULE_FILE)
        assert module.widget.ui.applyButton.text == "Apply"
        for _ in range(2):
            slicer.mrmlScene.Clear(0)
        host.unload_module("CycleINRSlicer")
    assert not engine.isRunning
