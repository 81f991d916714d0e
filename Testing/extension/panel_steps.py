"""What a user of the panel does and waits for."""

from slicer_scans import LIMIT_S, volumeNodes


def ready(host, ui):
    host.process_events(until=lambda: ui.applyButton.enabled and ui.applyButton.text == "Apply", timeout_s=LIMIT_S)


def finished(host, ui):
    host.process_events(until=lambda: not ui.progressBar.visible, timeout_s=LIMIT_S)


def apply(host, ui, parameters, scan):
    """Choose the scan and press Apply; returns once the engine computes."""
    parameters.inputVolume = scan
    ready(host, ui)
    ui.applyButton.click()
    host.process_events(until=lambda: ui.statusLabel.text.startswith("Computing"), timeout_s=LIMIT_S)


def results(scan):
    return [node for node in volumeNodes() if node is not scan]
