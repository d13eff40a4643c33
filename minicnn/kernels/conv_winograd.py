"""Winograd's convolution F(4x4, 3x3): 36 products where the definition has 144.

Derivation
    Write polynomials u(t) = u0 + u1*t + u2*t^2 for a row of the kernel and v(t) for four numbers.
    Their product has degree 5, so six of its values determine it, and at each point t a value is
    one product u(t) * v(t): six, where multiplying out takes twelve. That is (Toom and Cook)

        u * v = V^-1 [(V u) . (V v)]      V: values at six points, 0, a, -a, b, -b and infinity

    (at infinity, the value is the leading coefficient). A correlation y[i] = sum_r d[i+r] u[r] is
    the transpose of this, linear in v: <y, v> = <d, u * v>. So four outputs cost six products:

        y = A^T [(G u) . (B^T d)]         A: values of v at the points, (6, 4)
                                          G: values of u, each divided by N below, (6, 3)
                                          B^T: the interpolation without its division, (6, 6)
    with the row of a point p
        A    1, p, p^2, p^3               of infinity  0, 0, 0, 1
        G    1, p, p^2  over N(p)         of infinity  0, 0, 1
        B^T  the coefficients of the product of (t - q) over the other points q; N(p) its value at p

    and over rows and columns, for a tile of 4x4 outputs and the 6x6 inputs that they see,

        y = A^T [(G u G^T) . (B^T d B)] A                   36 products where 4*4 * 3*3 = 144 were

    Summed over channels before A^T, this is a matrix product for each of the 36 "frequencies".
    The gradients follow by transposing: the sum is linear in d and in u.

        dx       the forward convolution of dy by the kernel turned by 180 degrees, inputs and
                 outputs exchanged
        dweight  G^T [sum over tiles of (A dy A^T) . (B^T d B)] G

Conventions
    Padding may be of any size, and differ from side to side; a tile at the border takes zeros.
    Where an input is NaN or infinite, none of the 16 outputs of a tile that sees it is finite, and
    an infinity may become NaN, as inf - inf. By definition only the windows that hold it do so.
    Values are those of the definition up to rounding, in float32 some 2e-6 of the greatest.
Source
    Lavin & Gray (2016), Fast algorithms for convolutional neural networks;
    Winograd (1980), Arithmetic complexity of computations.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from minicnn.backend import inner, nchw, nhwc
from minicnn.kernels.conv_direct import TASKS, pack, steps_of, turned, unpack
from minicnn.kernels.epilogue import finish
from minicnn.kernels.parallel import shared
from minicnn.kernels.simd import VECTOR_BYTES, filled, lanes_of
from minicnn.kernels.tile import ROWS, copy, fill, product
from minicnn.windows import Windows

OUT, IN = 4, 6  # the sides of a tile of outputs, and of the inputs that it sees
# The usual points, 1 and 2, make four times the error: with these, no number is far from 1.
POINT_A, POINT_B = 2 / 3, 3 / 2
TILES = 64  # at most that are taken together
FEW = 32  # tiles are not cut, but their outputs
NEAR = 2**19  # bytes of frequencies that are worked on at a time: they should stay in the cache


# ----------------------------------------------------------------------------- the transformations


def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return B^T (6, 6), G (6, 3) and A^T (4, 6) for the points."""
    points = np.array([0, POINT_A, -POINT_A, POINT_B, -POINT_B])
    others = [np.delete(points, i) for i in range(5)]
    infinity = np.eye(1, IN, IN - 1)
    bt = np.zeros((IN, IN))
    for i in range(5):
        bt[i, :5] = np.poly(others[i])[::-1]
    bt[5] = np.poly(points)[::-1]
    scale = np.array([np.prod(p - q) for p, q in zip(points, others, strict=True)])
    g = np.vander(points, 3, increasing=True) / scale[:, None]
    a = np.vander(points, OUT, increasing=True)
    return bt, np.vstack([g, infinity[:, -3:]]), np.vstack([a, infinity[:, -OUT:]]).T


BT, G, AT = _matrices()
GG = np.kron(G, G)  # (36, 9): the transformation of a whole kernel
ONE = np.linalg.pinv(AT) @ np.ones(OUT)  # A^T turns it into ones, and so a bias on a tile of it


def formula(x: np.ndarray, weight: np.ndarray, g: Windows) -> np.ndarray:
    """Return y as derived above; a convolution by the same kernels, in NumPy."""
    u = np.einsum("pr,ocrs,qs->ocpq", G, weight, G)
    m = np.einsum("ocpq,nchwpq->nohwpq", u, _frequencies_of_tiles(x, g))
    y = (AT @ m @ AT.T).transpose(0, 1, 2, 4, 3, 5)  # (n, o, high, OUT, wide, OUT)
    n, o, high, _, wide, _ = y.shape
    return y.reshape(n, o, high * OUT, wide * OUT)[:, :, : g.oh, : g.ow]


def formula_of_weights(dy: np.ndarray, x: np.ndarray, g: Windows) -> np.ndarray:
    """Return dweight as derived above."""
    n, o = dy.shape[:2]
    high, wide = -(-g.oh // OUT), -(-g.ow // OUT)
    tiles = np.zeros((n, o, high * OUT, wide * OUT))
    tiles[:, :, : g.oh, : g.ow] = dy
    tiles = tiles.reshape(n, o, high, OUT, wide, OUT).transpose(0, 1, 2, 4, 3, 5)
    m = np.einsum("nohwpq,nchwpq->ocpq", AT.T @ tiles @ AT, _frequencies_of_tiles(x, g))
    return np.asarray(G.T @ m @ G)


def _frequencies_of_tiles(x: np.ndarray, g: Windows) -> np.ndarray:
    """Return B^T d B of every tile, (n, c, high, wide, 6, 6)."""
    high, wide = -(-g.oh // OUT) * OUT, -(-g.ow // OUT) * OUT
    padded = np.zeros((*x.shape[:2], high + 2, wide + 2))
    h, w = min(g.h, high + 2 - g.top), min(g.w, wide + 2 - g.left)
    padded[:, :, g.top : g.top + h, g.left : g.left + w] = x[:, :, :h, :w]
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (IN, IN), axis=(2, 3))
    return np.asarray(BT @ tiles[:, :, ::OUT, ::OUT] @ BT.T)


# The same by hand: a point and its opposite share their even and their odd terms. ``d``, ``m`` and
# ``y`` are lists of anything that can be added, subtracted, and multiplied by a number.
_A2, _B2 = POINT_A**2, POINT_B**2


def _inputs(d: Sequence[Any]) -> list[Any]:
    """Return B^T d."""
    even_a, odd_a = d[4] - d[2] * _B2, (d[3] - d[1] * _B2) * POINT_A
    even_b, odd_b = d[4] - d[2] * _A2, (d[3] - d[1] * _A2) * POINT_B
    return [
        d[0] * (_A2 * _B2) - d[2] * (_A2 + _B2) + d[4],
        even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b,
        d[1] * (_A2 * _B2) - d[3] * (_A2 + _B2) + d[5],
    ]  # fmt: skip


def _outputs(m: Sequence[Any]) -> list[Any]:
    """Return A^T m."""
    even_a, odd_a = m[1] + m[2], (m[1] - m[2]) * POINT_A
    even_b, odd_b = m[3] + m[4], (m[3] - m[4]) * POINT_B
    return [
        m[0] + even_a + even_b,
        odd_a + odd_b,
        even_a * _A2 + even_b * _B2,
        odd_a * _A2 + odd_b * _B2 + m[5],
    ]


def _gradients(y: Sequence[Any]) -> list[Any]:
    """Return A y."""
    even_a, odd_a = y[0] + y[2] * _A2, (y[1] + y[3] * _A2) * POINT_A
    even_b, odd_b = y[0] + y[2] * _B2, (y[1] + y[3] * _B2) * POINT_B
    return [y[0], even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, y[3]]


def _transform_in_python(x, x0, xr, xc, top, bottom, left, right, y, y0, yr, yc, lines, side):
    """Apply ``lines`` to the columns and to the rows of a patch of vectors, side x side:

    x[x0 + i*xr + j*xc + lane] becomes y[y0 + i*yr + j*yc + lane]. What is not in the rows from
    ``top`` to ``bottom`` and in the columns from ``left`` to ``right`` does not exist, but is 0.
    """
    lanes = lanes_of(x.dtype)
    patch = np.zeros((side, side, lanes), x.dtype)
    for i in range(max(top, 0), min(bottom, side)):
        for j in range(max(left, 0), min(right, side)):
            patch[i, j] = x[x0 + i * xr + j * xc :][:lanes]
    rows = lines(patch)  # of as many vectors side by side
    for j, column in enumerate(lines([np.array(rows)[:, j] for j in range(side)])):
        for i, vector in enumerate(column):
            y[y0 + i * yr + j * yc :][:lanes] = vector


class _Vector:
    """A vector while code is generated: what is done to it becomes an instruction."""

    def __init__(self, builder, value) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: _Vector) -> _Vector:
        total = self.builder.fadd(self.value, other.value, flags=("contract",))
        return _Vector(self.builder, total)

    def __sub__(self, other: _Vector) -> _Vector:
        total = self.builder.fsub(self.value, other.value, flags=("contract",))
        return _Vector(self.builder, total)

    def __mul__(self, factor: float) -> _Vector:
        if factor == 1:
            return self
        kind = self.value.type
        constant = ir.Constant(kind, [factor] * kind.count)
        return _Vector(self.builder, self.builder.fmul(self.value, constant, flags=("contract",)))


def _make_transform(lines, side: int):
    """Return ``_transform_in_python`` as LLVM vector code, callable from a kernel."""

    @intrinsic
    def transform(context, x, x0, xr, xc, top, bottom, left, right, y, y0, yr, yc):
        n = types.intp
        signature = types.void(x, n, n, n, n, n, n, n, y, n, n, n)

        def generate(context, builder, signature, args):
            def data(position):
                array = context.make_array(signature.args[position])
                return array(context, builder, args[position]).data

            x, y = data(0), data(8)
            scalar = context.get_data_type(signature.args[0].dtype)
            size = 4 if scalar == ir.FloatType() else 8
            vector = ir.VectorType(scalar, VECTOR_BYTES // size)

            bits = ir.VectorType(ir.IntType(8 * size), vector.count)
            splat = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)

            def pointer(array, first, row, column):
                index = builder.add(first, builder.add(row, column))
                return builder.bitcast(builder.gep(array, [index]), vector.as_pointer())

            def number(value):
                return ir.Constant(first.type, value)

            def line(i, before, end, step):
                """Return how far line i is, or the nearest that exists, and ones if it does."""
                last = builder.sub(end, number(1))
                after = builder.select(
                    builder.icmp_signed(">", number(i), before), number(i), before
                )
                near = builder.select(builder.icmp_signed("<", after, last), after, last)
                # Not by comparing: LLVM would make a branch of it at every load.
                sign = builder.or_(builder.sub(number(i), before), builder.sub(last, number(i)))
                missing = builder.ashr(
                    builder.trunc(sign, bits.element), bits.element(8 * size - 1)
                )
                missing = builder.insert_element(
                    ir.Constant(bits, ir.Undefined), missing, ir.Constant(ir.IntType(32), 0)
                )
                missing = builder.shuffle_vector(missing, ir.Constant(bits, ir.Undefined), splat)
                return builder.mul(near, step), builder.not_(missing)

            first, row, column, top, bottom, left, right = args[1:8]
            at = range(side)
            rows = [line(i, top, bottom, row) for i in at]
            cols = [line(j, left, right, column) for j in at]

            def load(i, j):
                (down, row_exists), (along, column_exists) = rows[i], cols[j]
                value = builder.load(pointer(x, first, down, along), align=size)
                kept = builder.and_(
                    builder.bitcast(value, bits), builder.and_(row_exists, column_exists)
                )
                return _Vector(builder, builder.bitcast(kept, vector))

            columns = [lines([load(i, j) for i in at]) for j in at]
            for i, row in enumerate(zip(*columns, strict=True)):
                for j, vec in enumerate(lines(row)):
                    place = pointer(
                        y,
                        args[9],
                        builder.mul(args[10], number(i)),
                        builder.mul(args[11], number(j)),
                    )
                    builder.store(vec.value, place, align=size)
            return context.get_dummy_value()

        return signature, generate

    return transform


_transform_inputs: Any
_transform_outputs: Any
_transform_gradients: Any
if config.DISABLE_JIT:  # type: ignore[attr-defined]
    _transform_inputs = functools.partial(_transform_in_python, lines=_inputs, side=IN)
    _transform_outputs = functools.partial(_transform_in_python, lines=_outputs, side=IN)
    _transform_gradients = functools.partial(_transform_in_python, lines=_gradients, side=OUT)
else:
    _transform_inputs = _make_transform(_inputs, IN)
    _transform_outputs = _make_transform(_outputs, IN)
    _transform_gradients = _make_transform(_gradients, OUT)


# ---------------------------------------------------------------------------------------- kernels


@inner
def _read_patch(image, row, column, side, patch, width):
    """Copy a square of image (h, w, c) into patch, ``width`` to a pixel; zeros lie around it."""
    h, w = image.shape[:2]
    fill(patch[: side * side * width])
    for i in range(max(0, -row), min(side, h - row)):
        for j in range(max(0, -column), min(side, w - column)):
            copy(image[row + i, column + j], patch[(i * side + j) * width :])


@inner
def _write_patch(patch, width, image, row, column, first, end):
    """Copy a tile of outputs, ``width`` to a pixel, into image (h, w, c) as far as it reaches.

    They are those of the channels from ``first`` to ``end``.
    """
    h, w = image.shape[:2]
    for i in range(min(OUT, h - row)):
        for j in range(min(OUT, w - column)):
            copy(patch[(i * OUT + j) * width :], image[row + i, column + j][first:end])


@inner
def _next(m, i, j, high, wide):
    """Return the tile after the tile (i, j) of image m. (Divisions would take longer.)"""
    if j + 1 < wide:
        return m, i, j + 1
    if i + 1 < high:
        return m, i + 1, 0
    return m + 1, 0, 0


@inner
def _read_tiles(x, top, left, high, wide, t0, t1, patch, width, v, rows, stride, lanes):
    """Transform the inputs of the tiles from t0 to t1 into v[rows[tile] + frequency * stride]."""
    h, w, c = x.shape[1:]
    flat, whole = x.reshape(-1), c == width  # else a vector would reach into the next pixel
    m, i, j = t0 // (high * wide), t0 // wide % high, t0 % wide
    for t in range(t1 - t0):
        row, column = i * OUT - top, j * OUT - left
        if not whole:
            _read_patch(x[m], row, column, IN, patch, width)
        for e in range(0, width, lanes):
            _transform_inputs(
                flat if whole else patch, ((m * h + row) * w + column) * c + e if whole else e,
                (w if whole else IN) * width, width,
                -row if whole else 0, h - row if whole else IN,
                -column if whole else 0, w - column if whole else IN,
                v, rows[t] + e, IN * stride, stride,
            )  # fmt: skip
        m, i, j = _next(m, i, j, high, wide)


@inner
def _stride(width, lanes):
    """Return the distance of two frequencies, with ROWS tiles between them.

    A power of two would put all the frequencies into the same lines of the cache.
    """
    return ROWS * width + lanes


@inner(allocates=True)
def _rows(tiles, width, lanes):
    """Return the address of each tile: ROWS of them, all their frequencies, the next ROWS."""
    rows = np.empty(tiles, np.int64)
    for t in range(tiles):
        rows[t] = t // ROWS * (IN * IN * _stride(width, lanes)) + t % ROWS * width
    return rows


@inner(allocates=True)
def _multiples(count, step):
    """Return 0, step, 2*step ..."""
    multiples = np.empty(count, np.int64)
    for i in range(count):
        multiples[i] = i * step
    return multiples


@shared
def _correlate(
    task, x, y, top, left, weights, start, width, out_width, tiles, lanes, out, added, floor
):
    """Convolve x (n, h, w, c) into y (n, oh, ow, channels); ``tiles`` are taken together.

    weights are panels of (frequency, c, lanes), start is (frequency, o): what the sums begin with.
    The widths are c and o filled to whole vectors. ``out``: o, the first channel of y that is
    written, and into how many parts the panels are cut, each of which transforms x anew. ``added``
    (n, oh, ow, o), or empty, is added, and what is below ``floor`` becomes that.
    """
    n, oh, ow = y.shape[:3]
    c, (o, first, parts), low = x.shape[3], out, y.dtype.type(floor)
    block, part, panels = task // parts, task % parts, (out_width // lanes + 1) // 2
    e0 = part * panels // parts * 2 * lanes
    e1 = min(out_width, (part + 1) * panels // parts * 2 * lanes)
    high, wide = (oh + OUT - 1) // OUT, (ow + OUT - 1) // OUT
    total = n * high * wide
    stride, out_stride = _stride(width, lanes), _stride(out_width, lanes)
    rows, places, cols = (
        _rows(tiles, width, lanes),
        _rows(tiles, out_width, lanes),
        _multiples(c, 1),
    )
    t0, t1 = block * tiles, min(total, (block + 1) * tiles)
    v = np.empty(tiles // ROWS * IN * IN * stride, x.dtype)
    freq = np.empty(tiles // ROWS * IN * IN * out_stride, x.dtype)
    patch = np.zeros(IN * IN * max(width, out_width), x.dtype)
    _read_tiles(x, top, left, high, wide, t0, t1, patch, width, v, rows, stride, lanes)
    for e in range(e0, e1, 2 * lanes):
        bs = min(2 * lanes, out_width - e)
        for f in range(IN * IN):
            product(
                freq, f * out_stride + e, places, start, f * out_width + e, 1,
                v, f * stride, rows, 0, t1 - t0, cols, 0, c,
                weights, (IN * IN * e + f * bs) * c, bs, bs > lanes,
            )  # fmt: skip
    _write_tiles(
        freq, places, y, first, o, e0, e1, out_width, high, wide, t0, t1, patch, out_stride, lanes,
        added, low,
    )  # fmt: skip


@inner
def _write_tiles(
    freq, places, y, first, o, e0, e1, width, high, wide, t0, t1, patch, stride, lanes, added, low
):
    """Transform the products back, and write the channels from e0 to e1 of o, behind ``first``."""
    oh, ow, pitch = y.shape[1:]
    flat = y.reshape(-1)
    m, i, j = t0 // (high * wide), t0 // wide % high, t0 % wide
    for t in range(t1 - t0):
        row, column = i * OUT, j * OUT
        inside = row + OUT <= oh and column + OUT <= ow and o == width
        at = ((m * oh + row) * ow + column) * pitch + first
        for e in range(e0, e1, lanes):
            _transform_outputs(
                freq, places[t] + e, IN * stride, stride, 0, IN, 0, IN,
                flat if inside else patch, at + e if inside else e,
                ow * pitch if inside else OUT * width, pitch if inside else width,
            )  # fmt: skip
        if not inside:
            _write_patch(patch[e0:], width, y[m], row, column, first + e0, first + min(o, e1))
        if added.size or low > -np.inf:
            for p in range(row, min(row + OUT, oh)):
                for q in range(column, min(column + OUT, ow)):
                    pixel = (m * oh + p) * ow + q
                    at = pixel * pitch + first + e0
                    finish(flat, at, added, pixel * o + e0, low, flat, at, min(o, e1) - e0)
        m, i, j = _next(m, i, j, high, wide)


@shared
def _correlate_weights(r, x, dy, sums, top, left, width, out_width, tiles, lanes):
    """Add x (n, h, w, c) times dy (n, oh, ow, o) into sums (ranges, panels): see _correlate."""
    n, oh, ow = dy.shape[:3]
    c, own = x.shape[3], sums[r]
    high, wide = (oh + OUT - 1) // OUT, (ow + OUT - 1) // OUT
    total = n * high * wide
    blocks, ranges = (total + tiles - 1) // tiles, sums.shape[0]
    stride, out_stride = _stride(width, lanes), tiles * out_width + lanes
    rows, taps = _rows(tiles, width, lanes), _multiples(c, 1)
    narrow, broad = _multiples(c, lanes), _multiples(c, 2 * lanes)
    v = np.empty(tiles // ROWS * IN * IN * stride, x.dtype)
    d = np.empty(IN * IN * out_stride, x.dtype)
    patch = np.zeros(IN * IN * max(width, out_width), x.dtype)
    for block in range(r * blocks // ranges, (r + 1) * blocks // ranges):
        t0, t1 = block * tiles, min(total, (block + 1) * tiles)
        _read_tiles(x, top, left, high, wide, t0, t1, patch, width, v, rows, stride, lanes)
        _read_gradients(dy, high, wide, t0, t1, patch, out_width, d, tiles, out_stride, lanes)
        for f in range(IN * IN):
            for e in range(0, out_width, 2 * lanes):
                bs = min(2 * lanes, out_width - e)
                product(
                    own, (IN * IN * e + f * bs) * c, broad if bs > lanes else narrow, d, 0,
                    0, v, f * stride, taps, 0, c, rows, 0, t1 - t0,
                    d, f * out_stride + e * tiles, bs, bs > lanes,
                )  # fmt: skip


@inner
def _read_gradients(dy, high, wide, t0, t1, patch, width, d, tiles, stride, lanes):
    """Transform the gradients of the tiles from t0 to t1 into d, panel by panel."""
    oh, ow, o = dy.shape[1:]
    flat, whole = dy.reshape(-1), o == width
    m, i, j = t0 // (high * wide), t0 // wide % high, t0 % wide
    for t in range(t1 - t0):
        row, column = i * OUT, j * OUT
        if not whole:
            _read_patch(dy[m], row, column, OUT, patch, width)
        for e in range(0, width, lanes):
            panel = e - e % (2 * lanes)
            bs = min(2 * lanes, width - panel)
            _transform_gradients(
                flat if whole else patch,
                ((m * oh + row) * ow + column) * o + e if whole else e,
                (ow if whole else OUT) * width, width,
                0, oh - row if whole else OUT, 0, ow - column if whole else OUT,
                d, panel * tiles + t * bs + e - panel, IN * stride, stride,
            )  # fmt: skip
        m, i, j = _next(m, i, j, high, wide)


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


# -------------------------------------------------------------------------------------- interface


def eligible(g: Windows, groups: int) -> bool:
    """Return whether the geometry is one that this file can do."""
    return (g.kh, g.kw, g.sh, g.sw, g.dh, g.dw, groups) == (3, 3, 1, 1, 1, 1, 1)


def _tiles_together(total: int, width: int, out_width: int, itemsize: int) -> int:
    """Return how many of the tiles are worked on together: whole tiles of registers."""
    room = NEAR // (IN * IN * (width + out_width) * itemsize)
    share = -(-total // TASKS)
    return max(ROWS, min(room, share + ROWS - 1, TILES) // ROWS * ROWS)


def tile_count(n: int, h: int, w: int) -> int:
    """Return how many tiles cover n images of h x w outputs."""
    return n * -(-h // OUT) * -(-w // OUT)


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
        start[:, :o] = np.kron(ONE, ONE)[:, None] * bias
    return start.reshape(-1)


def run(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray,
    top: int,
    left: int,
    out: tuple[int, int],
    added: np.ndarray,
    floor: float,
) -> None:
    """Convolve x (n, h, w, c) into y (n, oh, ow, channels): see _correlate."""
    width, out_width = filled(x.shape[3], x.dtype), filled(out[0], x.dtype)
    total, lanes = tile_count(*y.shape[:3]), lanes_of(x.dtype)
    tiles, parts = _tiles_together(total, width, out_width, x.itemsize), 1
    if total <= FEW:  # then the weights, all of which are read for each block, take the time
        tiles, parts = max(1, -(-total // ROWS)) * ROWS, min(TASKS, -(-out_width // (2 * lanes)))
    _correlate(
        -(-total // tiles) * parts, x, y, top, left, weights, start, width, out_width, tiles,
        lanes, (*out, parts), added, floor,
    )  # fmt: skip


def forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, g: Windows, groups: int
) -> np.ndarray:
    o = weight.shape[0]
    y = np.empty((x.shape[0], g.oh, g.ow, o), x.dtype)
    start, nothing = start_of(bias, o, x.dtype), np.empty(0, x.dtype)
    weights = frequencies(weight, turn=False)
    run(nhwc(x), y, weights, start, g.top, g.left, (o, 0), nothing, -math.inf)
    return nchw(y)


def input_gradient(dy: np.ndarray, weight: np.ndarray, g: Windows, groups: int) -> np.ndarray:
    dx = np.empty((dy.shape[0], g.h, g.w, weight.shape[1]), dy.dtype)
    start, nothing = start_of(None, dx.shape[3], dy.dtype), np.empty(0, dy.dtype)
    weights = frequencies(weight, turn=True)
    run(nhwc(dy), dx, weights, start, 2 - g.top, 2 - g.left, (dx.shape[3], 0), nothing, -math.inf)
    return nchw(dx)


def weight_gradient(
    dy: np.ndarray, x: np.ndarray, shape: tuple[int, ...], g: Windows, groups: int
) -> np.ndarray:
    (n, c), o, lanes = x.shape[:2], shape[0], lanes_of(x.dtype)
    width, out_width = filled(c, x.dtype), filled(o, x.dtype)
    total = tile_count(n, g.oh, g.ow)
    tiles = _tiles_together(total, width, out_width, x.itemsize)
    ranges = max(1, min(-(-total // tiles), TASKS, 2**22 // (36 * c * out_width)))
    sums = np.zeros((ranges, 36 * c * out_width), x.dtype)
    _correlate_weights(
        ranges, nhwc(x), nhwc(dy), sums, g.top, g.left, width, out_width, tiles, lanes
    )
    return unpack(times(GG.T, sums, c).reshape(1, 1, -1), shape)
