"""Weights for Winograd's convolution: transformed, in panels, and back again as gradients.

A panel of panels.py has a row of numbers for each of the 9 taps; its transform, a row for each of
the 36 frequencies. So transforming all kernels is a small matrix times each panel.
"""

from __future__ import annotations

import numpy as np

from minicnn.backend import inner
from minicnn.kernels.panels import pack, steps_of, turned
from minicnn.kernels.parallel import TASKS, shared
from minicnn.kernels.simd import filled, lanes_of
from minicnn.kernels.tile import copy
from minicnn.kernels.winograd_transforms import GG, IN, ONES


def frequencies(weight: np.ndarray, turn: bool) -> np.ndarray:
    """Return G u G^T for every kernel, in panels of (frequency, c, lanes).

    With ``turn``, by 180 degrees, inputs and outputs are exchanged too.
    """
    steps, order = steps_of(weight.shape, 1), np.arange(9)
    if turn:
        steps, order = turned(steps), order[::-1].copy()
    return times(GG, pack(weight, order, steps, 1), steps[4])


def times(matrix: np.ndarray, source: np.ndarray, c: int) -> np.ndarray:
    """Return the sum over ranges of matrix @ panel, for each panel of source (ranges, panels)."""
    rows, cols = matrix.shape
    line = 2 * lanes_of(source.dtype) * c
    size = source.shape[1] // cols
    target = np.zeros(rows * size, source.dtype)
    _multiply(-(-size // line) * TASKS, matrix.astype(source.dtype, "C"), source, target, line)
    return target


def start_of(bias: np.ndarray | None, o: int, dtype: np.dtype) -> np.ndarray:
    """Return what the sums of each frequency begin with, in whole vectors."""
    start = np.zeros((IN * IN, filled(o, dtype)), dtype)
    if bias is not None:
        start[:, :o] = ONES[:, None] * bias
    return start.reshape(-1)


# ---------------------------------------------------------------------------------------- kernels


@shared
def _multiply(task, matrix, source, target, line):
    """Add matrix @ panel to target, for each panel and each range of source (ranges, panels).

    A panel has a row of ``line`` numbers, or what is left for the last, for each column of matrix.
    """
    rows = matrix.shape[0]
    first, part = task // TASKS * line, task % TASKS
    length = min(line, target.size // rows - first)
    lo, hi = part * length // TASKS, (part + 1) * length // TASKS
    numbers = np.empty(hi - lo, source.dtype)
    _multiply_part(matrix, source, target, numbers, first, length, lo, hi)


@inner
def _multiply_part(matrix, source, target, numbers, first, length, lo, hi):
    """Multiply the numbers from lo to hi of the rows of a panel that begins with ``first``."""
    rows, cols = matrix.shape
    for k in range(cols):
        at = first * cols + k * length
        copy(source[0, at + lo : at + hi], numbers)
        for r in range(1, source.shape[0]):
            more = source[r, at + lo : at + hi]
            for e in range(more.size):
                numbers[e] += more[e]
        for i in range(rows):
            factor, at = matrix[i, k], first * rows + i * length
            if factor != 0:
                sums = target[at + lo : at + hi]
                for e in range(sums.size):
                    sums[e] += factor * numbers[e]
