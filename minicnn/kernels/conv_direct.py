"""im2col without the matrix: two tables of addresses and one tile of registers.

Look at the matrix of im2col with a row for each output pixel p and a column for each tap
e = (r, s, c) of the kernel. In an image stored with its channels last, the entry (p, e) lies at

    address(p, e) = pixel[p] + tap[e]       pixel[i,j]   = (i*sh*width + j*sw) * channels
                                            tap[r,s,c]   = (r*dh*width + s*dw) * channels + c

a sum of two small tables, whatever the stride, the dilation or the group. So the matrix is never
built; the product reads the image through the tables, a tile of registers at a time (tile.py):

    y[p, o] = bias[o] + sum_e x[pixel[p] + tap[e]] * weights[e, o]

The gradients are the same product with other tables:

    y        rows: pixels of y       columns: taps (r,s,c)      vectors: weight over o
    dweight  rows: taps (r,s,c)      columns: pixels of y       vectors: dy over o
    dx       rows: pixels of dx      columns: taps (r,s,o)      vectors: weight over c

For dx, a pixel at padded height a = q*sh + phase is reached by those taps r for which r*dh has the
same remainder: r*dh = m*sh + phase. It then takes dy at height q - m. So dx falls into sh * sw
phases, each a convolution of dy, with a margin of zeros, by its own part of the kernel.

How the product is cut, so that each piece is read from the nearest cache
    panels  two vectors of outputs wide (one, at an odd end): weights lie panel by panel
    blocks  as many columns at a time as make a panel of 24 KB
    groups  of small images, taken as one, so that tiles are full and weights are read less often

Results do not depend on the number of threads: images are independent, and dweight is summed in a
number of ranges that the shapes alone decide.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from minicnn.backend import inner, nchw, nhwc
from minicnn.kernels import conv_few_channels as narrow
from minicnn.kernels.parallel import shared
from minicnn.kernels.simd import VECTOR_BYTES, filled, lanes_of
from minicnn.kernels.tile import ROWS, copy, fill, product
from minicnn.windows import Windows

TASKS = 8  # parallel pieces at least, if the work can be cut so; a constant, not the core count
COLUMNS = 24 * 1024 // (2 * VECTOR_BYTES)  # of a panel that lie in the nearest cache at a time
GROUP = 256  # pixels of small images that are taken as one


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
def _correlate(task, x, y, place, phases, rows, places, spots, cols, weights, bias, lanes, cuts):
    """Convolve x (n, h, w, c) into y (n, pixels * o) by the tables of a _Plan.

    weights (groups, panels) is as _pack leaves it; bias is (groups, o/groups), filled to whole
    vectors. Where o/groups is no whole number of vectors, the sums go first to ``spots`` of a
    spare array. ``cuts``: how many images are taken as one, and into how many parts their pixels
    and their panels are cut.
    """
    groups, width = bias.shape
    n, c = x.shape[0], x.shape[3]
    taps, per_group = weights.shape[1] // width, c // groups
    top, left, high, wide, o = place
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
                    product(
                        out if whole else spare, g * width + v if whole else v - spots[lo],
                        spots, bias[g], v, block == 0,
                        image, g * per_group, rows, lo, hi, cols, k0 + k, end - k,
                        weights[g], v * taps + (k0 + k) * bs, bs, bs > lanes,
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
def _correlate_weights(task, x, dy, sums, place, pixels, taps, lanes, images, parts):
    """Add x (n, h, w, c) times dy (n, pixels * o) into the sums of each range of images.

    sums is (ranges, groups, panels of a row for each tap); the taps are cut into ``parts``. So
    many ``images`` are taken as one; ``pixels`` has the addresses in all of them.
    """
    ranges, groups, size = sums.shape
    width = size // taps.size  # o/groups, filled to whole vectors
    n, c = x.shape[0], x.shape[3]
    top, left, high, wide, o = place
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
                product(
                    sums[r, g], v * taps.size, steps[bs // lanes - 1], panel, 0, 0,
                    x[m0:m1].reshape(-1) if bare else image, g * (c // groups), taps, lo, hi,
                    pixels, k0, k1 - k0,
                    gradient if whole else panel, k0 * o if whole else 0, bs, bs > lanes,
                )  # fmt: skip


@inner
def _gather(gradient, k0, k1, o, channel, count, panel, bs):
    """Copy ``count`` channels, from one on, of the pixels from k0 to k1 into a panel."""
    for k in range(k0, k1):
        at = k * o + channel
        copy(gradient[at : at + count], panel[(k - k0) * bs :])


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


# ----------------------------------------------------------------------------------------- tables


class _Plan(NamedTuple):
    """Tables for one geometry: where the image lies, and what is multiplied with what."""

    place: tuple[int, int, int, int, int]  # top, left, (high, wide) padded; channels of the output
    phases: np.ndarray  # (phases, 6): first row, rows of one image, first column, count of
    #                     columns, the least and the greatest of them
    rows: np.ndarray  # address of each pixel, image by image within a phase
    places: np.ndarray  # address in the output of each row
    cols: np.ndarray  # address of each tap, relative to the pixel
    order: np.ndarray  # the taps of the kernel in the order of cols


def _images_at_once(n: int, pixels: int) -> int:
    """Return how many images are taken as one: a full group, if enough groups are left."""
    return max(1, min(GROUP // pixels, n // TASKS))


@functools.lru_cache(maxsize=256)
def _forward_plan(g: Windows, channels: int, per_group: int, o: int, images: int) -> _Plan:
    high, wide = g.top + g.h + g.bottom, g.left + g.w + g.right
    pixels = np.arange(g.oh)[:, None] * g.sh * wide + np.arange(g.ow) * g.sw
    pixels = np.arange(images)[:, None] * (high * wide) + pixels.reshape(-1)
    r, s = np.divmod(np.arange(g.kh * g.kw), g.kw)
    taps = (r * g.dh * wide + s * g.dw)[:, None] * channels + np.arange(per_group)
    return _Plan(
        (g.top, g.left, high, wide, o),
        np.array([[0, g.oh * g.ow, 0, taps.size, 0, taps[-1, -1]]]),
        pixels.reshape(-1) * channels,
        np.arange(pixels.size) * o,
        taps.reshape(-1),
        r * g.kw + s,
    )


@functools.lru_cache(maxsize=256)
def _backward_plan(g: Windows, channels: int, per_group: int, c: int, images: int) -> _Plan:
    """Tables for dx: rows are pixels of x, the image is dy with a margin of zeros."""
    mh, mw = (g.kh - 1) * g.dh // g.sh, (g.kw - 1) * g.dw // g.sw  # the farthest tap back
    high = mh + max(g.oh, (g.h - 1 + g.top) // g.sh + 1)
    wide = mw + max(g.ow, (g.w - 1 + g.left) // g.sw + 1)
    image = np.arange(images)[:, None]
    phases, rows, places, cols, taps = [], [], [], [], []
    laid = taken = 0
    for a in sorted({(i + g.top) % g.sh for i in range(g.h)}):
        i = np.array([i for i in range(g.h) if (i + g.top) % g.sh == a])
        reach_h = [r for r in range(g.kh) if r * g.dh % g.sh == a]
        for b in sorted({(j + g.left) % g.sw for j in range(g.w)}):
            j = np.array([j for j in range(g.w) if (j + g.left) % g.sw == b])
            reach_w = [s for s in range(g.kw) if s * g.dw % g.sw == b]
            q = ((i + g.top) // g.sh + mh)[:, None] * wide + (j + g.left) // g.sw + mw
            tap = [(r, s) for r in reach_h for s in reach_w]
            back = [(r * g.dh // g.sh) * wide + s * g.dw // g.sw for r, s in tap]
            col = -np.array(back, dtype=np.int64)[:, None] * channels + np.arange(per_group)
            reach = (col.min(), col.max()) if tap else (0, 0)
            phases.append((laid, q.size, taken, col.size, *reach))
            rows.append((image * (high * wide) + q.reshape(-1)).reshape(-1) * channels)
            place = image * (g.h * g.w) + (i[:, None] * g.w + j).reshape(-1)
            places.append(place.reshape(-1) * c)
            cols.append(col.reshape(-1))
            taps += [r * g.kw + s for r, s in tap]
            laid, taken = laid + rows[-1].size, taken + col.size
    return _Plan(
        (mh, mw, high, wide, c),
        np.array(phases),
        np.concatenate(rows),
        np.concatenate(places),
        np.concatenate(cols),
        np.array(taps, dtype=np.int64),
    )


# ---------------------------------------------------------------------------------------- weights

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


# -------------------------------------------------------------------------------------- interface


def _run(
    x: np.ndarray,
    y: np.ndarray,
    plan: _Plan,
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
    _, _, high, wide, _ = plan.place
    image = high * wide * x.shape[3]
    missing = -(-TASKS * images // max(n, 1))
    panels = 1
    if packed.size > image and size == width:
        panels = min(missing, -(-width // (2 * lanes)))
    pixels = 1 if images > 1 else max(-(-missing // panels), image * x.itemsize // 2**19)
    spots = plan.places if size == width else np.arange(plan.rows.size) * width
    _correlate(
        -(-n // images) * pixels * panels, x, y.reshape(n, math.prod(y.shape[1:])), plan.place,
        plan.phases, plan.rows, plan.places, spots, plan.cols, packed, start, lanes,
        (images, pixels, panels),
    )  # fmt: skip


def forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, g: Windows, groups: int
) -> np.ndarray:
    o, per_group = weight.shape[:2]
    y = np.empty((x.shape[0], g.oh, g.ow, o), x.dtype)
    images = _images_at_once(x.shape[0], g.oh * g.ow)
    plan = _forward_plan(g, x.shape[1], per_group, o, images)
    steps = steps_of(weight.shape, groups)
    _run(nhwc(x), y, plan, weight, steps, bias, groups, images)
    return nchw(y)


def input_gradient(dy: np.ndarray, weight: np.ndarray, g: Windows, groups: int) -> np.ndarray:
    o, per_group = weight.shape[:2]
    if narrow.suits(g, per_group, groups, dy.dtype):
        return narrow.input_gradient(dy, weight, g)
    dx = np.empty((dy.shape[0], g.h, g.w, per_group * groups), dy.dtype)
    images = _images_at_once(dy.shape[0], g.h * g.w)
    plan = _backward_plan(g, o, o // groups, per_group * groups, images)
    steps = turned(steps_of(weight.shape, groups))
    _run(nhwc(dy), dx, plan, weight, steps, None, groups, images)
    return nchw(dx)


def weight_gradient(
    dy: np.ndarray, x: np.ndarray, shape: tuple[int, ...], g: Windows, groups: int
) -> np.ndarray:
    n, (o, per_group) = x.shape[0], shape[:2]
    images = _images_at_once(n, g.oh * g.ow)
    plan = _forward_plan(g, x.shape[1], per_group, o, images)
    width = filled(o // groups, x.dtype)
    # As many ranges as leave their sums in the caches; where that is few, the taps are cut.
    pieces = -(-n // images) * -(-images * g.oh * g.ow // GROUP)
    ranges = max(1, min(pieces, TASKS, 2**20 // (groups * plan.cols.size * width)))
    sums = np.zeros((ranges, groups, plan.cols.size * width), x.dtype)
    parts = -(-TASKS // ranges)
    _correlate_weights(
        ranges * parts, nhwc(x), nhwc(dy).reshape(n, g.oh * g.ow * o), sums, plan.place, plan.rows,
        plan.cols, lanes_of(x.dtype), images, parts,
    )  # fmt: skip
    return unpack(sums, shape)


def bias_gradient(dy: np.ndarray) -> np.ndarray:
    n, o, oh, ow = dy.shape
    sums = np.zeros((max(1, min(n, TASKS)), o), dy.dtype)
    _sum_pixels(sums.shape[0], nhwc(dy).reshape(n, oh, ow * o), sums)
    return sums.sum(axis=0)
