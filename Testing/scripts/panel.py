"""``make panel``: open the panel in the headless host, run Apply on the bundled scan, and take pictures.

Writes into a folder: preview.png (the crosshair's neighbourhood over the scan), panel_running.png, panel.png (the
finished result, in the window for brain), review.png (the 2x3 review) and error_map.png (the check's expected error
over the result).
"""

import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
for folder in (REPOSITORY / "Testing", REPOSITORY / "CycleINRSlicer"):
    sys.path.insert(0, str(folder))

import slicer_host  # noqa: E402

SIZE = (1500, 900)
LIMIT_S = 900
PREVIEW_PLACE = np.array([0.25, 0.5, 0.8])
"""Fractions of the scan's extent from right, back and below."""


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    host = slicer_host.start()
    try:
        take_pictures(host, folder)
    finally:
        host.close()


def take_pictures(host, folder: Path) -> None:
    """Load, Preview, Apply, Review, Check, as a reader would; a picture after each."""
    import SampleData
    import slicer

    loaded = host.load_module(REPOSITORY / "CycleINRSlicer" / "CycleINRSlicer.py")
    from CycleINRSlicerLib.reading import setWindow
    from CycleINRSlicerLib.sample import SAMPLE_NAME

    scan = SampleData.downloadSample(SAMPLE_NAME)
    setWindow("brain", scan)
    ui = loaded.widget.ui
    take_preview(host, ui, scan, folder)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpGreenSliceView)
    slicer.util.setSliceViewerLayers(background=scan, fit=True)
    ui.applyButton.click()
    host.process_events(until=lambda: ui.progressBar.value > 300, timeout_s=LIMIT_S)
    host.screenshot(folder / "panel_running.png", SIZE)
    finish(host, ui)
    ui.windowBox.activated.emit(ui.windowBox.findText("Brain"))
    host.screenshot(folder / "panel.png", SIZE)
    ui.reviewButton.click()
    host.screenshot(folder / "review.png", SIZE)
    ui.checkButton.click()
    finish(host, ui)
    ui.reviewButton.click()
    host.screenshot(folder / "error_map.png", SIZE)
    print(ui.statusLabel.text, *sorted(map(str, folder.glob("*.png"))), sep="\n")


def take_preview(host, ui, scan, folder: Path) -> None:
    """At the skull, where the staircase of thick slices is plainest."""
    import slicer

    slicer.util.mainWindow().show()
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpGreenSliceView)
    slicer.util.setSliceViewerLayers(background=scan, fit=True)
    bounds_mm = np.zeros(6)
    scan.GetRASBounds(bounds_mm)
    low, high = bounds_mm.reshape(3, 2).T
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(*(low + (high - low) * PREVIEW_PLACE))
    host.process_events(until=lambda: ui.previewButton.enabled, timeout_s=LIMIT_S)
    ui.previewButton.click()
    finish(host, ui)
    host.screenshot(folder / "preview.png", SIZE)


def finish(host, ui) -> None:
    """Wait for the run's end; a problem ends the script."""
    host.process_events(until=lambda: not ui.progressBar.visible, timeout_s=LIMIT_S)
    if ui.problemLabel.text:
        raise SystemExit(ui.problemLabel.text)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "output"))
