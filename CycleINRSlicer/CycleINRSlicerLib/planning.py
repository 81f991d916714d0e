"""What a run would do, worked out once for the same voxels and settings.

A plan looks at all voxels, which takes up to half a second for a large MR scan. The panel asks for it after an edit,
the run that Apply starts asks again, and so does the panel when the run is over.
"""

from __future__ import annotations

import vtk
from cycleinr.inference.options import UpsampleOptions
from cycleinr.inference.plan import Plan, plan
from cycleinr.volume import Volume

from .volume_node import volumeFromNode


class _LastPlan:
    """The last plan, and of what it was; keeps no voxels alive."""

    def __init__(self):
        self._image, self._of, self._plan = vtk.vtkWeakReference(), None, None

    def of(self, node, volume: Volume, options: UpsampleOptions) -> Plan:
        image = node.GetImageData()
        facts = (volume.ijk_to_ras.tobytes(), volume.modality, volume.slice_thickness_mm, volume.name)
        wanted = (image.GetMTime(), facts, options)
        if self._image.Get() is not image or self._of != wanted:
            self._plan = plan(volume, options)
            self._image.Set(image)
            self._of = wanted
        return self._plan


_last = _LastPlan()


def planOf(node, options: UpsampleOptions) -> tuple[Volume, Plan]:
    """The scan of a volume node, and what a run with these options would do with it.

    Raises:
        CycleinrError: The node, its values or the options rule the run out.
    """
    volume = volumeFromNode(node)
    return volume, _last.of(node, volume, options)
