"""Max pooling: the greatest pixel of each window.

Shapes
    x, dx  (n, c, h, w)
    y, dy  (n, c, oh, ow),  oh = floor((h + 2*padding - dilation*(kernel-1) - 1) / stride) + 1
Derivation
    y[n,c,i,j] = max_{r,s} xp[n, c, i*sh + r*dh, j*sw + s*dw] moves with the pixel that wins, and
    with no other. So dy[n,c,i,j] goes to the winner, and a pixel that wins several windows
    receives the sum:

        dxp[n,c,p,q] = sum of dy[n,c,i,j] over the windows (i,j) that (p,q) wins
Conventions
    Padding never wins: it counts as minus infinity, and loses even against that. Of equals the
    first, row by row, takes all of the gradient. NaN wins, of several the last, as in torch.
    ceil_mode lets a last window reach past the end. A dilated window may lie between all pixels:
    it gives minus infinity and passes no gradient.
Source
    Zhou & Chellappa (1988), Computation of optical flow using a neural network.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minicnn.backend import IMPLS, Impl, inner, nchw, nhwc
from minicnn.kernels.argmax import HALF, choose
from minicnn.kernels.parallel import shared
from minicnn.kernels.simd import ONE, lanes_in
from minicnn.shapes import check_choice, check_float, check_gradient, check_image
from minicnn.windows import Windows, pool_windows, scatter, view

TASKS = 16  # parallel pieces at most
LISTED = 64  # pixels of a window, at most, that are listed


class Cache(NamedTuple):
    winner: np.ndarray  # (n, c, oh, ow): r * kw + s of the pixel that won; kh * kw where none did
    windows: Windows
    dtype: np.dtype


def forward(
    x: Float[np.ndarray, "n c h w"],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "n c oh ow"], Cache]:
    """Return ``(y, cache)``; the stride is the kernel's size unless given.

    Raises ShapeError where no window fits, or the padding is more than half the kernel.
    """
    check_choice("max_pool2d", "impl", impl, IMPLS)
    dtype = check_float("max_pool2d", x=x)
    check_image("max_pool2d", "x", x)
    g = pool_windows(
        "max_pool2d", x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode
    )  # fmt: skip
    if impl == "textbook":
        y, winner = _textbook(x, g)
    else:
        n, c = x.shape[:2]
        index = np.uint8 if g.kh * g.kw < 256 else np.int64
        y = np.empty((n, g.oh, g.ow, c), dtype)
        winner = np.empty(y.shape, index)
        if c >= HALF.lanes(x) and g.kh * g.kw <= LISTED:
            _choose(min(TASKS, n * g.oh), nhwc(x), y, winner, _tables(g, c))
        else:
            _compare(min(TASKS, n * g.oh), nhwc(x), y, winner, g)
        y, winner = nchw(y), nchw(winner)
    return y, Cache(winner, g, dtype)


def backward(
    dy: Float[np.ndarray, "n c oh ow"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "n c h w"]:
    """Return ``dx``."""
    check_choice("max_pool2d", "impl", impl, IMPLS)
    winner, g, dtype = cache
    check_gradient("max_pool2d", dy, winner.shape, dtype)
    if impl == "textbook":
        taps = np.arange(g.kh * g.kw).reshape(g.kh, g.kw)
        wins = winner[..., None, None] == taps
        return scatter(np.where(wins, dy[..., None, None], dtype.type(0)), g)
    n, c = dy.shape[:2]
    dx = np.zeros((n, g.h, g.w, c), dtype)
    _backward(len(dx), nhwc(dy), nhwc(winner), dx, g)
    return nchw(dx)


def greatest(
    x: Float[np.ndarray, "n c h w"], windows: Callable[[tuple[int, int]], Windows]
) -> Float[np.ndarray, "n c oh ow"]:
    """Return y alone, for inference: who won is not noted. ``windows`` gives those of (h, w)."""
    check_image("max_pool2d", "x", x)
    g = windows((x.shape[2], x.shape[3]))
    y = np.empty((x.shape[0], g.oh, g.ow, x.shape[1]), x.dtype)
    _greatest(min(TASKS, len(x) * g.oh), nhwc(x), y, g)
    return nchw(y)


def _textbook(x: np.ndarray, g: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Return the greatest of each window, and its place."""
    pixels = view(x, g, fill=-np.inf)
    pixels = pixels.reshape(*pixels.shape[:4], g.kh * g.kw)
    real = view(np.ones((1, 1, g.h, g.w)), g).reshape(1, 1, g.oh, g.ow, g.kh * g.kw) > 0
    y = pixels.max(axis=-1)
    # NaN equals nothing, so where y is NaN the candidates are the NaN, else what equals y.
    nan = np.isnan(pixels)
    wins = np.where(np.isnan(y)[..., None], nan, pixels == y[..., None]) & real
    last = g.kh * g.kw - 1 - np.argmax(nan[..., ::-1], axis=-1)
    winner = np.where(np.isnan(y), last, np.argmax(wins, axis=-1))
    return y, np.where(wins.any(axis=-1), winner, g.kh * g.kw)


class Tables(NamedTuple):
    """Which pixels each window holds: for one row of windows of each kind.

    All rows of windows are alike, but those that reach over the upper or the lower edge.
    """

    kind: np.ndarray  # of each row of windows
    start: np.ndarray  # of each row of windows, in an image; before it, where it reaches out
    first: np.ndarray  # (kinds, ow), in the two lists that follow, of each window
    end: np.ndarray
    members: np.ndarray  # pixels, from the start of a row
    taps: np.ndarray  # which pixel of its window each of them is
    nobody: np.ndarray  # (kinds, ow): who wins while all are minus infinity


@functools.lru_cache(maxsize=64)
def _tables(g: Windows, c: int) -> Tables:
    r, s = np.divmod(np.arange(g.kh * g.kw), g.kw)
    p = np.arange(g.oh)[:, None] * g.sh - g.top + r * g.dh
    q = np.arange(g.ow)[:, None] * g.sw - g.left + s * g.dw
    inside, kind = np.unique((p >= 0) & (p < g.h), axis=0, return_inverse=True)
    exists = inside[:, None] & ((q >= 0) & (q < g.w))  # (kinds, ow, taps)
    end = np.cumsum(exists.sum(axis=2)).reshape(exists.shape[:2])
    return Tables(
        kind.reshape(-1),
        (np.arange(g.oh) * g.sh - g.top) * g.w * c,
        end - exists.sum(axis=2),
        end,
        np.broadcast_to((r * g.dh * g.w + q) * c, exists.shape)[exists],
        np.broadcast_to(r * g.kw + s, exists.shape)[exists],
        np.where(exists.any(axis=2), exists.argmax(axis=2), g.kh * g.kw),
    )


@shared
def _choose(t, tasks, x, y, winner, tables):
    """Write y and winner (n, oh, ow, c), for many channels. A task has some of the n * oh rows."""
    rows = y.shape[0] * y.shape[1]
    _choose_rows(x, y, winner, t * rows // tasks, (t + 1) * rows // tasks, tables)


@inner
def _choose_rows(x, y, winner, first_row, last_row, tables):
    kinds, starts, firsts, ends, members, taps, nobody = tables
    c, many = x.shape[3], x.shape[3] >= lanes_in(x, ONE)
    for row in range(first_row, last_row):
        n, i = row // y.shape[1], row % y.shape[1]
        image, best, place = x[n].reshape(-1), y[n, i].reshape(-1), winner[n, i].reshape(-1)
        kind, start = kinds[i], starts[i]
        for j in range(y.shape[2]):
            first, end, none = firsts[kind, j], ends[kind, j], nobody[kind, j]
            window = members, taps, first, end
            if many:
                _choose_channels(image, start, window, none, best, place, j * c, c, ONE)
            else:
                _choose_channels(image, start, window, none, best, place, j * c, c, HALF)


@inner(inline=True)
def _choose_channels(image, start, window, nobody, best, place, to, c, tile):
    together = lanes_in(image, tile)
    for k in range(0, c, together):
        e = min(k, c - together)  # the last ones again, where vectors do not divide c
        choose(image, start + e, window, nobody, best, place, to + e, tile)


@shared
def _compare(t, tasks, x, y, winner, g):
    """Do the same for few channels, or for large windows."""
    rows = y.shape[0] * y.shape[1]
    gathered = np.empty(g.ow * x.shape[3], x.dtype)
    _compare_rows(x, y, winner, gathered, t * rows // tasks, (t + 1) * rows // tasks, g)


@inner
def _compare_rows(x, y, winner, gathered, first, end, g):
    for row in range(first, end):
        n, i = row // g.oh, row % g.oh
        _compare_row(x[n], y[n, i].reshape(-1), winner[n, i].reshape(-1), gathered, i, g)


@inner
def _compare_row(image, best, place, gathered, i, g):
    """Let the pixels of one tap after the other challenge the best so far of a row of outputs.

    The tap's pixels are gathered first, so that a whole row is compared at once.
    """
    c = image.shape[2]
    _begin(best, place, i, g, c)
    for r in range(g.kh):
        p = i * g.sh + r * g.dh - g.top
        if not 0 <= p < g.h:
            continue
        line = image[p].reshape(-1)
        for s in range(g.kw):
            q = s * g.dw - g.left
            j0 = max(0, (g.sw - 1 - q) // g.sw)  # outputs whose tap lies in the image
            j1 = min(g.ow, (g.w - 1 - q) // g.sw + 1)
            for j in range(j0, j1):
                for k in range(c):
                    gathered[j * c + k] = line[(j * g.sw + q) * c + k]
            if j0 < j1:
                row, tap = slice(j0 * c, j1 * c), place.dtype.type(r * g.kw + s)
                _challenge(gathered[row], best[row], place[row], tap)


@inner
def _begin(best, place, i, g, c):
    """Before any challenge, the first pixel that lies in the image holds the place."""
    r = _first_inside(i * g.sh - g.top, g.dh, g.kh, g.h)
    for j in range(g.ow):
        s = _first_inside(j * g.sw - g.left, g.dw, g.kw, g.w)
        tap = r * g.kw + s if r < g.kh and s < g.kw else g.kh * g.kw
        for e in range(j * c, (j + 1) * c):
            best[e], place[e] = -np.inf, tap


@inner
def _first_inside(start, dilation, kernel, size):
    """Return the first tap of a window beginning at ``start`` that lies inside, else ``kernel``."""
    first = max(0, (dilation - 1 - start) // dilation)
    return first if first < kernel and start + first * dilation < size else kernel


@inner
def _challenge(pixels, best, place, tap):
    for e in range(pixels.size):
        new, old, held = pixels[e], best[e], place[e]
        wins = (new > old) | (new != new)
        best[e] = new if wins else old
        place[e] = tap if wins else held


@shared
def _greatest(t, tasks, x, y, g):
    """Write y alone."""
    rows = y.shape[0] * y.shape[1]
    best = np.empty(g.w * x.shape[3], x.dtype)
    _greatest_rows(x, y, best, t * rows // tasks, (t + 1) * rows // tasks, g)


@inner
def _greatest_rows(x, y, best, first, end, g):
    for row in range(first, end):
        n, i = row // g.oh, row % g.oh
        _keep_greatest(x[n], y[n, i], best, i, g)


@inner
def _keep_greatest(image, out, best, i, g):
    """Take the greatest of each window: first of its rows, then of the row that is left."""
    c = image.shape[2]
    _clear(best)
    for r in range(g.kh):
        p = i * g.sh + r * g.dh - g.top
        if 0 <= p < g.h:
            _keep(image[p].reshape(-1), best)
    for j in range(g.ow):
        _clear(out[j])
        for s in range(g.kw):
            q = j * g.sw + s * g.dw - g.left
            if 0 <= q < g.w:
                _keep(best[q * c : (q + 1) * c], out[j])


@inner
def _clear(best):
    for e in range(best.size):
        best[e] = -np.inf


@inner
def _keep(new, best):
    """best = max(best, new), of which NaN is the greatest."""
    for e in range(best.size):
        best[e] = new[e] if (new[e] > best[e]) | (new[e] != new[e]) else best[e]


@shared
def _backward(n, dy, winner, dx, g):
    """Add dy (n, oh, ow, c) to the zeros of dx, where the winners are."""
    taps = np.empty(g.kh * g.kw, np.int64)  # from a window's first pixel to each of its others
    for tap in range(taps.size):
        taps[tap] = (tap // g.kw * g.dh * g.w + tap % g.kw * g.dw) * dx.shape[3]
    _give(dy[n], winner[n], dx[n].reshape(-1), taps, g)


@inner
def _give(dy, winner, image, taps, g):
    """Add the gradients of one image to its winners."""
    c = dy.shape[2]
    for i in range(g.oh):
        for j in range(g.ow):
            first = ((i * g.sh - g.top) * g.w + j * g.sw - g.left) * c
            for k in range(c):
                tap = winner[i, j, k]
                if tap < taps.size:
                    image[first + taps[tap] + k] += dy[i, j, k]
