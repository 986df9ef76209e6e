"""Sizes -> rectangles whose areas are in proportion, each as square as can be. Pure.

Source: Bruls, Huizing, van Wijk, "Squarified Treemaps" (2000): rows are laid along the
shorter side of what is free, and a row ends where one more would make it worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


def squarify(sizes: Sequence[float], box: Box) -> Iterator[Box]:
    """Yield a rectangle in `box` for each size, in order; sizes are positive, largest first."""
    total = sum(sizes)
    if not total or box.width <= 0 or box.height <= 0:
        return
    scale = box.width * box.height / total
    areas = [size * scale for size in sizes]
    start = 0
    while start < len(areas):
        side = min(box.width, box.height)
        end = start + 1
        while end < len(areas) and _worst(areas[start : end + 1], side) <= _worst(
            areas[start:end], side
        ):
            end += 1
        row, box = _laid(areas[start:end], box)
        yield from row
        start = end


def _worst(row: Sequence[float], side: float) -> float:
    """Return how far from a square the worst rectangle of a row is."""
    thickness = sum(row) / side
    return max(max(thickness**2 / area, area / thickness**2) for area in row)


def _laid(row: Sequence[float], box: Box) -> tuple[list[Box], Box]:
    """Return the rectangles of a row along the shorter side, and what is left free."""
    boxes = []
    x, y, width, height = box
    upright = width >= height
    thickness = sum(row) / (height if upright else width)
    for area in row:
        length = area / thickness
        if upright:
            boxes.append(Box(x, y, thickness, length))
            y += length
        else:
            boxes.append(Box(x, y, length, thickness))
            x += length
    if upright:
        return boxes, Box(box.x + thickness, box.y, max(width - thickness, 0.0), height)
    return boxes, Box(box.x, box.y + thickness, width, max(height - thickness, 0.0))
