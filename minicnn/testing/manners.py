"""The manners of forward and backward, besides the numbers. They count only if strict.

Arguments are not written to (``passes`` checks this). A cache can be used twice. It belongs to its
own forward, even if another forward runs in between. Backward does not depend on the memory order
of dy. It adds to the gradients of parameters, and these do not depend on whether dx is needed. The
dtype stays, and float32 computes the same as float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.objects import said
from minicnn.testing import causes
from minicnn.testing.check import Check, wide
from minicnn.testing.conventions import Arrays, LayerSubject
from minicnn.testing.derivatives import DOUBLE


def inspect(check: Check, dtypes: Sequence[np.dtype]) -> None:
    """Check forward and backward against the contract; all findings are manners."""
    subject = check.subject
    for look in (_serves_twice, _any_memory, _belongs):
        try:
            look(check)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = f"it raised {said(error)}"
            check.fault(f"backward, {look.__name__.strip('_').replace('_', ' ')}", text,
                        manners=True)  # fmt: skip
    if isinstance(subject, LayerSubject):
        with check.catching("backward(..., input_grad=False)"):
            _parameters(check, subject)
    if check.precision is DOUBLE:
        for dtype in dtypes:
            _keeps(check, dtype)
    elif np.dtype(np.float64) in dtypes and check.dtype == np.float64:
        text = "y is float32 where the arguments are float64"
        check.fault("forward", text, causes.DTYPE, manners=True)


def _serves_twice(check: Check) -> None:
    """Use one cache for two backward passes, the second one with another dy."""
    _, cache = check.run()
    check.backward(check.dy.copy(), cache)
    again = check.backward(check.dy.copy(), cache)
    text = "a second backward with the same cache gives another gradient"
    if not _same(check, again, text, causes.CACHE_USED_UP) or not check.subject.takes_dy:
        return
    other = check.backward(np.asarray(-2 * check.dy), cache)
    if not check.ignores_upstream and not check.report.faults:
        halves = tuple(None if g is None else g / -2 for g in other)
        _same(check, halves, "a second backward, of another dy, gives another gradient",
              causes.MEMOISED)  # fmt: skip


def _any_memory(check: Check) -> None:
    """Pass dy in the other memory order."""
    if check.dy.ndim < 2 or not check.subject.takes_dy:
        return
    _, cache = check.run()
    dy = np.array(check.dy.astype(check.y_dtype), order="F")
    text = "the gradient depends on the order in which dy lies in memory"
    _same(check, check.backward(dy, cache), text, causes.MEMORY_ORDER)


def _same(check: Check, gradients: Arrays, text: str, cause: str) -> bool:
    """Report gradients that differ from those of the first backward."""
    same = True
    loose = 1e-9 if check.precision is DOUBLE else 1e-4
    for name, expected, got in zip(check.subject.names, check.gradients, gradients, strict=True):
        if expected is not None and name not in check.misshaped and (
            got is None or got.shape != expected.shape
            or not np.allclose(got, expected, rtol=loose, atol=loose / 1e3, equal_nan=True)
        ):  # fmt: skip
            check.fault(name, text, cause, manners=True)
            same = False
    return same


def _parameters(check: Check, subject: LayerSubject) -> None:
    _, cache = check.run()
    for name, adds in subject.adds(check.dy.copy(), cache):
        if not adds:
            check.fault(name, "backward overwrites grad", causes.OVERWRITES, manners=True)
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
    """Run a forward of other arrays between a forward and its backward."""
    subject = check.subject
    others = tuple(
        np.flip(a).copy() if i < subject.inputs and a is not None and a.dtype.kind == "f" else a
        for i, a in enumerate(check.arrays)
    )
    y, cache = check.run()
    before = y.copy()
    try:
        subject.forward(check.fresh(others))
    except KeyboardInterrupt:
        raise
    except BaseException:  # values in another order may not be allowed
        return
    if not np.array_equal(before, y, equal_nan=True):
        text = "another forward changes the y of the one before"
        check.fault("forward", text, causes.STALE, manners=True)
    gradients = check.backward(check.dy.copy(), cache)
    text = "backward gives another gradient if another forward came between"
    _same(check, gradients, text, causes.STALE)


def _keeps(check: Check, dtype: np.dtype) -> None:
    """Run in ``dtype``: the dtype must stay, and the results must be about the same."""
    if not any(a is not None and a.dtype.kind == "f" for a in check.arrays):
        return
    arrays = tuple(
        a.astype(dtype) if a is not None and a.dtype.kind == "f" else a for a in check.arrays
    )
    try:
        check.subject.begin()
        y, cache = check.subject.forward(check.fresh(arrays))
        y = y.copy()
        gradients = check.subject.backward(check.dy.astype(y.dtype), cache)
        gradients = tuple(None if g is None else np.array(g) for g in gradients)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        text = f"it raised {said(error)}"
        check.fault(f"in {dtype}", text, manners=True)
        return
    finally:
        check.subject.begin()
    if y.dtype != dtype:
        text = f"y is {y.dtype} where the arguments are {dtype}"
        check.fault("forward", text, causes.DTYPE, manners=True)
    else:
        for name, gradient in zip(check.subject.names, gradients, strict=True):
            if gradient is not None and gradient.dtype != dtype:
                text = f"the gradient is {gradient.dtype} where the arguments are {dtype}"
                check.fault(name, text, causes.DTYPE, manners=True)
    if dtype != np.float64 and y.dtype == dtype:
        _is_about_the_same(check, arrays, y, gradients)


def _is_about_the_same(check: Check, arrays: Arrays, y: np.ndarray, gradients: Arrays) -> None:
    """Compare with float64 on the same numbers, and on numbers a little off.

    The effect of rounding on a result is estimated by the effect of a small change of the numbers.
    """
    exact_arrays = tuple(wide(a) if a is not None and a.dtype.kind == "f" else a for a in arrays)
    off = tuple(
        np.asarray(a * (1 + 1e-6 * check.rng.uniform(-1, 1, a.shape)))
        if a is not None and a.dtype.kind == "f" else a
        for a in exact_arrays
    )  # fmt: skip
    passes: list[tuple[Any, ...]] = []
    with check.catching("in float64"):
        for now in (exact_arrays, off):
            check.subject.begin()
            value, cache = check.subject.forward(check.fresh(now))
            value = value.copy()
            found = check.subject.backward(check.dy.astype(y.dtype).astype(np.float64), cache)
            passes.append((value, *[None if g is None else np.array(g) for g in found]))
    with check.catching(f"in {y.dtype}"):  # the difference that rounding alone may cause
        check.subject.begin()
        near = tuple(a.astype(y.dtype) if a is not None and a.dtype.kind == "f" else a for a in off)
        value, cache = check.subject.forward(check.fresh(near))
        found = check.subject.backward(check.dy.astype(y.dtype), cache)
        passes.append((value.copy(), *[None if g is None else np.array(g) for g in found]))
    names = ("y", *(f"the gradient of {name}" for name in check.subject.names))
    for name, narrow, exact, moved, beside in zip(names, (y, *gradients), *passes, strict=True):
        if (
            narrow is None
            or exact is None
            or moved is None
            or beside is None
            or not np.isfinite(exact).all()
        ):
            continue
        size = np.abs(exact).max(initial=0)
        with np.errstate(all="ignore"):
            rounded = np.nan_to_num(np.abs(narrow - beside), nan=0, posinf=0).max(initial=0)
        allowed = 1e-3 * size + 100 * np.abs(moved - exact).max(initial=0) + 8 * rounded + 1e-5
        if size < np.finfo(y.dtype).max / 1e3 and not np.allclose(
            narrow, exact, rtol=0, atol=allowed
        ):
            what = "forward" if name == "y" else "backward"
            text = f"{name} in {y.dtype} is not what it is in float64"
            check.fault(what, text, causes.NARROW, manners=True)
