"""Files, subject hierarchy and sample data, over the real scene."""

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("host")

OBLIQUE = np.array([[0.8, -0.1, 0.5, 11], [0.1, 0.9, 0.2, -22], [-0.1, 0.0, 4.9, 33], [0, 0, 0, 1.0]])
OBLIQUE[:3, :3] = np.linalg.qr(OBLIQUE[:3, :3])[0] * [0.8, 0.9, 5]


def add_volume(name="scan"):
    import slicer

    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    return slicer.util.addVolumeFromArray(array, ijkToRAS=OBLIQUE, name=name)


def affine(volume):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_volumes_keep_voxels_and_geometry(scene, suffix, tmp_path):
    import slicer

    path = str(tmp_path / f"scan.{suffix}")
    volume = add_volume()
    assert slicer.util.saveNode(volume, path)
    loaded = slicer.util.loadVolume(path, {"name": "again", "show": False})
    assert loaded.GetName() == "again"
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))
    assert np.allclose(affine(loaded), OBLIQUE, atol=1e-6)


def test_a_loaded_volume_is_shown(scene, tmp_path):
    import slicer

    path = str(tmp_path / "scan.nrrd")
    slicer.util.saveNode(add_volume(), path)
    loaded = slicer.util.loadVolume(path)
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == loaded.GetID()


def test_loading_fails_loudly(tmp_path):
    import slicer

    with pytest.raises(RuntimeError, match="file not found"):
        slicer.util.loadVolume("/no/such/scan.nrrd")
    path = tmp_path / "scan.nrrd"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="unknown properties"):
        slicer.util.loadVolume(str(path), {"centre": True})
    with pytest.raises(ValueError, match="reads no"):
        slicer.app.coreIOManager().fileType("surface.vtp")


def test_scene_files_keep_display_and_transform(scene, tmp_path):
    import slicer

    volume = add_volume()
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(321, 123)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    loaded = slicer.util.getNode("scan")
    assert (loaded.GetDisplayNode().GetWindow(), loaded.GetDisplayNode().GetLevel()) == (321, 123)
    assert loaded.GetParentTransformNode().GetName() == "moved"


def test_closing_the_scene_is_announced(scene):
    events = []
    tags = [scene.AddObserver(getattr(scene, f"{when}CloseEvent"), lambda *_, w=when: events.append(w))
            for when in ("Start", "End")]  # fmt: skip
    scene.Clear(0)
    for tag in tags:
        scene.RemoveObserver(tag)
    assert events == ["Start", "End"]


def test_subject_hierarchy_follows_the_volumes(scene):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    volume = add_volume()
    item = hierarchy.GetItemByDataNode(volume)
    assert hierarchy.GetItemName(item) == "scan"
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "CT of 2026")
    hierarchy.SetItemParent(item, study)
    result = hierarchy.GetItemByDataNode(add_volume("result"))
    hierarchy.SetItemParent(result, hierarchy.GetItemParent(item))
    assert slicer.util.getSubjectHierarchyItemChildren(study) == [item, result]
    scene.RemoveNode(volume)
    assert slicer.util.getSubjectHierarchyItemChildren(study) == [result]


def test_subject_hierarchy_survives_the_scene_file(scene, tmp_path):
    import slicer

    get_hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode
    volume, hierarchy = add_volume(), get_hierarchy(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "CT of 2026")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    hierarchy = get_hierarchy(scene)
    item = hierarchy.GetItemByDataNode(slicer.util.getNode("scan"))
    assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "CT of 2026"


def test_sample_data_from_a_local_file(tmp_path):
    import SampleData
    import slicer

    path = tmp_path / "sample.nrrd"
    slicer.util.saveNode(add_volume(), str(path))
    logic = SampleData.SampleDataLogic
    logic.registerCustomSampleDataSource(
        category="Local", sampleName="Local1", uris=path.as_uri(), fileNames="sample.nrrd", nodeNames="Sample"
    )
    assert SampleData.downloadSample("Local1").GetName() == "Sample"
    with pytest.raises(ValueError, match="2 entries for 1 URIs"):
        logic.registerCustomSampleDataSource(sampleName="Bad", uris="file:///a", nodeNames=["a", "b"])
