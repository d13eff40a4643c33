"""What a layer does, found by running it: for layers of the reader's own, which do not say.

Which units a pixel moves shows when it is changed: row by row of the image, then column by column,
each in an image of its own, all images in one batch beside the one that is left as it is. Three
such batches, of other numbers each, so that what a ReLU or a maximum hides in one is seen in
another; numbers are float64, so that rounding is far below what counts as a change. Parameters
that begin at zero, as the factor of a branch that is let in by learning, are given numbers.

On a small image several windows show the same units and pixels: those of a 3x3 kernel in steps of 2
on 3x3 pixels are those of a 2x2 kernel in steps of 1. Then a larger image is tried too.
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
BATCH = 2**22  # numbers of images, about, that run at once
SMALL = 64  # pixels: images up to this are tried larger, and seen in all draws
LARGER = 24  # pixels more; a multiple of the usual strides, so that padding falls alike


class Call(NamedTuple):
    """One run of a module within another; the last one is that of the other itself."""

    name: str  # its path there, "" for the module that was run
    module: Module
    input: Shape  # without the batch
    output: Shape
    handed_on: bool  # whether the output is the very array that the call before gave
    rows: np.ndarray | None  # (units, pixels) of bool; of vectors one row; None: not known
    columns: np.ndarray | None


def run(module: Module, x: np.ndarray) -> np.ndarray:
    """Return what ``module`` gives in inference; ShapeError says why it does not."""
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
        raise ShapeError(f"{kind}: its forward returns no pair (y, cache).")
    return result[0]


def output_shape(module: Module, shape: Shape) -> Shape:
    """Return the shape that an input of ``shape`` gives, both without the batch."""
    dtype = next((p.data.dtype for p in module.parameters()), np.dtype(np.float32))
    y = run(module, np.ones((3, *shape), dtype))  # of two, an array could be taken for a pair
    return y.shape[1:]


def multiply_adds(module: Module, shape: Shape) -> int:
    """Return the products of the modules within; raise Unknown where there may be others."""
    refuse_own_products(module)
    inside = calls(module, shape, reach=False)[:-1]
    return sum(call.module.multiply_adds(call.input) for call in inside)


def refuse_own_products(module: Module) -> None:
    """Raise Unknown where a module has a matrix or kernels of its own, not in a module within."""
    own = [value for value in vars(module).values() if isinstance(value, Param)]
    if any(param.data.ndim > 1 for param in own):
        raise Unknown(
            f"{type(module).__name__}: it is not known how many products it takes. Add to it "
            "multiply_adds(self, shape), which returns those of an image of ``shape``."
        )


def window(module: Module, shape: Shape) -> Window | None:
    """Return the window of one output, None for all; raise Unknown for what is no window."""
    found = windows(module, shape)[-1][1]
    if found == "unknown":
        raise Unknown(
            f"{type(module).__name__}: what it sees is no window, or several fit. Add to it "
            "window(self, shape), which returns (kernel, stride, dilation), a pair each; None for "
            "all of the image."
        )
    if found is None and keeps_places(module, shape):
        return (1, 1), (1, 1), (1, 1)
    return found


def windows(module: Module, shape: Shape) -> list[tuple[Call, Seen]]:
    """Return what runs within ``module``, as ``calls``, each with its window of the input.

    None for all of the input, "unknown" where it is no window, or where it cannot be told which.
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
    """Whether a call may have one of several windows."""
    reach = (call.rows, call.columns)
    return len(call.output) == 3 and any(r is not None and not determined(r) for r in reach)


def _window(call: Call, large: Call | None) -> Seen:
    """Return the window of a call, given the same call on a larger image where there is one."""
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
                side = wide  # else it goes with its image, as an adaptive pool
        if side is None:
            return None if view(call) is None else "unknown"
        sides.append(side)
    (kh, sh, dh, _), (kw, sw, dw, _) = sides
    return (kh, kw), (sh, sw), (dh, dw)


def view(call: Call) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (rows, columns) that a run of a module sees of the image, None for all or none."""
    if call.rows is None or call.columns is None or (call.rows.all() and call.columns.all()):
        return None
    return call.rows, call.columns


def calls(module: Module, shape: Shape, *, reach: bool = True, partly: bool = False) -> list[Call]:
    """Return what runs within ``module``, in this order, and at the end itself.

    Chains and modules of the reader's own are led through; what else is made of several counts as
    one. With ``reach`` it is found which rows and columns of the input each of them sees. With
    ``partly`` a run that fails is left out, with what would follow.
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
    """Whether each number of the output is made of the one in its place, in the order of both."""
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
    """Return (kernel, stride, dilation, padding before) of the window that sees as ``reach`` says.

    None where no window does, as for units that all see everything.
    """
    units, pixels = reach.shape
    counts = reach.sum(axis=1)
    k = int(counts.max(initial=0))
    if not k or (units > 1 and pixels > 1 and reach.all()):
        return None
    whole = int(counts.argmax())  # a unit whose window lies inside, if any does
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
    """Whether a window sees as ``reach`` says."""
    units, pixels = reach.shape
    at = np.arange(units)[:, None] * s - before + np.arange(k) * d
    return bool((np.any(at[:, :, None] == np.arange(pixels), axis=1) == reach).all())


def padding_of(reach: np.ndarray, k: int, s: int, d: int) -> int | None:
    """Return the padding with which a window sees as ``reach`` says, None where none does."""
    before = range((k - 1) * d + 1)
    return next((pad for pad in before if _shows(reach, k, s, d, pad)), None)


def determined(reach: np.ndarray) -> bool:
    """Whether at most one window sees as ``reach`` says.

    The kernel shows in a unit whose window ends within the image on both sides, the stride in two
    units whose windows begin, or end, there.
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
    """Return a copy in float64, without zeros among its parameters, which hide what is behind."""
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
    """Return (module, input, output, whether that was handed on) of each run."""
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
    """Write down the runs of what counts as one, as long as the ``with`` lasts."""
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
    """Whether what is inside is what counts: of chains, and of modules that do not say."""
    from minicnn.nn.sequential import Sequential

    says = type(module).output_shape is not Module.output_shape
    chain = isinstance(module, Sequential) and type(module).forward is Sequential.forward
    return chain or (not says and any(True for _ in module.named_children()))


def _reach(
    module: Module, shape: Shape, axis: int, count: int, partly: bool
) -> list[np.ndarray | None]:
    """Return of each call (units, pixels) of bool along an axis of the image, or None."""
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
    """Return where the outputs of all images but the first differ from that of the first."""
    with np.errstate(all="ignore"):
        least = (1e-10 if dtype == np.float64 else 1e-5) * np.abs(y[:1]).max(initial=1e-30)
        return np.abs(y[1:] - y[:1]) > least
