"""Weights as the tile of registers reads them: in panels.

    weight    (o, c/groups, kh, kw), as it is kept
    panels    of each group, two vectors of outputs at a time (one, at an odd end):
              packed[group, panel, (tap, c), lane], filled up with zeros

So a product reads its weights one behind the other. ``unpack`` goes back, with the gradient.
"""

from __future__ import annotations

import numpy as np

from minicnn.kernels.parallel import shared
from minicnn.kernels.simd import filled, lanes_of
from minicnn.kernels.tile import ROWS, copy

Steps = tuple[int, int, int, int, int]


def steps_of(shape: tuple[int, ...], groups: int) -> Steps:
    """Return, for _pack, the steps in a weight of this shape, with vectors over its outputs."""
    o, per_group, kh, kw = shape
    return o // groups * per_group * kh * kw, per_group * kh * kw, kh * kw, o // groups, per_group


def turned(steps: Steps) -> Steps:
    """Return the same with vectors over the inputs."""
    group_step, lane_step, e_step, lanes, es = steps
    return group_step, e_step, lane_step, es, lanes


def pack(weight: np.ndarray, order: np.ndarray, steps: Steps, groups: int) -> np.ndarray:
    """Return weight as panels, (groups, panels): see _pack."""
    width, lanes = filled(steps[3], weight.dtype), lanes_of(weight.dtype)
    packed = np.empty((groups, order.size * steps[4] * width), weight.dtype)
    flat = np.require(weight, requirements=["C", "W"]).reshape(-1)
    if packed.size:  # a stride may leave out every tap
        _pack(groups * -(-width // (2 * lanes)), flat, packed, order, steps, lanes)
    return packed


def unpack(sums: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the weight of this shape that (ranges, groups, panels) add up to."""
    weight, steps = np.empty(shape, sums.dtype), steps_of(shape, sums.shape[1])
    width, lanes = filled(steps[3], sums.dtype), lanes_of(sums.dtype)
    panels = -(-width // (2 * lanes))
    _unpack(sums.shape[1] * panels, sums, weight.reshape(-1), steps, lanes)
    return weight


# ---------------------------------------------------------------------------------------- kernels


@shared
def _pack(task, weight, packed, order, steps, lanes):
    """Write weight into panels: packed[group, panel, (tap, e), lane], filled with zeros.

    ``order`` lists the taps; ``steps`` are those in weight from a group, a lane and an e to the
    next, and how many lanes and e there are.
    """
    group_step, lane_step, e_step, size, es = steps
    rows = order.size * es
    width = packed.shape[1] // rows
    panels = (width // lanes + 1) // 2
    g, v = task // panels, task % panels * 2 * lanes
    bs = min(2 * lanes, width - v)
    panel = packed[g, v * rows : (v + bs) * rows]
    near = np.zeros((ROWS, order.size, 2 * lanes), weight.dtype)
    for e0 in range(0, es, ROWS):  # a few at a time, so that reading and writing stay near
        e1 = min(e0 + ROWS, es)
        for lane in range(min(bs, size - v)):
            at = g * group_step + (v + lane) * lane_step
            for e in range(e0, e1):
                for t in range(order.size):
                    near[e - e0, t, lane] = weight[at + e * e_step + order[t]]
        for e in range(e0, e1):
            for t in range(order.size):
                row = (t * es + e) * bs
                copy(near[e - e0, t], panel[row : row + bs])


@shared
def _unpack(task, sums, weight, steps, lanes):
    """Add the ranges of ``sums`` and write them into weight: the inverse of _pack."""
    group_step, lane_step, e_step, size, es = steps
    ranges, groups = sums.shape[:2]
    taps = weight.size // (groups * size * es)
    rows = taps * es
    width = sums.shape[2] // rows
    panels = (width // lanes + 1) // 2
    g, v = task // panels, task % panels * 2 * lanes
    bs = min(2 * lanes, width - v)
    panel = sums[0, g, v * rows : (v + bs) * rows]
    for r in range(1, ranges):
        other = sums[r, g, v * rows : (v + bs) * rows]
        for e in range(panel.size):
            panel[e] += other[e]
    near = np.empty((ROWS, taps, 2 * lanes), weight.dtype)
    for e0 in range(0, es, ROWS):
        e1 = min(e0 + ROWS, es)
        for e in range(e0, e1):
            for t in range(taps):
                row = (t * es + e) * bs
                copy(panel[row : row + bs], near[e - e0, t])
        for lane in range(min(bs, size - v)):
            at = g * group_step + (v + lane) * lane_step
            for e in range(e0, e1):
                for t in range(taps):
                    weight[at + e * e_step + t] = near[e - e0, t, lane]
