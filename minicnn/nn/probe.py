"""What a layer does, found by running it: for the user's own layers, which do not define it.

To see which units depend on a pixel, the pixel is changed. One image has one changed row, the next
one another row, then each column; all of them and the unchanged image are one batch. There are
three such batches with different numbers, because a ReLU or a maximum may hide a change in one of
them. The numbers are float64, so rounding is far below a real change. Parameters that are zero at
first, such as the factor of a branch that is switched on by learning, are given other numbers.

On a small image several windows can give the same picture: on 3x3 pixels, a 3x3 kernel with stride
2 looks like a 2x2 kernel with stride 1. Then a larger image is tried too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np

from minicnn.nn.module import Module, Param, Unknown, Window
from minicnn.shapes import ShapeError

Shape = tuple[int, ...]
Seen = Window | Literal["unknown"] | None

DRAWS = 3
BATCH = 2**22  # about so many numbers of images run at once
SMALL = 64  # pixels: images up to this size are tried larger, too
LARGER = 24  # more pixels: a multiple of the usual strides, so that padding stays the same


class Call(NamedTuple):
    """One run of a module inside another module; the last one is the run of the outer module."""

    name: str  # its path in the outer module; "" is the outer module
    module: Module
    input: Shape  # without the batch
    output: Shape
    handed_on: bool  # True if the output is the same array as that of the call before
    rows: np.ndarray | None  # (units, pixels) of bool; one row for vectors; None: not known
    columns: np.ndarray | None


def run(module: Module, x: np.ndarray) -> np.ndarray:
    """Return the output of ``module`` in inference. Raises ShapeError if it fails."""
    kind = type(module).__name__
    try:
        with np.errstate(all="ignore"):
            result = module.forward(x, training=False)
    except (ShapeError, NotImplementedError):
        raise
    except Exception as error:
        raise ShapeError(
            f"{kind}: its forward does not take an input of shape {x.shape[1:]} "
            f"({type(error).__name__}: {error})."
        ) from error
    if not isinstance(result, tuple) or len(result) != 2:
        raise ShapeError(f"{kind}: its forward does not return a pair (y, cache).")
    return result[0]


def output_shape(module: Module, shape: Shape) -> Shape:
    """Return the shape of the output for an input of ``shape``; both are without the batch."""
    dtype = next((p.data.dtype for p in module.parameters()), np.dtype(np.float32))
    y = run(module, np.ones((3, *shape), dtype))  # an array of two could be mistaken for a pair
    return y.shape[1:]


def multiply_adds(module: Module, shape: Shape) -> int:
    """Return the multiply-adds of the inner modules; raise Unknown if there may be others."""
    refuse_own_products(module)
    inside = calls(module, shape, reach=False)[:-1]
    return sum(call.module.multiply_adds(call.input) for call in inside)


def refuse_own_products(module: Module) -> None:
    """Raise Unknown if a module has a matrix or kernels itself, outside of its inner modules."""
    own = [value for value in vars(module).values() if isinstance(value, Param)]
    if any(param.data.ndim > 1 for param in own):
        raise Unknown(
            f"{type(module).__name__}: the number of its multiply-adds is not known. Add to it "
            "multiply_adds(self, shape), which returns them for an image of ``shape``."
        )


def window(module: Module, shape: Shape) -> Window | None:
    """Return the window of one output, None for all pixels; raise Unknown if it is not a window."""
    found = windows(module, shape)[-1][1]
    if found == "unknown":
        raise Unknown(
            f"{type(module).__name__}: what it sees is not a window, or several fit. Add to it "
            "window(self, shape), which returns (kernel, stride, dilation), a pair each; None for "
            "all of the image."
        )
    if found is None and keeps_places(module, shape):
        return (1, 1), (1, 1), (1, 1)
    return found


def windows(module: Module, shape: Shape) -> list[tuple[Call, Seen]]:
    """Return the runs inside ``module``, as ``calls`` does, each with its window of the input.

    The window is None for the whole input, and "unknown" if it is not a window or not certain.
    """
    small = calls(module, shape)
    large: list[Call] = []
    if len(shape) == 3 and max(shape[1:]) <= SMALL and any(map(_open, small)):
        c, h, w = shape
        large = calls(module, (c, h + LARGER, w + LARGER), partly=True)
        same = [call.name for call in large] == [call.name for call in small[: len(large)]]
        large = large if same else []
    missing: list[Call | None] = [None] * (len(small) - len(large))
    return [
        (call, _window(call, more)) for call, more in zip(small, [*large, *missing], strict=True)
    ]


def _open(call: Call) -> bool:
    """True if several windows are possible for a call."""
    reach = (call.rows, call.columns)
    return len(call.output) == 3 and any(r is not None and not determined(r) for r in reach)


def _window(call: Call, large: Call | None) -> Seen:
    """Return the window of a call, with the help of the same call on a larger image, if any."""
    if len(call.output) != 3 or call.rows is None or call.columns is None:
        return None
    if view(call) is None and (large is None or view(large) is None):
        return None
    sides = []
    for axis in ("rows", "columns"):
        reach, more = getattr(call, axis), getattr(large, axis, None)
        side = window_of(reach)
        if not determined(reach):
            if more is None:
                return "unknown"
            wide = window_of(more)
            if wide is not None and determined(more) and _shows(reach, *wide):
                side = wide  # otherwise it changes with the image, like an adaptive pool
        if side is None:
            return None if view(call) is None else "unknown"
        sides.append(side)
    (kh, sh, dh, _), (kw, sw, dw, _) = sides
    return (kh, kw), (sh, sw), (dh, dw)


def view(call: Call) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (rows, columns) of the image that a run of a module sees; None for all or none."""
    if call.rows is None or call.columns is None or (call.rows.all() and call.columns.all()):
        return None
    return call.rows, call.columns


def calls(module: Module, shape: Shape, *, reach: bool = True, partly: bool = False) -> list[Call]:
    """Return the runs inside ``module``, in their order; the last one is ``module`` itself.

    Chains and the user's own modules are opened; other modules made of several layers count as one.
    With ``reach``, the rows and columns of the input that each run sees are found. With ``partly``,
    a run that fails is left out, and so are all after it.
    """
    double = _double(module)
    paths = {id(m): path for path, m in double.named_modules()}
    twins = dict(zip(paths, (m for _, m in module.named_modules()), strict=False))
    first = _record(double, _draw(shape, 0)[None].repeat(3, axis=0), partly)
    found = [
        Call(paths[id(m)], twins[id(m)], x.shape[1:], y.shape[1:], handed, None, None)
        for m, x, y, handed in first
    ]
    if not reach or len(shape) != 3:
        return found
    rows, columns = (_reach(double, shape, axis, len(found), partly) for axis in (1, 2))
    return [
        call._replace(rows=r, columns=c) if r is not None and c is not None else call
        for call, r, c in zip(found, rows, columns, strict=True)
    ]


def keeps_places(module: Module, shape: Shape) -> bool:
    """True if each number of the output depends only on the input number at its place."""
    double = _double(module)
    for draw in range(DRAWS):
        x = _draw(shape, draw)
        moved = np.random.default_rng(draw).integers(0, 2, shape).astype(bool)
        both = np.stack([x, np.where(moved, _draw(shape, draw + DRAWS), x)])
        y = run(double, np.concatenate([both, both[:1]]))[:2]
        if y[0].size != x.size or (_differ(y, y.dtype)[0].ravel() & ~moved.ravel()).any():
            return False
    return True


def window_of(reach: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return (kernel, stride, dilation, padding before) of the window that fits ``reach``.

    None if no window fits, for example because every unit sees everything.
    """
    units, pixels = reach.shape
    counts = reach.sum(axis=1)
    k = int(counts.max(initial=0))
    if not k or (units > 1 and pixels > 1 and reach.all()):
        return None
    whole = int(counts.argmax())  # a unit whose window lies inside the image, if there is one
    taps = np.flatnonzero(reach[whole])
    gaps = set(np.diff(taps).tolist())
    if len(gaps) > 1:
        return None
    d = gaps.pop() if gaps else 1
    for s in range(1, pixels + 1):
        before = whole * s - int(taps[0])
        if _shows(reach, k, s, d, before):
            return k, s, d, before
    return None


def _shows(reach: np.ndarray, k: int, s: int, d: int, before: int) -> bool:
    """True if a window fits ``reach``."""
    units, pixels = reach.shape
    at = np.arange(units)[:, None] * s - before + np.arange(k) * d
    return bool((np.any(at[:, :, None] == np.arange(pixels), axis=1) == reach).all())


def padding_of(reach: np.ndarray, k: int, s: int, d: int) -> int | None:
    """Return the padding with which a window fits ``reach``, or None."""
    before = range((k - 1) * d + 1)
    return next((pad for pad in before if _shows(reach, k, s, d, pad)), None)


def determined(reach: np.ndarray) -> bool:
    """True if at most one window fits ``reach``.

    A unit whose window lies inside the image on both sides tells the kernel. Two units whose
    windows begin, or end, inside the image tell the stride.
    """
    pixels = reach.shape[1]
    taps = [np.flatnonzero(row) for row in reach]
    step = min((int(np.diff(t).min()) for t in taps if len(t) > 1), default=1)
    begins = [len(t) > 0 and t[0] >= step for t in taps]
    ends = [len(t) > 0 and t[-1] + step < pixels for t in taps]
    inside = any(b and e for b, e in zip(begins, ends, strict=True))
    return inside and max(sum(begins), sum(ends)) > 1


# ----------------------------------------------------------------------------------------- helpers


def _double(module: Module) -> Module:
    """Return a copy in float64 whose parameters have no zeros, because zeros hide changes."""
    double = copy.deepcopy(module).astype(np.float64)
    rng = np.random.default_rng(7)
    for param in double.parameters():
        zero = param.data == 0
        if zero.any():
            param.data = np.where(zero, rng.standard_normal(zero.shape), param.data)
    return double


def _draw(shape: Shape, seed: int) -> np.ndarray:
    return 2 * np.random.default_rng((7, seed)).standard_normal(shape)


def _record(
    module: Module, x: np.ndarray, partly: bool = False
) -> list[tuple[Module, np.ndarray, np.ndarray, bool]]:
    """Return (module, input, output, whether the output was passed on) of each run."""
    seen: list[tuple[Module, np.ndarray, np.ndarray, bool]] = []
    with _listening(module, seen):
        try:
            y = run(module, x)
        except (ShapeError, NotImplementedError):
            if partly:
                return seen
            raise
    handed = bool(seen) and seen[-1][2] is y
    return [*seen, (module, x, y, handed)]


@contextmanager
def _listening(
    module: Module, seen: list[tuple[Module, np.ndarray, np.ndarray, bool]]
) -> Iterator[None]:
    """Record the runs of modules that count as one, inside the ``with``."""
    inside = 0

    def listener(child: Module) -> Any:
        forward = child.forward

        def listen(x: np.ndarray, *, training: bool) -> Any:
            nonlocal inside
            inside += 1
            try:
                result = forward(x, training=training)
            finally:
                inside -= 1
            if not inside:
                seen.append((child, x, result[0], False))
            return result

        return listen

    heard = [child for child in set(module.below()) if not leads_through(child)]
    try:
        for child in heard:
            vars(child)["forward"] = listener(child)
        yield
    finally:
        for child in heard:
            vars(child).pop("forward", None)


def leads_through(module: Module) -> bool:
    """True for modules that are opened: chains, and modules that do not define their shapes."""
    from minicnn.nn.sequential import Sequential

    says = type(module).output_shape is not Module.output_shape
    chain = isinstance(module, Sequential) and type(module).forward is Sequential.forward
    return chain or (not says and any(True for _ in module.named_children()))


def _reach(
    module: Module, shape: Shape, axis: int, count: int, partly: bool
) -> list[np.ndarray | None]:
    """Return (units, pixels) of bool for each call, along an axis of the image, or None."""
    pixels = shape[axis]
    at_once = max(BATCH // max(math.prod(shape), 1), 1)
    found: list[np.ndarray | None] = [None] * count
    for draw in range(DRAWS if max(shape[1:]) <= SMALL + LARGER else 1):
        x, other = _draw(shape, 10 + draw), _draw(shape, 20 + draw)
        for begin in range(0, pixels, at_once):
            some = range(begin, min(begin + at_once, pixels))
            batch = np.repeat(x[None], len(some) + 1, axis=0)
            for i, p in enumerate(some, start=1):
                at = (slice(None),) * axis + (p,)
                batch[i][at] = (1 + 4 * draw) * other[at]
            for k, (_, _, y, _) in enumerate(_record(module, batch, partly)):
                if len(y) != len(batch):
                    continue
                seen: np.ndarray = _differ(y, y.dtype)
                if y.ndim == 4:
                    seen = np.any(seen, axis=tuple(a for a in (1, 2, 3) if a != axis + 1))
                else:
                    seen = np.any(seen.reshape(len(some), -1), axis=1, keepdims=True)
                if found[k] is None:
                    found[k] = np.zeros((seen.shape[1], pixels), bool)
                found[k][:, some] |= seen.T  # type: ignore[index]
    return found


def _differ(y: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return where the outputs differ from the output of the first image."""
    with np.errstate(all="ignore"):
        least = (1e-10 if dtype == np.float64 else 1e-5) * np.abs(y[:1]).max(initial=1e-30)
        return np.abs(y[1:] - y[:1]) > least
