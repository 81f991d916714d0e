"""Real voxels as nodes, runs on them, and what to look at afterwards."""

import os
from pathlib import Path

import numpy as np
from places import REPOSITORY
from vtk.util.numpy_support import vtk_to_numpy

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


def addVolume(volume, name):
    import slicer

    node = slicer.util.addVolumeFromArray(volume.array, name=name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
    return node


def affineOf(node):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


class Database:
    """Answers as Slicer's DICOM database does for the files of one folder."""

    def __init__(self, folder):
        import pydicom

        self.headers = {str(path): pydicom.dcmread(path, stop_before_pixels=True) for path in folder.glob("*.dcm")}

    def fileForInstance(self, uid):
        return next((path for path, header in self.headers.items() if header.SOPInstanceUID == uid), "")

    def fileValue(self, path, tag):
        group, element = (int(part, 16) for part in tag.split(","))
        value = self.headers[path].get((group, element))
        return "" if value is None else str(value.value)


def dicomNode(folder, monkeypatch, name="scan"):
    """A series of one slice a file as Slicer's DICOM module loads it, with the database that knows its files.

    Slicer gives the volume the first slice's place and one distance between slices. Where the corners of a slice lie
    elsewhere by more than a micrometre, a grid transform with one vector for each corner of each slice moves them.
    """
    import pydicom
    import slicer
    import vtk
    from cycleinr.files.dicom_series import slices_of_files

    slices = sorted(
        slices_of_files(sorted(folder.glob("*.dcm"))), key=lambda each: each.position_lps_mm @ each.normal_lps
    )
    array = np.stack([pydicom.dcmread(each.path).pixel_array * each.slope + each.intercept for each in slices])
    database = Database(folder)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    first, (rows, columns) = slices[0], slices[0].rows_columns
    ijkToRas = np.eye(4)
    ijkToRas[:3, 3] = first.place_ras_mm(0, 0)
    ijkToRas[:3, 0] = first.place_ras_mm(1, 0) - ijkToRas[:3, 3]
    ijkToRas[:3, 1] = first.place_ras_mm(0, 1) - ijkToRas[:3, 3]
    step = np.linalg.norm(slices[1].place_ras_mm(0, 0) - ijkToRas[:3, 3])
    ijkToRas[:3, 2] = first.normal_lps * (-1, -1, 1) * step
    node = slicer.util.addVolumeFromArray(array.astype(np.int16), ijkToRas, name)
    node.SetAttribute(
        "DICOM.instanceUIDs", " ".join(database.headers[str(each.path)].SOPInstanceUID for each in slices)
    )
    corners = [(column, row) for row in (0, rows) for column in (0, columns)]
    true = np.array([[each.place_ras_mm(*corner) for corner in corners] for each in slices])
    told = np.array([[(ijkToRas @ (*corner, k, 1))[:3] for corner in corners] for k in range(len(slices))])
    if np.abs(true - told).max() <= 1e-3:
        return node
    grid = vtk.vtkImageData()
    grid.SetDimensions(2, 2, len(slices))
    grid.SetOrigin(*node.GetOrigin())
    grid.SetSpacing(np.array(node.GetSpacing()) * (columns, rows, 1))
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    vtk_to_numpy(grid.GetPointData().GetScalars())[:] = (true - told).reshape(-1, 3)
    transform, directions = slicer.vtkOrientedGridTransform(), vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(directions)
    transform.SetGridDirectionMatrix(directions)
    transform.SetDisplacementGridData(grid)
    above = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", f"{name} acquisition transform")
    above.SetAndObserveTransformToParent(transform)
    node.SetAndObserveTransformNodeID(above.GetID())
    return node


def startRun(engine, node, outputNode=None, changes=None, makeDifference=False, **options):
    """Start a run, twice as fine unless ``options`` say otherwise; ``changes`` receives (state, phase, fraction)."""
    from cycleinr import Upsampler
    from CycleINRSlicerLib.jobs import makeFiner
    from CycleINRSlicerLib.task import Task

    record = changes.append if changes is not None else lambda _change: None
    options = Upsampler(**(options or {"ratio": 2})).options

    def onChanged(run):
        record((run.state.value, run.phase, run.fraction))

    return Task(engine, lambda task: makeFiner(task, node, options, outputNode, makeDifference), onChanged)


def differenceNode(scan, result):
    """Result minus B-spline, all steps at once."""
    from CycleINRSlicerLib.result_node import differenceSteps

    steps = differenceSteps(scan, result)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


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
