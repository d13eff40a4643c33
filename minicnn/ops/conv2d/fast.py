"""im2col without the matrix: two tables of addresses and one tile of registers.

Look at the matrix of im2col with a row for each output pixel p and a column for each tap
e = (r, s, c) of the kernel. In an image stored with its channels last, the entry (p, e) lies at

    address(p, e) = pixel[p] + tap[e]       pixel[i,j]   = (i*sh*width + j*sw) * channels
                                            tap[r,s,c]   = (r*dh*width + s*dw) * channels + c

a sum of two small tables, whatever the stride, the dilation or the group. So the matrix is never
built; the product reads the image through the tables:

                     o, LANES at a time                          e.g. LANES = 16 float32 in 512 bits
                   +---------------------+
              e    |  weights[e, o]      |   one vector load, used for 8 pixels
                   +---------------------+
        +-----+    +---------------------+
    p   |     |    |  8 x LANES sums,    |   y[p, o] += x[pixel[p] + tap[e]] * weights[e, o]
  8 at  |     |    |  held in registers  |
 a time +-----+    +---------------------+   one scalar load, spread over the LANES

The gradients are the same product with other tables:

    y        rows: pixels of y       columns: taps (r,s,c)      vectors: weight over o
    dweight  rows: taps (r,s,c)      columns: pixels of y       vectors: dy over o
    dx       rows: pixels of dx      columns: taps (r,s,o)      vectors: weight over c

For dx, a pixel at padded height a = q*sh + phase is reached by those taps r for which r*dh has the
same remainder: r*dh = m*sh + phase. It then takes dy at height q - m. So dx falls into sh * sw
phases, each a convolution of dy, with a margin of zeros, by its own part of the kernel.

Results do not depend on the number of threads: images are independent, and dweight is summed in a
number of parts that the shapes alone decide.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.backend import kernel, nchw, nhwc
from minicnn.windows import Windows

ROWS = 8  # of a tile: 8 x 2 sums leave registers for the operands; more would spill
TASKS = 8  # parallel pieces at least, if the work can be cut so; a constant, not the core count
PIXELS = 256  # of dy that the weight gradient keeps in the nearest cache at a time


def _vector_bytes() -> int:
    """Return the width of this processor's vectors. LLVM copes where there are none."""
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


VECTOR_BYTES = _vector_bytes()


# --------------------------------------------------------------------------- the tile of registers


def _tile_in_python(c, c0, cs, start, s0, ss, a, a0, rows, r0, cols, k0, count, b, b0, bs, vectors):
    """What a tile computes, for ROWS rows and ``vectors`` vectors of lanes:

    c[c0 + p*cs + lane] = start[s0 + p*ss + lane]
                        + sum_{k < count} a[a0 + rows[r0+p] + cols[k0+k]] * b[b0 + k*bs + lane]
    """
    width = vectors * VECTOR_BYTES // c.itemsize
    sums = [start[s0 + p * ss : s0 + p * ss + width].copy() for p in range(ROWS)]
    for k in range(count):
        for p in range(ROWS):
            at = b0 + k * bs
            sums[p] += a[a0 + rows[r0 + p] + cols[k0 + k]] * b[at : at + width]
    for p in range(ROWS):
        c[c0 + p * cs : c0 + p * cs + width] = sums[p]


def _make_tile(vectors: int):
    """Return the tile as LLVM vector code, callable from a kernel."""

    @intrinsic
    def tile(context, c, c0, cs, start, s0, ss, a, a0, rows, r0, cols, k0, count, b, b0, bs):
        n = types.intp
        signature = types.void(c, n, n, start, n, n, a, n, rows, n, cols, n, n, b, n, n)

        def generate(context, builder, signature, args):
            def data(position):
                array = context.make_array(signature.args[position])
                return array(context, builder, args[position]).data

            c, start, a, rows, cols, b = (data(position) for position in (0, 3, 6, 8, 10, 13))
            c0, cs, s0, ss, a0, r0, k0, count, b0, bs = (
                args[position] for position in (1, 2, 4, 5, 7, 9, 11, 12, 14, 15)
            )
            scalar = context.get_data_type(signature.args[0].dtype)
            size = 4 if scalar == ir.FloatType() else 8
            lanes = VECTOR_BYTES // size
            vector = ir.VectorType(scalar, lanes)
            first_lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            nothing = ir.Constant(vector, ir.Undefined)
            fma = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(vector, [vector] * 3),
                f"llvm.fma.v{lanes}f{8 * size}",
            )

            def number(value):
                return ir.Constant(c0.type, value)

            def at(array, base, step, row, v):
                index = builder.add(base, builder.mul(number(row), step))
                index = builder.add(index, number(v * lanes))
                return builder.bitcast(builder.gep(array, [index]), vector.as_pointer())

            def spread(value):
                one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
                return builder.shuffle_vector(one, nothing, first_lane)

            tile = [(p, v) for p in range(ROWS) for v in range(vectors)]
            sums = {}
            for p, v in tile:  # LLVM turns these slots into registers
                sums[p, v] = cgutils.alloca_once(builder, vector)
                builder.store(builder.load(at(start, s0, ss, p, v), align=size), sums[p, v])
            row = [
                builder.gep(
                    a,
                    [
                        builder.add(
                            a0, builder.load(builder.gep(rows, [builder.add(r0, number(p))]))
                        )
                    ],
                )
                for p in range(ROWS)
            ]
            with cgutils.for_range(builder, count, intp=c0.type) as loop:
                column = builder.load(builder.gep(cols, [builder.add(k0, loop.index)]))
                line = builder.add(b0, builder.mul(loop.index, bs))
                factor = [
                    builder.load(at(b, line, number(0), 0, v), align=size) for v in range(vectors)
                ]
                for p in range(ROWS):
                    value = spread(builder.load(builder.gep(row[p], [column])))
                    for v in range(vectors):
                        total = builder.call(fma, [value, factor[v], builder.load(sums[p, v])])
                        builder.store(total, sums[p, v])
            for p, v in tile:
                builder.store(builder.load(sums[p, v]), at(c, c0, cs, p, v), align=size)
            return context.get_dummy_value()

        return signature, generate

    return tile


if config.DISABLE_JIT:  # type: ignore[attr-defined]
    _tile1 = functools.partial(_tile_in_python, vectors=1)
    _tile2 = functools.partial(_tile_in_python, vectors=2)
else:
    _tile1, _tile2 = _make_tile(1), _make_tile(2)


# ---------------------------------------------------------------------------------------- kernels


@kernel
def _place(x, image, top, left, wide):
    """Copy x (h, w, c) into the zeroed ``image``, ``wide`` pixels to a row, at (top, left)."""
    h, w, c = x.shape
    for i in range(h):
        at = ((top + i) * wide + left) * c
        _copy(x[i].reshape(-1), image[at : at + w * c])


@kernel
def _copy(source, target):
    """Copy a vector. (An assignment of slices would compile two seconds longer.)"""
    for e in range(target.size):
        target[e] = source[e]


@kernel
def _product(
    out, width, bias, bias0, image, image0, rows, first, tiles, cols, c0, count, b, b0, lanes
):
    """out[p*width + o] = bias[o] + sum_e image[rows[p] + cols[e]] * b[e, o],  o < width.

    The last vector of a pixel may reach past the width, into the next pixel, and at the end into
    ``lanes`` spare elements. So the vectors are taken from the last to the first and the pixels
    from the first to the last: what was spoilt is written afterwards.
    """
    stride = b.shape[-1]
    weights = b.reshape(-1)
    o = stride
    while o > 0:
        pair = o >= 2 * lanes
        o -= 2 * lanes if pair else lanes
        for t in range(tiles):
            if pair:
                _tile2(
                    out, t * ROWS * width + o, width, bias, bias0 + o, 0, image, image0,
                    rows, first + t * ROWS, cols, c0, count, weights, b0 + o, stride,
                )  # fmt: skip
            else:
                _tile1(
                    out, t * ROWS * width + o, width, bias, bias0 + o, 0, image, image0,
                    rows, first + t * ROWS, cols, c0, count, weights, b0 + o, stride,
                )  # fmt: skip


@kernel(parallel=True)
def _correlate(x, y, place, phases, rows, places, cols, weights, bias, lanes, parts):
    """Convolve x (n, h, w, c) into y (n, pixels, o) by the tables of a _Plan.

    weights is (groups, taps, o/groups) and bias (groups * o/groups,), o/groups filled to whole
    vectors. The pixels of each image are cut into ``parts``.
    """
    groups = weights.shape[0]
    c, o = x.shape[3] // groups, y.shape[2] // groups
    top, left, high, wide = place
    for task in prange(x.shape[0] * parts):
        m, part = task // parts, task % parts
        image = np.zeros(high * wide * x.shape[3], x.dtype)
        _place(x[m], image, top, left, wide)
        for phase in range(phases.shape[0]):
            first, pixels, c0, count = phases[phase]
            tiles = (pixels + ROWS - 1) // ROWS
            lo, hi = part * tiles // parts * ROWS, (part + 1) * tiles // parts * ROWS
            out = np.empty((hi - lo) * o + lanes, x.dtype)
            for g in range(groups):
                _product(
                    out, o, bias, g * weights.shape[2], image, g * c, rows, first + lo,
                    (hi - lo) // ROWS, cols, c0, count,
                    weights, (g * weights.shape[1] + c0) * weights.shape[2], lanes,
                )  # fmt: skip
                end = min(hi, pixels)
                if groups == 1 and phases.shape[0] == 1:  # pixels lie in a row in y too
                    _copy(out, y[m, lo:end].reshape(-1))
                else:
                    for p in range(lo, end):
                        _copy(out[(p - lo) * o :], y[m, places[first + p], g * o : (g + 1) * o])


@kernel(parallel=True)
def _correlate_weights(x, dy, dweight, dbias, place, pixels, ow, taps, lanes):
    """Add x (n, h, w, c) times dy (n, pixels, o) into the sums of each range of images.

    dweight is (ranges, groups, taps, o/groups), taps filled to whole tiles and o/groups to whole
    vectors; dbias is (ranges, o), summed column by column of the image first.
    """
    ranges, groups, rows, stride = dweight.shape
    n, c, o = x.shape[0], x.shape[3] // groups, dy.shape[2]
    top, left, high, wide = place
    parts = (TASKS + ranges - 1) // ranges
    tiles = rows // ROWS
    for task in prange(ranges * parts):
        r, part = task // parts, task % parts
        image = np.zeros(high * wide * x.shape[3], x.dtype)
        # A vector of the last channels reaches into the next pixel, the last of all behind the
        # end. What it brings lands in the lanes of dweight that are cut off.
        gradient = np.zeros(pixels.size * o + lanes, x.dtype)
        sums = np.zeros(o * ow, x.dtype)
        for m in range(r * n // ranges, (r + 1) * n // ranges):
            _place(x[m], image, top, left, wide)
            _copy(dy[m].reshape(-1), gradient[: pixels.size * o])
            if part == 0:
                for i in range(0, pixels.size * o, sums.size):
                    row = gradient[i : i + sums.size]
                    for e in range(sums.size):
                        sums[e] += row[e]
            for g in range(groups):
                total, g0 = dweight[r, g].reshape(-1), g * (o // groups)
                for k0 in range(0, pixels.size, PIXELS):
                    count = min(PIXELS, pixels.size - k0)
                    v = 0
                    while v < stride:
                        pair = v + 2 * lanes <= stride
                        for t in range(part * tiles // parts, (part + 1) * tiles // parts):
                            at = t * ROWS * stride + v
                            if pair:
                                _tile2(
                                    total, at, stride, total, at, stride, image, g * c, taps,
                                    t * ROWS, pixels, k0, count, gradient, k0 * o + g0 + v, o,
                                )  # fmt: skip
                            else:
                                _tile1(
                                    total, at, stride, total, at, stride, image, g * c, taps,
                                    t * ROWS, pixels, k0, count, gradient, k0 * o + g0 + v, o,
                                )  # fmt: skip
                        v += 2 * lanes if pair else lanes
        if part == 0:  # the other parts of this range must not write here
            for e in range(sums.size):
                dbias[r, e % o] += sums[e]


# ----------------------------------------------------------------------------------------- tables


class _Plan(NamedTuple):
    """Tables for one geometry: where the image lies, and what is multiplied with what."""

    place: tuple[int, int, int, int]  # top, left, and the size (high, wide) of the padded image
    phases: np.ndarray  # (phases, 4): first row, its count of pixels, first column, count of taps
    rows: np.ndarray  # address of each pixel; a phase is filled up to whole tiles
    places: np.ndarray  # pixel of the output that each row belongs to
    cols: np.ndarray  # address of each tap, relative to the pixel
    kernel_taps: np.ndarray  # (taps, 2): r and s of the kernel in the order of cols


def _filled(rows: np.ndarray) -> np.ndarray:
    """Repeat the last row until the tiles are whole."""
    return np.concatenate([rows, np.repeat(rows[-1:], -rows.size % ROWS)])


@functools.lru_cache(maxsize=256)
def _forward_plan(g: Windows, channels: int, per_group: int) -> _Plan:
    high, wide = g.top + g.h + g.bottom, g.left + g.w + g.right
    pixels = np.arange(g.oh)[:, None] * g.sh * wide + np.arange(g.ow) * g.sw
    r, s = np.divmod(np.arange(g.kh * g.kw), g.kw)
    taps = (r * g.dh * wide + s * g.dw)[:, None] * channels + np.arange(per_group)
    return _Plan(
        (g.top, g.left, high, wide),
        np.array([[0, pixels.size, 0, taps.size]]),
        _filled(pixels.reshape(-1) * channels),
        np.arange(pixels.size),
        taps.reshape(-1),
        np.stack([r, s], axis=1),
    )


@functools.lru_cache(maxsize=256)
def _backward_plan(g: Windows, channels: int, per_group: int) -> _Plan:
    """Tables for dx: rows are pixels of x, the image is dy with a margin of zeros."""
    mh, mw = (g.kh - 1) * g.dh // g.sh, (g.kw - 1) * g.dw // g.sw  # the farthest tap back
    high = mh + max(g.oh, (g.h - 1 + g.top) // g.sh + 1)
    wide = mw + max(g.ow, (g.w - 1 + g.left) // g.sw + 1)
    phases, rows, places, cols, taps = [], [], [], [], []
    filled = taken = 0
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
            phases.append((filled, q.size, taken, col.size))
            rows.append(_filled(q.reshape(-1) * channels))
            places.append(_filled((i[:, None] * g.w + j).reshape(-1)))
            cols.append(col.reshape(-1))
            taps += tap
            filled, taken = filled + rows[-1].size, taken + col.size
    return _Plan(
        (mh, mw, high, wide),
        np.array(phases),
        np.concatenate(rows),
        np.concatenate(places),
        np.concatenate(cols),
        np.array(taps, dtype=np.int64).reshape(-1, 2),
    )


def _lanes(dtype: np.dtype) -> int:
    return VECTOR_BYTES // dtype.itemsize


def _whole_vectors(array: np.ndarray) -> np.ndarray:
    """Return a copy whose last axis is filled with zeros up to whole vectors."""
    size, lanes = array.shape[-1], _lanes(array.dtype)
    out = np.zeros((*array.shape[:-1], -(-size // lanes) * lanes), array.dtype)
    out[..., :size] = array
    return out


# -------------------------------------------------------------------------------------- interface


def _run(x: np.ndarray, y: np.ndarray, plan: _Plan, weights: np.ndarray, bias: np.ndarray) -> None:
    parts = -(-TASKS // max(x.shape[0], 1))
    n, h, w, c = y.shape
    y = y.reshape(n, h * w, c)
    _correlate(
        x, y, plan.place, plan.phases, plan.rows, plan.places, plan.cols, weights, bias,
        _lanes(x.dtype), parts,
    )  # fmt: skip


def forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, g: Windows, groups: int
) -> np.ndarray:
    o, per_group = weight.shape[:2]
    y = np.empty((x.shape[0], g.oh, g.ow, o), x.dtype)
    plan = _forward_plan(g, x.shape[1], per_group)
    kernels = weight.reshape(groups, o // groups, per_group, g.kh, g.kw).transpose(0, 3, 4, 2, 1)
    kernels = _whole_vectors(kernels.reshape(groups, -1, o // groups))
    start = np.zeros(o, x.dtype) if bias is None else bias
    start = _whole_vectors(start.reshape(groups, o // groups)).reshape(-1)
    _run(nhwc(x), y, plan, kernels, start)
    return nchw(y)


def input_gradient(dy: np.ndarray, weight: np.ndarray, g: Windows, groups: int) -> np.ndarray:
    o, per_group = weight.shape[:2]
    dx = np.empty((dy.shape[0], g.h, g.w, per_group * groups), dy.dtype)
    plan = _backward_plan(g, o, o // groups)
    r, s = plan.kernel_taps.T
    kernels = weight.reshape(groups, o // groups, per_group, g.kh, g.kw).transpose(0, 3, 4, 1, 2)
    kernels = _whole_vectors(kernels[:, r, s].reshape(groups, -1, per_group))
    start = np.zeros(groups * kernels.shape[2], dy.dtype)
    _run(nhwc(dy), dx, plan, kernels, start)
    return nchw(dx)


def param_gradients(
    dy: np.ndarray, x: np.ndarray, shape: tuple[int, ...], g: Windows, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    n, (o, per_group) = x.shape[0], shape[:2]
    plan = _forward_plan(g, x.shape[1], per_group)
    taps, lanes = _filled(plan.cols), _lanes(x.dtype)
    # As many ranges of images as leave their sums some room in the caches.
    ranges = max(1, min(n, TASKS, 2**24 // (o * plan.cols.size)))
    vectors = -(-(o // groups) // lanes) * lanes
    dweight = np.zeros((ranges, groups, taps.size, vectors), x.dtype)
    dbias = np.zeros((ranges, o), x.dtype)
    pixels = plan.rows[: g.oh * g.ow]
    dy = nhwc(dy).reshape(n, pixels.size, o)
    _correlate_weights(nhwc(x), dy, dweight, dbias, plan.place, pixels, g.ow, taps, lanes)
    dweight = dweight.sum(axis=0)[:, : plan.cols.size, : o // groups]
    dweight = dweight.reshape(groups, g.kh, g.kw, per_group, o // groups)
    return dweight.transpose(0, 4, 3, 1, 2).reshape(shape), dbias.sum(axis=0)
