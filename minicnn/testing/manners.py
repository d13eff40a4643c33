"""The contract of forward and backward, beside the slopes.

Nothing that is given is written to. A cache serves twice, and belongs to its own forward: another
one may come between. Backward is linear in dy, whatever dy is and however it lies in memory.
Parameters' gradients are added to, and do not depend on whether dx is asked for. The dtype that
comes in goes out, and float32 computes the same as float64. The same call gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicnn.testing import causes
from minicnn.testing.check import Check, Stop
from minicnn.testing.subjects import Arrays, LayerSubject


def inspect(check: Check, dtypes: Sequence[np.dtype]) -> None:
    """Run forward and backward in float64, set y, dy and gradients, and hold them to the contract.

    Raises Stop where something is wrong that makes slopes meaningless.
    """
    subject = check.subject
    given = check.fresh(check.arrays)
    kept = [None if a is None else a.copy() for a in given]
    with check.catching("forward", begins=True):
        subject.begin()
        check.y, cache = subject.forward(given)
    _written(check, "forward", given, kept)
    if check.y.dtype.kind != "f":
        check.fault("forward", f"y is {check.y.dtype}, no array of floats", stop=True)
    check.dy = _upstream(check)
    check.cache = cache
    y, dy = check.y.copy(), check.dy.copy()
    with check.catching("backward"):
        gradients = subject.backward(check.dy, cache)
    check.gradients = tuple(None if g is None else np.array(g) for g in gradients)
    if not np.array_equal(dy, check.dy):
        check.dy = dy
        check.fault("backward", "dy was written to", causes.UPSTREAM_WRITTEN)
    if not np.array_equal(y, check.y, equal_nan=True):
        check.y = y
        check.fault("backward", "y was written to, which others may still need")
    _written(check, "backward", given, kept)
    _shapes(check)
    with check.catching("backward"):
        again = subject.backward(check.dy.copy(), cache)
    text = "a second backward with the same cache gives another gradient"
    if _same(check, again, text, causes.CACHE_USED_UP):
        _is_linear(check, cache)
    if isinstance(subject, LayerSubject):
        _parameters(check, subject, cache)
    if not np.array_equal(check.value(check.arrays), check.y, equal_nan=True):
        text = "the same call gives another y the second time"
        check.fault("forward", text, causes.RANDOM, stop=True)
    _belongs(check)
    stops = not check.report.ok
    for dtype in dtypes:
        _keeps(check, dtype)
    if stops:
        raise Stop


def _upstream(check: Check) -> np.ndarray:
    """Return a random dy, none of it close to 0, where it would hide much."""
    dy = np.round(16 * check.rng.standard_normal(check.y.shape)) / 16
    return np.asarray(dy + np.copysign(1.0, dy))


def _written(check: Check, by: str, arrays: Arrays, kept: Sequence[np.ndarray | None]) -> None:
    """Report an array that was written to, and put back what it held: it may be the caller's."""
    for name, now, then in zip(check.subject.names, arrays, kept, strict=True):
        if name in check.updates or now is None or then is None:
            continue
        if now.tobytes() != then.tobytes():
            now[...] = then
            check.fault(by, f"{name} was written to", causes.INPUT_WRITTEN, stop=True)


def _shapes(check: Check) -> None:
    subject = check.subject
    for i, (name, array, gradient) in enumerate(
        zip(subject.names, check.arrays, check.gradients, strict=True)
    ):
        if gradient is None:
            if i < subject.answered and array is not None and array.dtype.kind == "f":
                check.fault(name, "backward returns None where its gradient belongs")
        elif array is None:
            check.fault("backward", f"a gradient of {name}, which was not given")
        elif gradient.shape != array.shape:
            text = f"the gradient has shape {gradient.shape} where {name} has {array.shape}"
            check.fault(name, text, causes.of_shapes(gradient.shape, array.shape), stop=True)
        elif gradient.dtype != np.float64:
            check.fault(name, f"the gradient is {gradient.dtype}, not float64", causes.DTYPE)


def _same(check: Check, gradients: Arrays, text: str, cause: str) -> bool:
    """Report gradients that are not those of the first backward."""
    same = True
    for name, expected, got in zip(check.subject.names, check.gradients, gradients, strict=True):
        if expected is not None and (
            got is None or not np.allclose(got, expected, rtol=1e-9, atol=1e-12, equal_nan=True)
        ):
            check.fault(name, text, cause)
            same = False
    return same


def _is_linear(check: Check, cache: object) -> None:
    """Split dy in two, one part large and one with zeros, laid out otherwise: gradients add."""
    large = np.where(np.arange(check.dy.size) % 2, 0.0, 1000 * check.dy.ravel())
    large = np.array(large.reshape(check.dy.shape), order="F")
    with check.catching("backward"):
        one = check.subject.backward(large, cache)
        one = tuple(None if g is None else np.array(g) for g in one)
        other = check.subject.backward(np.asarray(check.dy - large), cache)
    for name, whole, a, b in zip(check.subject.names, check.gradients, one, other, strict=True):
        if whole is None or a is None or b is None or not np.isfinite(whole).all():
            continue
        size = max(np.abs(np.nan_to_num(a)).max(initial=0), np.abs(whole).max(initial=0))
        floor = 1e-13 * np.abs(large).max(initial=0)
        if not np.allclose(a + b, whole, rtol=0, atol=1e-9 * size + floor):
            ignored = np.array_equal(a, whole) and np.array_equal(b, whole)
            cause = causes.UPSTREAM_IGNORED if ignored else causes.NOT_LINEAR
            check.fault(name, "the gradient is not linear in dy", cause)


def _parameters(check: Check, subject: LayerSubject, cache: object) -> None:
    for name, adds in subject.adds(check.dy.copy(), cache):
        if not adds:
            check.fault(name, "backward overwrites grad", causes.OVERWRITES)
    with check.catching("backward(..., input_grad=False)"):
        spared = subject.spares_input(check.dy.copy(), cache)
    if spared is None:
        return
    params = slice(subject.inputs, None)
    for name, expected, got in zip(
        subject.names[params], check.gradients[params], spared, strict=True
    ):
        if expected is not None and (got is None or not np.allclose(got, expected, rtol=1e-9)):
            check.fault(name, "with input_grad=False the gradient is another one")


def _belongs(check: Check) -> None:
    """Let a forward of other arrays come between a forward and its backward."""
    subject = check.subject
    others = tuple(
        np.flip(a).copy() if i < subject.inputs and a is not None and a.dtype.kind == "f" else a
        for i, a in enumerate(check.arrays)
    )
    with check.catching("forward"):
        subject.begin()
        y, cache = subject.forward(check.fresh(check.arrays))
        before = y.copy()
    try:
        subject.forward(check.fresh(others))
    except Exception:  # values in another order need not be legal
        return
    if not np.array_equal(before, y, equal_nan=True):
        text = "another forward changes the y of the one before"
        check.fault("forward", text, causes.STALE)
    with check.catching("backward"):
        gradients = subject.backward(check.dy.copy(), cache)
    text = "backward gives another gradient if another forward came between"
    _same(check, gradients, text, causes.STALE)


def _keeps(check: Check, dtype: np.dtype) -> None:
    """Run in ``dtype``: it goes out as it came in, and what is computed is about the same."""
    if not any(a is not None and a.dtype.kind == "f" for a in check.arrays):
        return
    arrays = tuple(
        a.astype(dtype) if a is not None and a.dtype.kind == "f" else a for a in check.arrays
    )
    with check.catching(f"in {dtype}: forward"):
        check.subject.begin()
        y, cache = check.subject.forward(check.fresh(arrays))
    if y.dtype != dtype:
        text = f"y is {y.dtype} where the arguments are {dtype}"
        check.fault("forward", text, causes.DTYPE)
        return
    with check.catching(f"in {dtype}: backward"):
        gradients = check.subject.backward(check.dy.astype(dtype), cache)
    for name, gradient in zip(check.subject.names, gradients, strict=True):
        if gradient is not None and gradient.dtype != dtype:
            text = f"the gradient is {gradient.dtype} where the arguments are {dtype}"
            check.fault(name, text, causes.DTYPE)
    if dtype != np.float64:
        _is_about_the_same(check, arrays, y, gradients)


def _is_about_the_same(check: Check, arrays: Arrays, y: np.ndarray, gradients: Arrays) -> None:
    """Compare with float64 on the same numbers, and on numbers a little off.

    How far rounding moves a result is seen from how far a small change of the numbers moves it.
    """
    wide = tuple(
        a.astype(np.float64) if a is not None and a.dtype.kind == "f" else a for a in arrays
    )
    off = tuple(
        np.asarray(a * (1 + 1e-6 * check.rng.uniform(-1, 1, a.shape)))
        if a is not None and a.dtype.kind == "f" else a
        for a in wide
    )  # fmt: skip
    with check.catching("in float64"):
        passes = []
        for now in (wide, off):
            check.subject.begin()
            value, cache = check.subject.forward(check.fresh(now))
            value = value.copy()
            found = check.subject.backward(check.dy.astype(y.dtype).astype(np.float64), cache)
            passes.append((value, *[None if g is None else np.array(g) for g in found]))
    names = ("y", *(f"the gradient of {name}" for name in check.subject.names))
    for name, narrow, exact, moved in zip(names, (y, *gradients), *passes, strict=True):
        if narrow is None or exact is None or moved is None or not np.isfinite(exact).all():
            continue
        size = np.abs(exact).max(initial=0)
        allowed = 1e-3 * size + 100 * np.abs(moved - exact).max(initial=0) + 1e-5
        if np.abs(exact).max(initial=0) < np.finfo(y.dtype).max / 1e3 and not np.allclose(
            narrow, exact, rtol=0, atol=allowed
        ):
            what = "forward" if name == "y" else "backward"
            check.fault(what, f"{name} in {y.dtype} is not what it is in float64", causes.NARROW)
