"""Where the names of points go: beside them where there is room, else as near as there is. Lengths are in points."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

GAP = 7.0
"""Between the middle of a marker and a name right beside it."""
CROSSING_COST = 30.0
"""How much farther away a name goes rather than cross a line, or have its own line cross another name."""
CONFUSION_COST = 40.0
"""And how much farther rather than lie nearer to another point than to its own."""
STEP = 14.0
MOST_SPOTS = 1000
"""Only the nearest free spots are weighed against each other: the others would take long and hardly win."""

Floats = npt.NDArray[np.float64]
Place = tuple[float, float]


class Box(NamedTuple):
    """A rectangle; in arrays of boxes, one row."""

    left: float
    bottom: float
    right: float
    top: float


def place(
    points: Sequence[Place],
    sizes: Sequence[tuple[float, float]],
    *,
    frame: Box,
    markers: Sequence[Box],
    lines: Sequence[Box] = (),
) -> list[Box | None]:
    """A box for the name of each point, inside the frame, over no marker and no other name; None where no room is left.

    Names are placed one after the other, those at the top first, each at the free spot of the lowest cost: the distance
    from its point, and something for each line crossed and for being nearer to another point. Lines are boxes
    without width or height.
    """
    boxes: list[Box | None] = [None] * len(points)
    crossable = list(lines)
    for at in sorted(range(len(points)), key=lambda at: (-points[at][1], points[at][0])):
        point, names = points[at], [box for box in boxes if box]
        spots = _spots(point, sizes[at], frame)
        free = spots[~_overlaps(spots, _rows([*markers, *names])).any(axis=1)]
        if not len(free):
            continue
        free = free[np.argsort(_away(point, free), kind="stable")[:MOST_SPOTS]]
        leaders = _leaders(point, free)
        hidden = _overlaps(leaders, _rows(names)).reshape(len(free), -1).any(axis=1)
        cost = _away(point, free)
        cost += CROSSING_COST * (_overlaps(free, _rows(crossable)).sum(axis=1) + hidden)
        cost += CONFUSION_COST * _is_nearer_to_another(point, free, points)
        best = int(np.argmin(cost))
        box = boxes[at] = Box(*(float(end) for end in free[best]))
        if needs_leader(point, box, points):
            crossable += [Box(*end) for end in leaders.reshape(len(free), -1, 4)[best]]
    return boxes


def needs_leader(point: Place, box: Box, points: Sequence[Place]) -> bool:
    """Whether a name lies so that only a line to its point shows whose it is."""
    boxes = _rows([box])
    return bool(_distance(point, boxes)[0] > 1.6 * GAP or _is_nearer_to_another(point, boxes, points)[0])


def nearest(point: Place, box: Box) -> Place:
    """The place in the box that is nearest to the point."""
    return min(max(point[0], box.left), box.right), min(max(point[1], box.bottom), box.top)


def _spots(point: Place, size: tuple[float, float], frame: Box) -> Floats:
    """The candidates: right beside the point first, the eight places around it, then a grid over the whole frame."""
    (x, y), (width, height) = point, size
    lefts, bottoms = (x + GAP, x - width / 2, x - GAP - width), (y - height / 2, y + GAP, y - GAP - height)
    around = [(left, bottom) for bottom in bottoms for left in lefts if (left, bottom) != (lefts[1], bottoms[0])]
    columns = np.arange(frame.left, frame.right - width, STEP)
    rows = np.arange(frame.bottom, frame.top - height, height + 1)
    corners = np.concatenate([around, np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)])
    boxes = np.concatenate([corners, corners + size], axis=1)
    inside = (boxes[:, :2] >= frame[:2]).all(axis=1) & (boxes[:, 2:] <= frame[2:]).all(axis=1)
    return np.asarray(boxes[inside])


def _leaders(point: Place, boxes: Floats) -> Floats:
    """The line from the point to each box as eight dots, written as boxes: eight rows for each of the boxes."""
    ends = np.clip(point, boxes[:, :2], boxes[:, 2:])
    dots = point + np.linspace(0.2, 1, 8)[None, :, None] * (ends - point)[:, None, :]
    return np.concatenate([dots, dots], axis=-1).reshape(-1, 4)


def _is_nearer_to_another(point: Place, boxes: Floats, points: Sequence[Place]) -> npt.NDArray[np.bool_]:
    own, nearer = _distance(point, boxes), np.zeros(len(boxes), dtype=np.bool_)
    for other in points:
        if math.dist(other, point) > 1:  # at the same place there is nothing to confuse
            nearer |= _distance(other, boxes) < own + 2
    return nearer


def _away(point: Place, boxes: Floats) -> Floats:
    """The distance, where that of a name right beside the point is as good as any nearer one."""
    return np.maximum(_distance(point, boxes), GAP)


def _distance(point: Place, boxes: Floats) -> Floats:
    """From the point to the nearest place of each box."""
    away = np.clip(point, boxes[:, :2], boxes[:, 2:]) - point
    return np.asarray(np.hypot(away[:, 0], away[:, 1]))


def _overlaps(some: Floats, others: Floats) -> npt.NDArray[np.bool_]:
    """Whether each of some (rows) overlaps each of the others (columns); touching is not overlapping."""
    a, b = some[:, None], others[None]
    return np.asarray(((a[..., :2] < b[..., 2:]) & (b[..., :2] < a[..., 2:])).all(axis=-1))


def _rows(boxes: Sequence[Box]) -> Floats:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)
