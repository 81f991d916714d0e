"""Real voxels as nodes, runs on them, and what to look at afterwards."""

import os
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE_FILE = REPOSITORY / "CycleINRSlicer" / "CycleINRSlicer.py"
CHEST_CT = REPOSITORY / "Testing" / "data" / "ct_chest_0p8mm.nii.gz"
LIMIT_S = 120


def thickNode(every, name="scan"):
    """Every so-manieth slice of a real chest CT."""
    import slicer
    from cycleinr.files import read_volume

    volume = read_volume(CHEST_CT)
    ijkToRas = volume.ijk_to_ras.copy()
    ijkToRas[:3, 2] *= every
    return slicer.util.addVolumeFromArray(np.ascontiguousarray(volume.array[::every]), ijkToRas, name)


def startRun(engine, node, outputNode=None, changes=None, makeDifference=False, **options):
    """Start a run, twice as fine unless ``options`` say otherwise; ``changes`` receives (state, phase, fraction)."""
    from CycleINRSlicerLib.parameters import upsampleOptions
    from CycleINRSlicerLib.run import Run, RunRequest

    record = changes.append if changes is not None else lambda _change: None
    request = RunRequest(node, outputNode, upsampleOptions(**(options or {"ratio": 2})), makeDifference)
    return Run(engine, request, lambda run: record((run.state.value, run.phase, run.fraction)))


def volumeNodes():
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")


def filesIn(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def isAlive(pid):
    """Whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except OSError:  # under Windows' rules it is an access denied
        return False
    status = Path(f"/proc/{pid}/status")
    return not (status.exists() and "State:\tZ" in status.read_text())
