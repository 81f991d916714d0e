"""How responsive the application stays: a 50 ms timer's longest pause during a full run of the panel.

    python Testing/Benchmarks/heartbeat.py [SCAN]

Prints start-up times, the longest pause between two heartbeats in each phase of the run, the time to the first
progress (cold and warm), and the time from Cancel to idle.
"""

import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
for folder in (REPOSITORY / "Testing", REPOSITORY / "CycleINRSlicer"):
    sys.path.insert(0, str(folder))

import slicer_host  # noqa: E402

INTERVAL_MS = 50
LIMIT_S = 1800


class Heartbeat:
    """A timer that notes how long after its predecessor each beat comes, by the phase that the panel shows."""

    def __init__(self, ui):
        import qt

        self._ui, self._last_s, self.pauses_ms = ui, time.perf_counter(), {}
        self._timer = qt.QTimer()
        self._timer.interval = INTERVAL_MS
        self._timer.connect("timeout()", self._beat)
        self._timer.start()

    def _beat(self):
        now_s = time.perf_counter()
        phase = self._ui.statusLabel.text.split(",")[0] or "idle"
        self.pauses_ms.setdefault(phase, []).append(1000 * (now_s - self._last_s))
        self._last_s = now_s

    def stop(self):
        self._timer.stop()


def main(scan_path: Path | None) -> None:
    host = slicer_host.start()
    try:
        measure(host, scan_path)
    finally:
        host.close()


def measure(host, scan_path: Path | None) -> None:
    import slicer

    started_s = time.perf_counter()
    loaded = host.load_module(REPOSITORY / "CycleINRSlicer" / "CycleINRSlicer.py", enter=False)
    imported_s = time.perf_counter()
    ui = loaded.widget.ui
    print(f"module imported in {imported_s - started_s:.2f} s, panel built in {time.perf_counter() - imported_s:.2f} s")
    slicer.util.mainWindow().show()
    host.enter_module("CycleINRSlicer")
    loaded.widget.logic.getParameterNode().inputVolume = load(scan_path)
    host.process_events(until=lambda: ui.applyButton.enabled, timeout_s=LIMIT_S)
    print(f"first progress {first_progress_s(host, ui):.2f} s after Apply, cold")
    print(f"idle {cancel_s(host, ui):.2f} s after Cancel")
    print(f"first progress {first_progress_s(host, ui):.2f} s after Apply, warm")
    cancel_s(host, ui)
    beat, began_s = Heartbeat(ui), time.perf_counter()
    ui.applyButton.click()
    host.process_events(until=lambda: not ui.progressBar.visible, timeout_s=LIMIT_S)
    beat.stop()
    print(f"{ui.statusLabel.text or ui.problemLabel.text} ({time.perf_counter() - began_s:.1f} s)")
    for phase, pauses_ms in beat.pauses_ms.items():
        print(f"{phase}: longest pause {max(pauses_ms):.0f} ms of {len(pauses_ms)} beats")


def load(scan_path: Path | None):
    if scan_path is not None:
        import slicer

        return slicer.util.loadVolume(str(scan_path))
    import SampleData
    from CycleINRSlicerLib.sample import SAMPLE_NAME

    return SampleData.downloadSample(SAMPLE_NAME)


def first_progress_s(host, ui) -> float:
    """Seconds from Apply until slices are being computed."""
    began_s = time.perf_counter()
    ui.applyButton.click()
    host.process_events(until=lambda: ui.statusLabel.text.startswith("Computing"), timeout_s=LIMIT_S)
    return time.perf_counter() - began_s


def cancel_s(host, ui) -> float:
    host.process_events(until=lambda: ui.applyButton.enabled, timeout_s=LIMIT_S)
    began_s = time.perf_counter()
    ui.applyButton.click()
    host.process_events(until=lambda: not ui.progressBar.visible, timeout_s=LIMIT_S)
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
