"""``make panel``: open the panel in the headless host, run Apply on the bundled scan, and take pictures.

Writes panel.png (the panel after the run, beside the slice views) and review.png (the 2x3 review) into a folder.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
for folder in (REPOSITORY / "Testing", REPOSITORY / "CycleINRSlicer"):
    sys.path.insert(0, str(folder))

import slicer_host  # noqa: E402

SIZE = (1500, 900)
WINDOW, LEVEL = 100, 40
LIMIT_S = 600


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    host = slicer_host.start()
    try:
        take_pictures(host, folder)
    finally:
        host.close()


def take_pictures(host, folder: Path) -> None:
    """Load, Apply, Review, as a reader would; a picture after each."""
    import SampleData
    import slicer

    loaded = host.load_module(REPOSITORY / "CycleINRSlicer" / "CycleINRSlicer.py")
    from CycleINRSlicerLib.sample import SAMPLE_NAME

    scan = SampleData.downloadSample(SAMPLE_NAME)
    display = scan.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(WINDOW, LEVEL)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpGreenSliceView)
    slicer.util.setSliceViewerLayers(background=scan, fit=True)
    ui = loaded.widget.ui
    host.process_events(until=lambda: ui.applyButton.enabled, timeout_s=LIMIT_S)
    ui.applyButton.click()
    host.process_events(until=lambda: ui.progressBar.value > 300, timeout_s=LIMIT_S)
    host.screenshot(folder / "panel_running.png", SIZE)
    host.process_events(until=lambda: not ui.progressBar.visible, timeout_s=LIMIT_S)
    if ui.problemLabel.text:
        raise SystemExit(ui.problemLabel.text)
    host.screenshot(folder / "panel.png", SIZE)
    ui.reviewButton.click()
    host.screenshot(folder / "review.png", SIZE)
    print(f"{ui.statusLabel.text}\n{folder / 'panel_running.png'}\n{folder / 'panel.png'}\n{folder / 'review.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "output"))
