"""A convolution whose weights stay as they are, with all that can be done ahead done once.

    run = Prepared(weight, bias, padding=1, floor=0)        y = max(conv2d(x), 0)
    y = run(x, added=shortcut)                              y = max(conv2d(x) + shortcut, 0)

For inference only: there is no backward, and a later change of ``weight`` is not seen. What forward
does before it multiplies, at every call, is done here at the first call for a shape: to check, to
choose the algorithm, to make the tables of addresses (conv_plan.py), to arrange the weights
(panels.py), and to transform them (conv_winograd.py), which makes Winograd pay for far fewer tiles
than in training.

What follows the convolution is done to a block of sums while that is in the nearest cache:

    sums = bias + sum_e x[pixel + tap[e]] * weights[e]     a block of them, in an array of its own
    y    = max(sums + added, floor)                        floor: 0 for ReLU, -inf for nothing
    y    = max over a window of sums, and floor            with ``pool``: the sums never leave

A block of a pool is some rows of y and the rows of sums that they see; those at its border are
computed in both blocks.

Few channels leave lanes of a vector empty. But m pixels side by side, of o channels each, are one
pixel of m * o channels of another convolution: its kernel is wider by (m - 1) * stride, with the
kernel of each pixel in its place and zeros around it, and it takes m steps at a time. For 6
channels, 16 lanes and a 5x5 kernel that is 30 products of vectors for two pixels, where it would be
2 * 25. A zero times NaN or infinity is NaN, so that these spread over such pixels, as over the
tiles of Winograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numba import prange

from minicnn.backend import inner, kernel, nchw, nhwc
from minicnn.kernels import conv_direct as direct
from minicnn.kernels import conv_winograd as winograd
from minicnn.kernels.conv_direct import COLUMNS
from minicnn.kernels.conv_plan import forward_plan
from minicnn.kernels.epilogue import finish, greatest
from minicnn.kernels.panels import pack, steps_of
from minicnn.kernels.parallel import TASKS, shared
from minicnn.kernels.simd import ONE, filled, lanes_in, lanes_of
from minicnn.kernels.tile import ROWS, Left, Right, Sums, product
from minicnn.kernels.winograd_transforms import GG
from minicnn.kernels.winograd_weights import start_of, times
from minicnn.shapes import ShapeError, check_float, if_channels_last
from minicnn.windows import Windows, conv_windows

SERIAL = 2**19  # multiply-adds that take less time than a second thread takes to wake
TILE = 100  # cycles that it takes to begin a tile and to end it
GROUP = 1024  # pixels of small images that are taken together
FAR = 2**20  # bytes of weights that leave the nearer caches
NEAR = 2**18  # bytes of sums in a block
PLANS = 256  # that are kept, one for each shape of x
CHANNELS, TILES = 16, 16  # at least, for Winograd to pay once the weights are transformed


# ---------------------------------------------------------------------------------------- kernels


@inner
def _bounds(part, parts, total, lines, pool):
    """Return which rows of y a part makes (0, 0 without a pool), and which of the sums."""
    if pool.kh == 0:
        tiles = (total + ROWS - 1) // ROWS
        return 0, 0, part * tiles // parts * ROWS, min(total, (part + 1) * tiles // parts * ROWS)
    p0, p1 = part * pool.oh // parts, (part + 1) * pool.oh // parts
    if parts == 1:
        return p0, p1, 0, total  # of several images, it may be
    if p0 == p1:
        return 0, 0, 0, 0
    i0, i1 = p0 * pool.sh - pool.top, (p1 - 1) * pool.sh - pool.top + pool.kh
    return p0, p1, max(0, i0) * lines, min(pool.h, i1) * lines


@shared(limited=True)
def _correlate(task, x, y, added, tables, out, weights, bias, cuts, pool):
    """Convolve x (n, h, w, c) into y, any array of as many images.

    ``tables``: top, left, and the size of the padded image, then rows and cols as conv_plan.py has
    them. ``out``: the first number in y, outputs of a group and of so many pixels as are taken as
    one, channels of y, how many those are, and the floor. weights (groups, panels) is as panels.py
    leaves them, bias (groups, outputs) is filled to whole vectors. ``cuts``: how many images are
    taken together, and into how many parts their pixels and their panels are cut. A ``pool`` whose
    kernel is 0 is none. At most so many ``threads`` share the ``tasks``.
    """
    groups, width = bias.shape
    n, c, lanes = x.shape[0], x.shape[3], lanes_in(x, ONE)
    top, left, high, wide, rows, cols = tables
    first, per_group, pitch, together, floor = out
    images, parts, panel_parts = cuts
    taps, count, panels = cols.size, rows.size // images, (width // lanes + 1) // 2
    m0 = task // (parts * panel_parts) * images
    part, piece = task // panel_parts % parts, task % panel_parts
    m1 = min(n, m0 + images)
    p0, p1, lo, hi = _bounds(part, parts, (m1 - m0) * count, count // max(pool.h, 1), pool)
    v0, v1 = piece * panels // panel_parts, (piece + 1) * panels // panel_parts
    v0, v1 = v0 * 2 * lanes, min(width, v1 * 2 * lanes)
    if top == 0 and left == 0 and high == x.shape[1] and wide == x.shape[2]:
        image = x[m0:m1].reshape(-1)
    else:
        line = wide * c
        image = np.empty((m1 - m0) * high * line, x.dtype)
        least = rows[lo] // line if lo < hi else 0
        greatest = (rows[hi - 1] + cols[taps - 1]) // line + 1 if lo < hi else 0
        for m in range(m0, m1):
            at = (m - m0) * high
            direct.pad_rows(
                x[m], image[at * line : (at + high) * line], top, left, wide,
                max(least - at, 0), min(greatest - at, high),
            )  # fmt: skip
    span = groups * (v1 - v0)
    sums = np.empty((hi - lo) * span, x.dtype)
    places = np.empty(hi - lo, np.int64)
    for t in range(hi - lo):
        places[t] = t * span
    blocks = (taps + COLUMNS - 1) // COLUMNS
    for g in range(groups):
        for v in range(v0, v1, 2 * lanes):
            bs = min(2 * lanes, width - v)
            for block in range(blocks):
                k, end = block * taps // blocks, (block + 1) * taps // blocks
                product(
                    Sums(sums, g * width + v - v0, places, bias[g], v, block == 0),
                    Left(image, g * (c // groups), rows[lo:hi], cols, k, end - k),
                    Right(weights[g], v * taps + k * bs, bs),
                    0, hi - lo, bs > lanes,
                )  # fmt: skip
    flat = y.reshape(-1)
    low = y.dtype.type(floor)
    if pool.kh:
        _pool(sums, span, flat, (m0, m1), (p0, p1, lo), count, groups, out, pool)
    elif groups == 1 and span == per_group and span == pitch * together:
        begin, end = (m0 * count + lo) * span, (m0 * count + hi) * span
        finish(sums, 0, added, begin, low, flat, begin, end - begin)
    else:
        o, used = per_group // together, min(v1, per_group) - v0
        for t in range(hi - lo):
            for q in range(together):
                pixel = (m0 * count + lo + t) * together + q
                for g in range(groups):
                    own = g * o + v0
                    finish(
                        sums, t * span + g * width + q * o, added, pixel * groups * o + own, low,
                        flat, pixel * pitch + first + own, used // together,
                    )  # fmt: skip


@inner(allocates=True)
def _pool(sums, span, y, images, rows, count, groups, out, pool):
    """Write the greatest of each window of sums, and of the floor."""
    (m0, m1), (p0, p1, lo) = images, rows
    first, per_group, pitch, together, floor = out
    low = y.dtype.type(floor)
    o, width, line = per_group // together, span // groups, count // pool.h * span
    columns = np.empty(pool.w, np.int64)  # address of each pixel of a row
    for q in range(pool.w):
        columns[q] = q // together * span + q % together * o
    for m in range(m0, m1):
        for p in range(p0, p1):
            i0 = max(0, p * pool.sh - pool.top)
            i1 = min(pool.h, p * pool.sh - pool.top + pool.kh)
            at = ((m - m0) * count - lo) * span + i0 * line
            for j in range(pool.ow):
                q = j * pool.sw - pool.left
                q0, q1 = max(0, q), min(pool.w, q + pool.kw)
                pixel = ((m * pool.oh + p) * pool.ow + j) * pitch + first
                for g in range(groups):
                    window = at + g * width, line, i1 - i0, columns, q0, q1
                    greatest(sums, window, low, y, pixel + g * o, o)


@kernel(parallel=True)
def _pad(tasks, x, y, top, left):
    """Copy x (n, h, w, c) into the middle of y, with zeros around it."""
    high, wide = y.shape[1:3]
    for row in prange(tasks):
        m, i = row // high, row % high
        direct.pad_rows(x[m], y[m].reshape(-1), top, left, wide, i, i + 1)


# -------------------------------------------------------------------------------------- interface

NO_POOL = Windows(*[0] * len(Windows._fields))


class _Plan(NamedTuple):
    """How a shape is run."""

    shape: tuple[int, int, int, int]  # of y, (n, h, w, channels)
    way: Callable[..., None]


class Prepared:
    """A convolution with what follows it, for inference alone; see above.

    ``pool`` returns the windows of a max pool for an image (h, w). ``transform=False`` forbids
    Winograd.
    """

    def __init__(
        self,
        weight: np.ndarray,
        bias: np.ndarray | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        *,
        floor: float = -math.inf,
        pool: Callable[[tuple[int, int]], Windows] | None = None,
        transform: bool = True,
    ) -> None:
        self.options = stride, padding, dilation
        self.groups, self.floor, self.pool, self.transform = groups, float(floor), pool, transform
        self.shape, self.dtype = weight.shape, weight.dtype
        self.bias = np.zeros(weight.shape[0], weight.dtype)
        if bias is not None:
            self.bias[:] = bias
        # Few channels are arranged in as many ways as there are numbers of pixels taken as one.
        few = weight.shape[0] <= lanes_of(weight.dtype) and groups == 1
        self._few = weight.copy() if few else None
        self._packed = {1: self._pack(weight)}
        self._transformed: tuple[np.ndarray, np.ndarray] | None = None
        self._plans: dict[tuple[int, ...], _Plan] = {}
        self._nothing = np.empty(0, self.dtype)

    def __call__(
        self,
        x: np.ndarray,
        added: np.ndarray | None = None,
        into: tuple[np.ndarray, int] | None = None,
    ) -> np.ndarray:
        """Return y for x (n, c, h, w), channels last in memory.

        ``added`` has the shape of y. ``into``: an array (n, oh, ow, channels), and the channel in
        it from which on y is written there.
        """
        if x.dtype != self.dtype:
            check_float("conv2d", x=x, weight=self.bias)
        plan = self._plan(x.shape)
        y, first = (np.empty(plan.shape, self.dtype), 0) if into is None else into
        rest = self._nothing
        if added is not None:
            rest = self._checked(added, plan.shape)
        plan.way(nhwc(x), y, rest, first)
        return nchw(y)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of y for that of x, (n, c, h, w)."""
        n, h, w, c = self._plan(shape).shape
        return n, c, h, w

    @property
    def can_add(self) -> bool:
        """Whether nothing follows the convolution, so that something may be added."""
        return self.floor == -math.inf and self.pool is None

    def _checked(self, added: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
        check_float("conv2d", weight=self.bias, added=added)
        rows = nhwc(added)
        if rows.shape != shape:
            n, h, w, c = shape
            raise ShapeError(
                f"conv2d: the convolution gives {(n, c, h, w)}, what is added to it has shape "
                f"{added.shape}; only equal shapes add."
            )
        return rows.reshape(-1)

    # ---- what is done once

    def _pack(self, weight: np.ndarray) -> np.ndarray:
        taps = np.arange(weight.shape[2] * weight.shape[3])
        return pack(weight, taps, steps_of(weight.shape, self.groups), self.groups)

    def _plan(self, shape: tuple[int, ...]) -> _Plan:
        plan = self._plans.get(shape)
        if plan is None:
            if len(self._plans) == PLANS:
                self._plans.clear()
            plan = self._plans[shape] = self._plan_anew(shape)
        return plan

    def _plan_anew(self, shape: tuple[int, ...]) -> _Plan:
        o, per_group, kh, kw = self.shape
        if len(shape) != 4 or shape[1] != per_group * self.groups:
            raise ShapeError(
                f"conv2d: x must have shape (n, {per_group * self.groups}, h, w), got {shape}."
                + if_channels_last("x", shape, per_group * self.groups)
            )
        n, c, h, w = shape
        g = conv_windows("conv2d", (h, w), (kh, kw), *self.options)
        pool = NO_POOL if self.pool is None else self.pool((g.oh, g.ow))
        sides = (g.oh, g.ow) if self.pool is None else (pool.oh, pool.ow)
        if self.pool is None and self._takes_winograd(n, g):
            return _Plan((n, *sides, o), self._winograd(g))
        return _Plan((n, *sides, o), self._direct(n, c, g, pool))

    def _takes_winograd(self, n: int, g: Windows) -> bool:
        """Whether Winograd is the faster; measured with vectors of 512 bits."""
        if not self.transform or not winograd.eligible(g, self.groups):
            return False
        tiles = winograd.tile_count(n, g.oh, g.ow)
        return min(self.shape[:2]) >= CHANNELS and tiles >= TILES

    def _winograd(self, g: Windows) -> Callable[..., None]:
        if self._transformed is None:
            weights = times(GG, self._packed[1], self.shape[1])
            self._transformed = weights, start_of(self.bias, self.shape[0], self.dtype)
        weights, start = self._transformed

        def way(x: np.ndarray, y: np.ndarray, added: np.ndarray, first: int) -> None:
            winograd.run(
                x, y, weights, start, g.top, g.left, (self.shape[0], first), added, self.floor
            )

        return way

    def _direct(self, n: int, c: int, g: Windows, pool: Windows) -> Callable[..., None]:
        o, per_group = self.shape[:2]
        m = self._together(g)
        if m not in self._packed:
            assert self._few is not None
            self._packed[m] = self._pack(_side_by_side(self._few, m, g.sw))
        packed = self._packed[m]
        g = g._replace(kw=g.kw + (m - 1) * g.sw, sw=m * g.sw, ow=g.ow // m)
        lanes, width = lanes_of(self.dtype), filled(m * o // self.groups, self.dtype)
        bias = np.zeros((self.groups, width), self.dtype)
        bias[:, : m * o // self.groups] = np.tile(self.bias, m).reshape(self.groups, -1)
        pixels = g.oh * g.ow
        images = max(1, min(GROUP // pixels, n // TASKS))
        tables = forward_plan(g, c, per_group, o, images)
        top, left, high, wide = tables[:4]
        # Few images are cut further: between panels where the weights would not stay in the cache
        # from one part to the next, else, and where a block would leave it, between pixels.
        missing, parts, panels = -(-TASKS * images // max(n, 1)), 1, 1
        if (
            packed.nbytes > FAR
            and packed.size > high * wide * c
            and self.groups == images == m == 1
        ):
            panels = min(missing, -(-width // (2 * lanes))) if pool is NO_POOL else 1
        if images == 1:
            large = max(high * wide * c, pixels * width * self.groups // panels)
            parts = max(-(-missing // panels), large * self.dtype.itemsize // NEAR, 1)
            parts = min(parts, pool.oh or -(-pixels // ROWS))
        tasks = -(-n // images) * parts * panels
        work = n * pixels * packed.size
        threads = 1 if work <= SERIAL else tasks
        place, cuts = (top, left, high, wide), (images, parts, panels)
        padded = (top, left, high, wide) != (0, 0, g.h, g.w)
        ahead = padded and panels > 1  # else every panel would pad the image anew
        if ahead:
            place = (0, 0, high, wide)
        found = *place, tables.rows, tables.cols

        def way(x: np.ndarray, y: np.ndarray, added: np.ndarray, first: int) -> None:
            if ahead:
                x, source = np.empty((n, high, wide, c), self.dtype), x
                _pad(n * high, source, x, top, left)
            out = first, m * o // self.groups, y.shape[3], m, self.floor
            _correlate(tasks, threads, x, y, added, found, out, packed, bias, cuts, pool)

        return way

    def _together(self, g: Windows) -> int:
        """Return how many pixels are taken as one."""
        o, c = self.shape[:2]
        lanes = lanes_of(self.dtype)
        most = 1 if self._few is None or g.dw > 1 else 2 * lanes // o

        def time(m: int) -> float:  # of a pixel: cycles of a tile, which has ROWS of m
            taps = c * g.kh * (g.kw + (m - 1) * g.sw)
            return (taps * (5 if m * o <= lanes else 8) + TILE) / m

        return min((m for m in range(1, most + 1) if g.ow % m == 0), key=time)


def _side_by_side(weight: np.ndarray, m: int, stride: int) -> np.ndarray:
    """Return the weight that makes m pixels of a row at once."""
    o, c, kh, kw = weight.shape
    wide = np.zeros((m, o, c, kh, kw + (m - 1) * stride), weight.dtype)
    for i in range(m):
        wide[i, ..., i * stride : i * stride + kw] = weight
    return wide.reshape(m * o, *wide.shape[2:])
