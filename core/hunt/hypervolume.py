"""How much a front dominates up to a reference point: exact, in one, two and three objectives.

A point that is not better than the reference in every objective dominates nothing there and is left out, as is what is not
finite; it must never take volume away.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Length, area or volume. Every objective is minimised."""
    inside = [
        tuple(point)
        for point in points
        if all(map(math.isfinite, point)) and all(value < end for value, end in zip(point, reference, strict=True))
    ]
    if not inside:
        return 0.0
    match len(reference):
        case 1:
            return reference[0] - min(inside)[0]
        case 2:
            return _area(inside, reference)
        case 3:
            return _volume(inside, reference)
    raise ValueError(f"{len(reference)} objectives: the volume is worked out for 1 to 3")


def _area(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    steps = _Staircase(reference)
    return math.fsum(steps.add(x, y) for x, y in points)


def _volume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Slices: between one point's third objective and the next one's, the area that was dominated so far."""
    steps, area, slices = _Staircase(reference), 0.0, []
    along = sorted(points, key=lambda point: point[2])
    for number, (x, y, z) in enumerate(along):
        area += steps.add(x, y)
        top = along[number + 1][2] if number + 1 < len(along) else reference[2]
        slices.append(area * (top - z))
    return math.fsum(slices)


class _Staircase:
    """Points of two objectives of which none dominates another: rising in the first, falling in the second."""

    def __init__(self, reference: Sequence[float]) -> None:
        self.xs = [-math.inf, reference[0]]
        self.ys = [reference[1], -math.inf]

    def add(self, x: float, y: float) -> float:
        """The area that the point adds."""
        at = bisect_right(self.xs, x)
        if self.ys[at - 1] <= y:
            return 0.0
        end, left, height, added = at, x, self.ys[at - 1], 0.0
        while height > y:
            added += (self.xs[end] - left) * (height - y)
            left, height = self.xs[end], self.ys[end]
            end += 1
        # What the point takes the place of: all from its own first objective on that are no better in the second.
        covered = slice(bisect_left(self.xs, x), end - 1)
        self.xs[covered], self.ys[covered] = [x], [y]
        return added
