"""Colour tables that Slicer reads from files of its share folder, which the wheel lacks."""

import numpy as np
import slicer

DIVERGING_BLUE_RED = [
    (5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (209, 229, 240), (247, 247, 247),
    (253, 219, 199), (244, 165, 130), (214, 96, 77), (178, 24, 43), (103, 0, 31),
]  # fmt: skip
"""ColorBrewer's RdBu (Cynthia Brewer), reversed, as matplotlib's RdBu_r that Slicer's DivergingBlueRed follows."""


def add_color_files(scene, color_logic):
    """Add the tables under the IDs and names that they have in Slicer; they outlive a closed scene as they do there."""
    _add_table(scene, color_logic, "DivergingBlueRed", DIVERGING_BLUE_RED)


def _add_table(scene, color_logic, name, anchors, entries=255):
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToFile()
    node.SetName(name)
    node.SetNumberOfColors(entries)
    at = np.linspace(0, len(anchors) - 1, entries)
    colors = np.transpose([np.interp(at, np.arange(len(anchors)), channel) for channel in zip(*anchors, strict=True)])
    for index, (red, green, blue) in enumerate(colors / 255):
        node.SetColor(index, str(index), red, green, blue, 1.0)
    node.SaveWithSceneOff()
    node.HideFromEditorsOn()
    node.SetAttribute("Category", "Default Labels from File")
    node.SetSingletonTag(color_logic.GetFileColorNodeSingletonTag(f"{name}.txt"))
    scene.AddNode(node)
