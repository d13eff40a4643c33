"""im2col without the matrix: two tables of addresses and one tile of registers.

The matrix of im2col is never built: conv_plan.py has the tables of addresses that stand for it, and
a tile of registers (tile.py) reads the image through them:

    y[p, o] = bias[o] + sum_e x[pixel[p] + tap[e]] * weights[e, o]

How the product is cut, so that each piece is read from the nearest cache
    panels  two vectors of outputs wide (one, at an odd end): weights lie panel by panel
    blocks  as many columns at a time as make a panel of 24 KB
    groups  of small images, taken as one, so that tiles are full and weights are read less often

Results do not depend on the number of threads: images are independent, and dweight is summed in a
number of ranges that the shapes alone decide.
"""

from __future__ import annotations

import math

import numpy as np

from minicnn.backend import inner, nchw, nhwc
from minicnn.kernels import conv_few_channels as narrow
from minicnn.kernels.conv_plan import GROUP, Plan, backward_plan, forward_plan, images_at_once
from minicnn.kernels.panels import Steps, pack, steps_of, turned, unpack
from minicnn.kernels.parallel import TASKS, shared
from minicnn.kernels.simd import ONE, VECTOR_BYTES, filled, lanes_in, lanes_of
from minicnn.kernels.tile import ROWS, Left, Right, Sums, copy, fill, product
from minicnn.windows import Windows

COLUMNS = 24 * 1024 // (2 * VECTOR_BYTES)  # of a panel that lie in the nearest cache at a time


# ---------------------------------------------------------------------------------------- kernels


@inner
def pad_rows(x, image, top, left, wide, lo, hi):
    """Write the rows ``lo`` to ``hi`` of x (h, w, c), padded to ``wide`` pixels, into ``image``."""
    h, w, c = x.shape
    lines, run, before = x.reshape(-1), w * c, left * c
    for i in range(lo, hi):
        row = image[i * wide * c : (i + 1) * wide * c]
        if top <= i < top + h:
            fill(row[:before])
            copy(lines[(i - top) * run : (i - top + 1) * run], row[before : before + run])
            fill(row[before + run :])
        else:
            fill(row)


@shared
def _correlate(task, x, y, plan, spots, weights, bias, cuts):
    """Convolve x (n, h, w, c) into y (n, pixels * o) by the tables of a Plan.

    weights (groups, panels) is as _pack leaves it; bias is (groups, o/groups), filled to whole
    vectors. Where o/groups is no whole number of vectors, the sums go first to ``spots`` of a
    spare array. ``cuts``: how many images are taken as one, and into how many parts their pixels
    and their panels are cut.
    """
    groups, width = bias.shape
    n, c, lanes = x.shape[0], x.shape[3], lanes_in(x, ONE)
    top, left, high, wide, o, phases, rows, places, cols, _ = plan
    taps, per_group = weights.shape[1] // width, c // groups
    images, pixel_parts, panel_parts = cuts
    parts = pixel_parts * panel_parts
    panels = (width // lanes + 1) // 2
    whole = o // groups == width  # no vector reaches into the next pixel
    m0, part, piece = task // parts * images, task % parts // panel_parts, task % panel_parts
    m1 = min(n, m0 + images)
    lo, hi = _reach(phases, rows, m1 - m0, part, pixel_parts)
    if top == 0 and left == 0 and high == x.shape[1] and wide == x.shape[2]:
        image = x[m0:m1].reshape(-1)
    else:
        pitch = wide * c
        lo, hi = lo // pitch, min(hi // pitch + 1, (m1 - m0) * high)
        image = np.empty((m1 - m0) * high * pitch, x.dtype)
        for m in range(m0, m1):
            first = (m - m0) * high
            pad_rows(
                x[m], image[first * pitch : (first + high) * pitch], top, left, wide,
                max(lo - first, 0), min(hi - first, high),
            )  # fmt: skip
    out = y[m0:m1].reshape(-1)
    for phase in range(phases.shape[0]):
        first, pixels, k0, count = phases[phase, :4]
        lo, hi = _cut((m1 - m0) * pixels, part, pixel_parts)
        lo, hi = first + lo, first + hi
        if lo == hi:
            continue
        spare = np.empty(0 if whole else (hi - lo) * width, x.dtype)
        for g in range(groups):
            for panel in range(piece * panels // panel_parts, (piece + 1) * panels // panel_parts):
                v = panel * 2 * lanes
                bs = min(2 * lanes, width - v)
                blocks = max(1, (count + COLUMNS - 1) // COLUMNS)
                for block in range(blocks):
                    k, end = block * count // blocks, (block + 1) * count // blocks
                    at = g * width + v if whole else v - spots[lo]
                    product(
                        Sums(out if whole else spare, at, spots, bias[g], v, block == 0),
                        Left(image, g * per_group, rows, cols, k0 + k, end - k),
                        Right(weights[g], v * taps + (k0 + k) * bs, bs),
                        lo, hi, bs > lanes,
                    )  # fmt: skip
            if not whole:
                _move(spare, spots, out, places, lo, hi, g * (o // groups), o // groups)


@inner
def _move(spare, spots, out, places, lo, hi, first, count):
    """Copy ``count`` channels of the pixels from ``lo`` to ``hi``, which are filled to vectors."""
    for p in range(lo, hi):
        at = places[p] + first
        copy(spare[spots[p] - spots[lo] :], out[at : at + count])


@inner
def _cut(total, part, parts):
    """Return where a part of ``total`` rows begins and ends, cut between tiles."""
    tiles = (total + ROWS - 1) // ROWS
    return part * tiles // parts * ROWS, min(total, (part + 1) * tiles // parts * ROWS)


@inner
def _reach(phases, rows, images, part, parts):
    """Return the least and the greatest address that a part of the pixels reads."""
    least, greatest = np.int64(1) << 62, np.int64(0)
    for phase in range(phases.shape[0]):
        first, pixels, _, count, before, after = phases[phase]
        lo, hi = _cut(images * pixels, part, parts)
        if lo < hi and count > 0:
            least = min(least, rows[first + lo] + before)
            greatest = max(greatest, rows[first + hi - 1] + after)
    return least, greatest


@shared
def _correlate_weights(task, x, dy, sums, plan, images, parts):
    """Add x (n, h, w, c) times dy (n, pixels * o) into the sums of each range of images.

    sums is (ranges, groups, panels of a row for each tap); the taps are cut into ``parts``. So
    many ``images`` are taken as one; the plan has the pixels of all of them.
    """
    top, left, high, wide, o, _, pixels, _, taps, _ = plan
    ranges, groups, size = sums.shape
    width = size // taps.size  # o/groups, filled to whole vectors
    n, c, lanes = x.shape[0], x.shape[3], lanes_in(x, ONE)
    per_group, pitch, per_image = o // groups, wide * c, dy.shape[1] // o
    bare = top == 0 and left == 0 and high == x.shape[1] and wide == x.shape[2]
    whole = groups == 1 and o == width and o <= 2 * lanes  # dy is one panel as it is
    steps = np.empty((2, taps.size), np.int64)
    for e in range(taps.size):
        steps[0, e], steps[1, e] = e * lanes, e * 2 * lanes
    blocks = (images * per_image + GROUP - 1) // GROUP
    items = (n + images - 1) // images * blocks
    r, part = task // parts, task % parts
    lo, hi = _cut(taps.size, part, parts)
    image = np.empty(0 if bare else images * high * pitch, x.dtype)
    panel = np.zeros(GROUP * 2 * lanes, x.dtype)
    done = 0
    for item in range(r * items // ranges, (r + 1) * items // ranges):
        m0, block = item // blocks * images, item % blocks
        m1 = min(n, m0 + images)
        count = (m1 - m0) * per_image
        k0, k1 = block * count // blocks, (block + 1) * count // blocks
        if k0 == k1:
            continue
        # The rows of the images that these pixels read, but those that lie there already.
        first, last = pixels[k0] // pitch, (pixels[k1 - 1] + taps[-1]) // pitch + 1
        if block == 0 or done < first:
            done = first
        for m in range(m0, m0 if bare else m1):
            at = (m - m0) * high
            pad_rows(
                x[m], image[at * pitch : (at + high) * pitch], top, left, wide,
                max(done - at, 0), min(last - at, high),
            )  # fmt: skip
        done = last
        gradient = dy[m0:m1].reshape(-1)
        for g in range(groups):
            for v in range(0, width, 2 * lanes):
                bs = min(2 * lanes, width - v)
                if not whole:
                    _gather(
                        gradient, k0, k1, o, g * per_group + v, min(bs, per_group - v), panel, bs
                    )
                source = x[m0:m1].reshape(-1) if bare else image
                product(
                    Sums(sums[r, g], v * taps.size, steps[bs // lanes - 1], panel, 0, False),
                    Left(source, g * (c // groups), taps, pixels, k0, k1 - k0),
                    Right(gradient if whole else panel, k0 * o if whole else 0, bs),
                    lo, hi, bs > lanes,
                )  # fmt: skip


@inner
def _gather(gradient, k0, k1, o, channel, count, panel, bs):
    """Copy ``count`` channels, from one on, of the pixels from k0 to k1 into a panel."""
    for k in range(k0, k1):
        at = k * o + channel
        copy(gradient[at : at + count], panel[(k - k0) * bs :])


@shared
def _sum_pixels(r, dy, sums):
    """Add dy (n, oh, ow * o) into sums (ranges, o), column by column of the image first."""
    ranges, o = sums.shape
    n = dy.shape[0]
    columns = np.zeros(dy.shape[2], dy.dtype)
    for m in range(r * n // ranges, (r + 1) * n // ranges):
        for i in range(dy.shape[1]):
            row = dy[m, i]
            for e in range(row.size):
                columns[e] += row[e]
    for e in range(columns.size):
        sums[r, e % o] += columns[e]


# -------------------------------------------------------------------------------------- interface


def _run(
    x: np.ndarray,
    y: np.ndarray,
    plan: Plan,
    weight: np.ndarray,
    steps: Steps,
    bias: np.ndarray | None,
    groups: int,
    images: int,
) -> None:
    """Write the correlation of x (n, h, w, c) with the weights into y (n, h, w, o)."""
    n, size, lanes = x.shape[0], steps[3], lanes_of(x.dtype)
    width = filled(size, x.dtype)
    packed = pack(weight, plan.order, steps, groups)
    start = np.zeros((groups, width), x.dtype)
    if bias is not None:
        start[:, :size] = bias.reshape(groups, size)
    # Few images are cut further: between panels where the weights are larger than the image,
    # else, and where the image is too large for a cache, between pixels.
    image = plan.high * plan.wide * x.shape[3]
    missing = -(-TASKS * images // max(n, 1))
    panels = 1
    if packed.size > image and size == width:
        panels = min(missing, -(-width // (2 * lanes)))
    pixels = 1 if images > 1 else max(-(-missing // panels), image * x.itemsize // 2**19)
    spots = plan.places if size == width else np.arange(plan.rows.size) * width
    _correlate(
        -(-n // images) * pixels * panels, x, y.reshape(n, math.prod(y.shape[1:])), plan, spots,
        packed, start, (images, pixels, panels),
    )  # fmt: skip


def forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, g: Windows, groups: int
) -> np.ndarray:
    o, per_group = weight.shape[:2]
    y = np.empty((x.shape[0], g.oh, g.ow, o), x.dtype)
    images = images_at_once(x.shape[0], g.oh * g.ow)
    plan = forward_plan(g, x.shape[1], per_group, o, images)
    steps = steps_of(weight.shape, groups)
    _run(nhwc(x), y, plan, weight, steps, bias, groups, images)
    return nchw(y)


def input_gradient(dy: np.ndarray, weight: np.ndarray, g: Windows, groups: int) -> np.ndarray:
    o, per_group = weight.shape[:2]
    if narrow.suits(g, per_group, groups, dy.dtype):
        return narrow.input_gradient(dy, weight, g)
    dx = np.empty((dy.shape[0], g.h, g.w, per_group * groups), dy.dtype)
    images = images_at_once(dy.shape[0], g.h * g.w)
    plan = backward_plan(g, o, o // groups, per_group * groups, images)
    steps = turned(steps_of(weight.shape, groups))
    _run(nhwc(dy), dx, plan, weight, steps, None, groups, images)
    return nchw(dx)


def weight_gradient(
    dy: np.ndarray, x: np.ndarray, shape: tuple[int, ...], g: Windows, groups: int
) -> np.ndarray:
    n, (o, per_group) = x.shape[0], shape[:2]
    images = images_at_once(n, g.oh * g.ow)
    plan = forward_plan(g, x.shape[1], per_group, o, images)
    width = filled(o // groups, x.dtype)
    # As many ranges as leave their sums in the caches; where that is few, the taps are cut.
    pieces = -(-n // images) * -(-images * g.oh * g.ow // GROUP)
    ranges = max(1, min(pieces, TASKS, 2**20 // (groups * plan.cols.size * width)))
    sums = np.zeros((ranges, groups, plan.cols.size * width), x.dtype)
    parts = -(-TASKS // ranges)
    _correlate_weights(
        ranges * parts, nhwc(x), nhwc(dy).reshape(n, g.oh * g.ow * o), sums, plan, images, parts,
    )  # fmt: skip
    return unpack(sums, shape)


def bias_gradient(dy: np.ndarray) -> np.ndarray:
    n, o, oh, ow = dy.shape
    sums = np.zeros((max(1, min(n, TASKS)), o), dy.dtype)
    _sum_pixels(sums.shape[0], nhwc(dy).reshape(n, oh, ow * o), sums)
    return sums.sum(axis=0)
