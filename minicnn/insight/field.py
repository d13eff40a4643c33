"""Which pixels the units of one layer see, and which pixels windows over these units see.

Along one axis, let each unit of a layer see ``size`` pixels. Neighbouring units lie ``jump`` pixels
apart, and the field of the first unit begins at pixel ``start``, which is negative if it reaches
over the edge. Take windows over these units with kernel k, stride s, dilation d and padding p. Then

    size' = size + (k - 1) * d * jump        jump' = s * jump        start' = start - p * jump

as in textbooks. These formulas ignore where the image ends, the holes of a dilated window, and last
pixels that no window reaches. A matrix includes all of this: reach[o, p] is true if unit o sees
pixel p. A window is such a matrix over its own input, and

    through a layer     the boolean product     reach' = window @ reach
    side by side        the union               reach' = reach1 | reach2
    everything          one row                 reach' = any unit sees p

Rows and columns are separate: the field of a unit is a set of rows times a set of columns. Branches
of different shapes (1x5 beside 5x1) see a cross; here it becomes a rectangle that contains the
cross. It is the smallest one, unless a branch sees only padding along the rows, say. Such a branch
sees nothing, but its columns are joined with the others.

Source
    Araujo, Norris & Sim (2019), Computing receptive fields of convolutional neural networks, for
    the recursion.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicnn.nn import probe
from minicnn.ops import adaptive_avg_pool2d
from minicnn.shapes import ShapeError
from minicnn.windows import Windows


class Axis(NamedTuple):
    """The pixels that the units of a layer see, along the height or along the width."""

    reach: np.ndarray  # (units, pixels) of bool
    size: int | None = 1  # None: not a single number, for example the whole image
    jump: int = 1
    start: int = 0

    def window(self, kernel: int, stride: int, dilation: int, before: int, units: int) -> Axis:
        """Return the field of windows over these units; ``before`` is the padding."""
        first = np.arange(units)[:, None] * stride - before
        taps = first + np.arange(kernel) * dilation
        window = np.any(taps[:, :, None] == np.arange(len(self.reach)), axis=1)
        reach = window @ self.reach
        if self.size is None:
            return Axis(reach, None)
        return Axis(
            reach,
            self.size + (kernel - 1) * dilation * self.jump,
            self.jump * stride,
            self.start - before * self.jump,
        )

    def all(self) -> Axis:
        """Return the field of one unit that depends on all of these."""
        if len(self.reach) == 1:
            return self
        return Axis(np.any(self.reach, axis=0, keepdims=True), None)

    def adaptive(self, units: int) -> Axis:
        """Return the field of so many regions, which divide the units as evenly as possible."""
        inner = len(self.reach)
        if units == 1:
            return self.all()
        if inner % units == 0:
            return self.window(inner // units, inner // units, 1, 0, units)
        one_hot = np.eye(inner)[None, None]
        regions, _ = adaptive_avg_pool2d.forward(one_hot, (units, None), impl="textbook")
        return Axis((regions[0, 0] > 0) @ self.reach, None)

    def seen(self, reach: np.ndarray, window: tuple[int, int, int] | None) -> Axis:
        """Return the field of units that see these units as ``reach`` (units, inner) of bool says.

        ``window`` is (kernel, stride, dilation) if that is known.
        """
        if window is None and probe.determined(reach) and (found := probe.window_of(reach)):
            window = found[:3]
        before = None if window is None else probe.padding_of(reach, *window)
        if window is None or before is None:
            everything = len(reach) == 1 and reach.all()
            return self.all() if everything else Axis(reach @ self.reach, None)
        kernel, stride, dilation = window
        return self.window(kernel, stride, dilation, before, len(reach))

    def union(self, other: Axis) -> Axis:
        """Return what is seen by two branches together."""
        reach = self.reach | other.reach
        if self.size is None or other.size is None or self.jump != other.jump:
            return Axis(reach, None)
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Axis(reach, end - start, self.jump, start)


class Field(NamedTuple):
    """The pixels of the image that the units of a layer see."""

    shape: tuple[int, ...]  # of the layer's output, without the batch
    rows: Axis
    columns: Axis

    @property
    def size(self) -> tuple[int | None, int | None]:
        """(height, width) in pixels, with padding; None if it is not a single number."""
        return self.rows.size, self.columns.size

    @property
    def jump(self) -> tuple[int, int]:
        """The distance between neighbouring units, in pixels."""
        return self.rows.jump, self.columns.jump

    @property
    def start(self) -> tuple[int, int]:
        """Where the field of the first unit begins; negative in the padding."""
        return self.rows.start, self.columns.start

    def pixels(self, i: int | None = None, j: int | None = None) -> np.ndarray:
        """Return (h, w) of bool: the pixels that unit (i, j) sees; by default the middle unit."""
        i, j = self._unit(i, j)
        return np.outer(self.rows.reach[i], self.columns.reach[j])

    def box(self, i: int | None = None, j: int | None = None) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of the field of unit (i, j), both ends included.

        If the size is known, the box includes padding and may reach over the edge.
        """
        i, j = self._unit(i, j)
        sides = []
        for axis, unit in ((self.rows, i), (self.columns, j)):
            seen = np.flatnonzero(axis.reach[unit])
            if axis.size is not None:
                first = axis.start + unit * axis.jump
                sides.append((first, first + axis.size - 1))
            elif seen.size:
                sides.append((int(seen[0]), int(seen[-1])))
            else:
                raise ValueError(f"box: unit {(i, j)} sees no pixel, only padding.")
        (top, bottom), (left, right) = sides
        return top, left, bottom, right

    def window(self, g: Windows) -> Field:
        """Return the field of windows over these units; ``minicnn.windows`` describes windows."""
        return self._replace(
            rows=self.rows.window(g.kh, g.sh, g.dh, g.top, g.oh),
            columns=self.columns.window(g.kw, g.sw, g.dw, g.left, g.ow),
        )

    def all(self) -> Field:
        """Return the field of one unit that depends on all of these."""
        return self._replace(rows=self.rows.all(), columns=self.columns.all())

    def union(self, other: Field) -> Field:
        """Return what is seen by two branches together."""
        return self._replace(
            rows=self.rows.union(other.rows), columns=self.columns.union(other.columns)
        )

    def _unit(self, i: int | None, j: int | None) -> tuple[int, int]:
        h, w = len(self.rows.reach), len(self.columns.reach)
        i, j = h // 2 if i is None else i, w // 2 if j is None else j
        if not (0 <= i < h and 0 <= j < w):
            raise ShapeError(f"receptive_field: there is no unit {(i, j)} among {h} x {w}.")
        return i, j
