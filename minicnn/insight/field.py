"""What the units of one layer see of the image, and what windows over these units see.

Along one axis, let the units of a layer see ``size`` pixels, let neighbours lie ``jump`` pixels
apart, and let the first begin at pixel ``start``, negative where it hangs over the edge. A window
of k taps, s apart from the next, d between its taps and p pixels of padding before, sees of these

    size' = size + (k - 1) * d * jump        jump' = s * jump        start' = start - p * jump

which is the textbook's table. It does not know where the image ends, that a dilated window has
holes, or that the last pixels may be left over. What knows is a matrix: reach[o, p] says whether
unit o sees pixel p. A window is such a matrix too, of its own input, and

    through a layer     the boolean product     reach' = window @ reach
    side by side        the union               reach' = reach1 | reach2
    all of it           one row                 reach' = any unit sees p

Rows and columns of the image are apart: what a unit sees is held as some rows times some columns.
Branches of different shape (1x5 beside 5x1) see a cross, and this is a rectangle that holds it; the
smallest where no branch sees padding alone. One that does, along the rows, say, sees nothing, and
yet its columns are joined to those of the others.

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
    """What the units of a layer see along the height, or along the width."""

    reach: np.ndarray  # (units, pixels) of bool
    size: int | None = 1  # None: no one number, as for all of the image
    jump: int = 1
    start: int = 0

    def window(self, kernel: int, stride: int, dilation: int, before: int, units: int) -> Axis:
        """Return what windows over these units see; ``before`` is the padding."""
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
        """Return what one unit sees that is made of all of these."""
        if len(self.reach) == 1:
            return self
        return Axis(np.any(self.reach, axis=0, keepdims=True), None)

    def adaptive(self, units: int) -> Axis:
        """Return what so many regions see that divide the units as evenly as they can."""
        inner = len(self.reach)
        if units == 1:
            return self.all()
        if inner % units == 0:
            return self.window(inner // units, inner // units, 1, 0, units)
        one_hot = np.eye(inner)[None, None]
        regions, _ = adaptive_avg_pool2d.forward(one_hot, (units, None), impl="textbook")
        return Axis((regions[0, 0] > 0) @ self.reach, None)

    def seen(self, reach: np.ndarray, window: tuple[int, int, int] | None) -> Axis:
        """Return what units see that see these as ``reach`` (units, inner) of bool says.

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
    """What the units of a layer see of the image."""

    shape: tuple[int, ...]  # of the layer's output, without the batch
    rows: Axis
    columns: Axis

    @property
    def size(self) -> tuple[int | None, int | None]:
        """(height, width) in pixels, padding included; None where there is no one number."""
        return self.rows.size, self.columns.size

    @property
    def jump(self) -> tuple[int, int]:
        """How many pixels neighbouring units lie apart."""
        return self.rows.jump, self.columns.jump

    @property
    def start(self) -> tuple[int, int]:
        """Where the field of the first unit begins; negative in the padding."""
        return self.rows.start, self.columns.start

    def pixels(self, i: int | None = None, j: int | None = None) -> np.ndarray:
        """Return (h, w) of bool: the pixels that unit (i, j) sees, by default the middle one."""
        i, j = self._unit(i, j)
        return np.outer(self.rows.reach[i], self.columns.reach[j])

    def box(self, i: int | None = None, j: int | None = None) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of what unit (i, j) sees, the last ones within.

        Where the size is known, padding is included, and the box may hang over the edge.
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
        """Return what windows over these units see, as ``minicnn.windows`` describes them."""
        return self._replace(
            rows=self.rows.window(g.kh, g.sh, g.dh, g.top, g.oh),
            columns=self.columns.window(g.kw, g.sw, g.dw, g.left, g.ow),
        )

    def all(self) -> Field:
        """Return what a unit sees that is made of all of these."""
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
