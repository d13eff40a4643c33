"""Convolution, ReLU and max pooling in one pass: what lies between them never leaves the cache.

Shapes
    x, dx            (n, c, h, w)
    weight, dweight  (o, c, kh, kw)
    bias, dbias      (o,) or None
    y, dy            (n, o, ph, pw)
Derivation
    ReLU is monotonic, so the greatest of a window before it is the greatest after it: with z the
    convolution,

        y[p] = max over the window p of max(z, 0) = max(z[winner(p)], 0)

    and z itself is needed no more. Only the winners that ReLU lets through receive a gradient,

        dz[q] = sum of dy[p] over the windows p that q wins with z[q] > 0

    from which dx, dweight and dbias follow as conv2d's.
Implementations
    textbook  the three operations, one after the other.
    fast      image by image, with z of one image in a buffer. Between forward and backward only a
              byte of each output is kept: the place of its winner. Images that are too large for a
              buffer, many channels, kernels for Winograd's algorithm, and pools whose windows
              overlap so much that patches do not pay take the three operations.

Forward is the product of conv_direct.py, but for what suits few channels.
    pixels side by side   Vectors of 16 numbers hold the 8 channels of two pixels. The two see the
                          same kw + stride columns of the image, the second with its weights one
                          stride further to the right:  [ w0 w1 w2 0 | 0 w0 w1 w2 ]
    column by column      Pixels are numbered down the columns, for the rows of a tile to lie apart.
Backward knows which pixels have a gradient: in each channel one of a window. dz, of which three
quarters are zeros, is not made; patches.py adds up what the winners see.
A zero in a vector meets pixels beside the window, and in backward a gradient that is not its own.
It adds nothing, unless these are NaN or infinite: then pixels and channels nearby are NaN too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minicnn.backend import inner, nchw, nhwc
from minicnn.kernels.argmax import HALF, choose_positive
from minicnn.kernels.conv_direct import pad_rows
from minicnn.kernels.parallel import TASKS, shared
from minicnn.kernels.patches import WIDTH, Patches, add_patches, addresses, framed, suits
from minicnn.kernels.simd import VECTOR_BYTES, filled, lanes_in, lanes_of
from minicnn.kernels.tile import Left, Right, Sums, copy, fill, product
from minicnn.ops import conv2d, max_pool2d, relu
from minicnn.shapes import check_choice, check_gradient
from minicnn.windows import Windows, conv_windows, pool_windows

ROOM = 2**19  # bytes of z that a buffer takes at most
CHANNELS = 16  # of x at most: with more, patches are longer than what they spare is worth


class Cache(NamedTuple):
    x: np.ndarray
    weight: np.ndarray
    has_bias: bool
    winner: np.ndarray  # (n, ph, pw, o): r * kw + s in the pool's window; kh * kw where none did
    conv: Windows
    pool: Windows


class Steps(NamedTuple):
    """The caches of the three operations, where these were taken: the pool before ReLU."""

    conv: conv2d.Cache
    pool: max_pool2d.Cache
    relu: relu.Cache


def forward(
    x: Float[np.ndarray, "n c h w"],
    weight: Float[np.ndarray, "o c kh kw"],
    bias: Float[np.ndarray, " o"] | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    *,
    pool_size: int | Sequence[int],
    pool_stride: int | Sequence[int] | None = None,
    pool_padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    impl: conv2d.Impl = "fast",
) -> tuple[Float[np.ndarray, "n o ph pw"], Cache | Steps]:
    """Return ``(y, cache)``; options and errors are those of conv2d and max_pool2d.

    Where conv2d is told its algorithm, ``impl="direct"`` or ``"winograd"``, the three operations
    run one after the other.
    """
    check_choice("conv_relu_pool", "impl", impl, conv2d.IMPLS)
    pool_options = pool_size, pool_stride, pool_padding, 1, ceil_mode
    plan = None
    if impl == "fast" and _suits(x, weight, bias):
        conv = conv_windows("conv2d", x.shape[2:], weight.shape[2:], stride, padding)
        pool = pool_windows("max_pool2d", (conv.oh, conv.ow), *pool_options)
        plan = _plan(conv, pool, x.shape[1], weight.shape[0], x.dtype)
    if plan is None:
        z, conv_cache = conv2d.forward(x, weight, bias, stride, padding, impl=impl)
        best, pool_cache = max_pool2d.forward(z, *pool_options, impl=conv2d.plain(impl))
        y, relu_cache = relu.forward(best, impl=conv2d.plain(impl))
        return y, Steps(conv_cache, pool_cache, relu_cache)
    o = weight.shape[0]
    y = np.empty((x.shape[0], pool.oh, pool.ow, o), x.dtype)
    winner = np.empty(y.shape, np.uint8)
    start = np.zeros(plan.pixels, x.dtype)
    if bias is not None:
        start[:, :o] = bias
    weights = _side_by_side(weight, conv, plan)
    _forward(
        _ranges(x), nhwc(x), weights, start.reshape(-1), y, _lines(winner),
        plan.tables, conv, pool,
    )  # fmt: skip
    return nchw(y), Cache(x, weight, bias is not None, winner, conv, pool)


def backward(
    dy: Float[np.ndarray, "n o ph pw"],
    cache: Cache | Steps,
    *,
    input_grad: bool = True,
    param_grad: bool = True,
    impl: conv2d.Impl = "fast",
) -> tuple[
    Float[np.ndarray, "n c h w"] | None,
    Float[np.ndarray, "o c kh kw"] | None,
    Float[np.ndarray, " o"] | None,
]:
    """Return ``(dx, dweight, dbias)``; dbias is None where forward had no bias.

    ``input_grad=False`` spares dx, ``param_grad=False`` spares the other two: they are None then.
    """
    check_choice("conv_relu_pool", "impl", impl, conv2d.IMPLS)
    if isinstance(cache, Steps):
        y = cache.relu.y
        check_gradient("conv_relu_pool", dy, y.shape, y.dtype)
        g = relu.backward(dy, cache.relu, impl=conv2d.plain(impl))
        g = max_pool2d.backward(g, cache.pool, impl=conv2d.plain(impl))
        return conv2d.backward(
            g, cache.conv, input_grad=input_grad, param_grad=param_grad, impl=impl
        )  # fmt: skip
    x, weight, has_bias, winner, conv, pool = cache
    check_gradient("conv_relu_pool", dy, (x.shape[0], weight.shape[0], pool.oh, pool.ow), x.dtype)
    if impl == "textbook":  # of a fast forward
        dz = max_pool2d.backward(dy, max_pool2d.Cache(nchw(winner), pool, x.dtype), impl=impl)
        whole = conv2d.Cache(x, weight, has_bias, conv, 1)
        return conv2d.backward(
            dz, whole, input_grad=input_grad, param_grad=param_grad, impl=impl
        )  # fmt: skip
    plan = _plan(conv, pool, x.shape[1], weight.shape[0], x.dtype)
    assert plan is not None
    (o, c, kh, kw), ranges = weight.shape, _ranges(x)
    sums = np.zeros((ranges, o if param_grad else 0, kh, filled(kw * c, x.dtype, WIDTH)), x.dtype)
    bias_sums = np.zeros((ranges, o), x.dtype)
    dx = np.empty((x.shape[0], conv.h, conv.w, c) if input_grad else (0, 0, 0, 0), x.dtype)
    weights = framed(weight, conv, pool) if input_grad else np.empty(0, x.dtype)
    _backward(
        ranges, nhwc(x), nhwc(dy), _lines(winner), weights, (sums, bias_sums, dx), plan.patches,
        conv,
    )  # fmt: skip
    dweight = dbias = None
    if param_grad:
        total = sums.sum(axis=0)[:, :, : kw * c].reshape(o, kh, kw, c)
        dweight = np.ascontiguousarray(total.transpose(0, 3, 1, 2))
        dbias = bias_sums.sum(axis=0) if has_bias else None
    return nchw(dx) if input_grad else None, dweight, dbias


def _suits(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> bool:
    """Whether all is as it should be, for conv2d to complain else, and channels are few."""
    arrays = [x, weight] if bias is None else [x, weight, bias]
    return (
        all(isinstance(a, np.ndarray) and a.dtype == x.dtype for a in arrays)
        and x.dtype in (np.float32, np.float64)
        and x.ndim == weight.ndim == 4
        and 0 < x.shape[1] == weight.shape[1] <= CHANNELS
        and min(weight.shape) > 0
        and (bias is None or bias.shape == weight.shape[:1])
        and (weight.shape[2:] != (3, 3) or min(weight.shape[:2]) < 16)
    )


# ----------------------------------------------------------------------------------------- tables


class Tables(NamedTuple):
    """Addresses for forward, column by column."""

    high: int  # of the padded image
    wide: int
    pixels: np.ndarray  # in the image, of the first of the pixels that are taken together
    taps: np.ndarray  # of the kernel, from there
    width: int  # numbers of z in a pixel
    span: int  # and in the pixels that are taken together
    members: np.ndarray  # in z, of the pixels in each window of the pool that exist, in a row
    taps_of: np.ndarray  # which pixel of its window each of them is
    ends: np.ndarray  # how many of them there are up to each window


class _Plan(NamedTuple):
    tables: Tables
    patches: Patches

    @property
    def pixels(self) -> tuple[int, int]:
        """Those that are taken together, and the channels of each."""
        return self.tables.span // self.tables.width, self.tables.width


@functools.lru_cache(maxsize=256)
def _plan(g: Windows, pool: Windows, c: int, o: int, dtype: np.dtype) -> _Plan | None:
    """Return the tables, or None where z is too large for a buffer, or windows for patches."""
    lanes = lanes_of(dtype)
    together = 2 if o <= lanes_of(dtype, HALF.bytes) else 1
    width = lanes // together if together > 1 else filled(o, dtype)
    groups = -(-g.ow // together)  # of pixels side by side
    cols = g.kw + (together - 1) * g.sw
    high = g.top + g.h + g.bottom  # every window lies inside
    wide = max(g.left + g.w + g.right, (groups * together - 1) * g.sw + g.kw)
    too_large = groups * together * g.oh * width * dtype.itemsize > ROOM
    if too_large or pool.kh * pool.kw > 255 or not suits(g, pool, wide):
        return None
    i, j = np.arange(g.oh), np.arange(g.ow)[:, None]
    first = np.arange(groups)[:, None] * together
    r, s = np.arange(g.kh)[:, None, None], np.arange(cols)[:, None]
    spots = ((j // together * g.oh + i) * together + j % together) * width
    tables = Tables(
        high,
        wide,
        ((i * g.sh * wide + first * g.sw) * c).reshape(-1),
        ((r * wide + s) * c + np.arange(c)).reshape(-1),
        width,
        together * width,
        *_members(pool, spots),
    )
    return _Plan(tables, addresses(g, pool, c, o, high, wide, dtype))


def _members(g: Windows, spots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which pixels of the (w, h) at ``spots`` lie in each window, row by row."""
    i, j = np.arange(g.oh)[:, None, None, None], np.arange(g.ow)[:, None, None]
    p = i * g.sh - g.top + np.arange(g.kh)[:, None]
    q = j * g.sw - g.left + np.arange(g.kw)
    exists = ((p >= 0) & (p < g.h) & (q >= 0) & (q < g.w)).reshape(-1, g.kh * g.kw)
    address = spots[q.clip(0, g.w - 1), p.clip(0, g.h - 1)].reshape(exists.shape)
    taps = np.broadcast_to(np.arange(g.kh * g.kw), exists.shape)
    return address[exists], taps[exists], np.cumsum(exists.sum(axis=1))


def _lines(winner: np.ndarray) -> np.ndarray:
    """Return one line for each image: a reshape in a kernel takes longer to compile."""
    return winner.reshape(winner.shape[0], math.prod(winner.shape[1:]))


def _ranges(x: np.ndarray) -> int:
    """Return into how many ranges the images fall; each has sums of its own."""
    return max(1, min(x.shape[0], TASKS))


def _side_by_side(weight: np.ndarray, g: Windows, plan: _Plan) -> np.ndarray:
    """Return weight as (taps, pixels taken together, channels), filled with zeros."""
    o, c, kh, kw = weight.shape
    together, width = plan.pixels
    out = np.zeros((kh, kw + (together - 1) * g.sw, c, together, width), weight.dtype)
    for p in range(together):
        out[:, p * g.sw : p * g.sw + kw, :, p, :o] = weight.transpose(2, 3, 1, 0)
    return out.reshape(-1)


# ---------------------------------------------------------------------------------------- kernels


@shared
def _forward(r, tasks, x, weights, start, y, winner, tables, conv, pool):
    """Write y and winner (n, ph, pw, o) for x (n, h, w, c)."""
    high, wide, pixels, taps, width, span, members, taps_of, ends = tables
    n, lanes = x.shape[0], VECTOR_BYTES // x.itemsize
    image = np.zeros(high * wide * x.shape[3], x.dtype)
    z = np.empty(pixels.size * span, x.dtype)
    places = np.arange(pixels.size) * span
    o, nobody = y.shape[3], pool.kh * pool.kw
    best = np.empty(ends.size * o + width, x.dtype)
    place = np.empty(best.size, np.uint8)
    for m in range(r * n // tasks, (r + 1) * n // tasks):
        pad_rows(x[m], image, conv.top, conv.left, wide, 0, high)
        for v in range(0, span, 2 * lanes):
            product(
                Sums(z, v, places, start, v, True),
                Left(image, 0, pixels, taps, 0, taps.size),
                Right(weights, v, span),
                0, pixels.size, span - v > lanes,
            )  # fmt: skip
        _choose_all(z, o, members, taps_of, ends, nobody, best, place)
        copy(best, y[m].reshape(-1))
        copy(place, winner[m])


@inner
def _choose_all(z, o, members, taps, ends, nobody, best, place):
    """Find the maximum of each window of the pool and each of o channels: see kernels/argmax.py."""
    first = 0
    for window in range(ends.size):
        pixels = members, taps, first, ends[window]
        for e in range(0, o, lanes_in(z, HALF)):  # the next window writes over what is too much
            choose_positive(z, e, pixels, nobody, best, place, window * o + e, HALF)
        first = ends[window]


@shared
def _backward(r, tasks, x, dy, winner, weights, gradients, patches, conv):
    """Add into the sums of each range of images, and write dx (n, h, w, c), if these have a size.

    ``weights`` have a frame of zeros: see patches.py. ``gradients``: sums for the weight and for
    the bias, and dx.
    """
    sums, bias_sums, dx = gradients
    (
        high, wide, margin, room, starts, steps, patch, rows, field, framed, size, shifts,
    ) = patches  # fmt: skip
    n, c, o, nobody = x.shape[0], x.shape[3], dy.shape[3], steps.size - 1
    image, dimage = np.zeros(room, x.dtype), np.zeros(room, x.dtype)
    corners, slots = np.empty(starts.size * o, np.int64), np.empty(starts.size * o, np.int64)
    for p in range(starts.size):
        for e in range(o):
            corners[p * o + e], slots[p * o + e] = margin + starts[p], e * size
    factor, where = np.empty(corners.size, x.dtype), np.empty(corners.size, np.int64)
    weight_sums, bias_sum = sums[r].reshape(-1), bias_sums[r]
    for m in range(r * n // tasks, (r + 1) * n // tasks):
        gradient, place = dy[m].reshape(-1), winner[m]
        for q in range(factor.size):
            factor[q] = 0 if place[q] == nobody else gradient[q]
            where[q] = corners[q] + steps[np.uint64(place[q])]
        for p in range(starts.size):
            passed = factor[p * o : (p + 1) * o]
            for e in range(o):
                bias_sum[e] += passed[e]
        if weight_sums.size:
            pad_rows(x[m], image[margin:], conv.top, conv.left, wide, 0, high)
            _add_to_weight(weight_sums, rows, factor, (image, where, patch), o)
        if dx.size:
            fill(dimage)
            for q in range(factor.size):
                where[q] = slots[q] + shifts[np.uint64(place[q])]
            found = weights, where, framed
            _add_to_image(dimage, margin, starts, field, factor, found, dy.shape[1:])
            out, run = dx[m].reshape(-1), conv.w * c
            for i in range(conv.h):
                at = margin + ((i + conv.top) * wide + conv.left) * c
                copy(dimage[at : at + run], out[i * run : (i + 1) * run])


@inner
def _add_to_weight(sums, rows, factor, source, o):
    """Add to the weights of each output the patches at its winners."""
    for e in range(o):
        own = sums, e * sums.size // o, rows
        add_patches(own, factor, source, (e, o, factor.size // o))


@inner
def _add_to_image(image, margin, starts, field, factor, source, shape):
    """Add to the field of each window the weights of its winners, column by column."""
    high, wide, o = shape
    for j in range(wide):
        for i in range(high):
            p = i * wide + j
            seen = image, margin + starts[p], field
            add_patches(seen, factor, source, (p * o, 1, o))
