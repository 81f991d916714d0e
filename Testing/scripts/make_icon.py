#!/usr/bin/env python3
"""Draw the extension's icon: thick slices of a rounded body on the left, fine ones of the same body on the right."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 128
OVERSAMPLING = 8
COARSE, FINE = 5, 18
"""Slices over the body's height; the coarse ones stay apart at 24 pixels, the fine ones melt into a smooth outline."""

HALF_HEIGHT, HALF_WIDTH = 0.8, 0.78
COARSE_GAP, FINE_GAP = 0.035, 0.016
BACKGROUND = (16, 38, 58)
BODY, CORE = (38, 154, 196), (255, 214, 122)


def rounded_square(x: np.ndarray, y: np.ndarray, half: float, radius: float) -> np.ndarray:
    """True inside a square with rounded corners around the centre; coordinates from -1 to 1."""
    beyond = np.hypot(np.maximum(abs(x) - half + radius, 0), np.maximum(abs(y) - half + radius, 0))
    return beyond <= radius


def inside(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """True where a slice at height ``y`` through a ball of that radius has tissue at ``x``."""
    return abs(x) < np.sqrt(np.maximum(radius**2 - y**2, 0))


def draw(size: int = SIZE) -> Image.Image:
    """The icon as an RGBA image of ``size`` x ``size`` pixels."""
    n = size * OVERSAMPLING
    axis = (np.arange(n) + 0.5) / n * 2 - 1
    x, y = np.meshgrid(axis, axis)
    slices = np.where(x < 0, COARSE, FINE)
    position = (y / HALF_HEIGHT + 1) / 2 * slices
    sampled = (np.floor(position) + 0.5) / slices * 2 - 1
    gap = np.where(x < 0, COARSE_GAP, FINE_GAP)
    apart = (position % 1 * 2 * HALF_HEIGHT / slices > gap) & (abs(x) > FINE_GAP) & (abs(y) < HALF_HEIGHT)
    pixels = np.zeros((n, n, 4))
    pixels[..., :3] = BACKGROUND
    pixels[apart & inside(x / HALF_WIDTH, sampled, 1.0), :3] = BODY
    pixels[apart & inside(x / HALF_WIDTH, sampled, 0.5), :3] = CORE
    pixels[..., 3] = 255 * rounded_square(x, y, 1.0, 0.3)
    return Image.fromarray(pixels.astype(np.uint8), "RGBA").resize((size, size), Image.LANCZOS)


if __name__ == "__main__":
    icons = Path(__file__).resolve().parents[2] / "CycleINRSlicer" / "Resources" / "Icons"
    draw().save(sys.argv[1] if len(sys.argv) > 1 else icons / "CycleINRSlicer.png", optimize=True)
