"""The contract of forward and backward, beside the numbers.

Nothing that is given is written to. A cache serves twice, and belongs to its own forward: another
one may come between. Parameters' gradients are added to. The dtype that comes in goes out. The same
call gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicnn.testing import causes
from minicnn.testing.check import Check, Stop
from minicnn.testing.subjects import Arrays, LayerSubject


def inspect(check: Check, dtypes: Sequence[np.dtype]) -> None:
    """Run forward and backward in float64, set y, dy and gradients, and hold them to the contract.

    Raises Stop where something is wrong.
    """
    subject = check.subject
    given = check.fresh(check.arrays)
    before = _bits(given)
    with check.catching("forward"):
        subject.begin()
        check.y, cache = subject.forward(given)
    _written(check, "forward", given, before)
    if check.y.dtype.kind != "f":
        check.fault("forward", f"y is {check.y.dtype}, no array of floats", stop=True)
    check.dy = _upstream(check)
    check.cache_shares_y = causes.shares_memory(cache, check.y)
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
    _written(check, "backward", given, before)
    _shapes(check)
    with check.catching("backward"):
        again = subject.backward(check.dy.copy(), cache)
    text = "a second backward with the same cache gives another gradient"
    _same(check, again, text, causes.CACHE_USED_UP)
    if isinstance(subject, LayerSubject):
        for name, adds in subject.adds(check.dy.copy(), cache):
            if not adds:
                check.fault(name, "backward overwrites grad", causes.OVERWRITES)
    if not np.array_equal(check.value(check.arrays), check.y, equal_nan=True):
        text = "the same call gives another y the second time"
        check.fault("forward", text, causes.RANDOM, stop=True)
    _belongs(check)
    for dtype in dtypes:
        _keeps(check, dtype)
    if not check.report.ok:
        raise Stop


def _upstream(check: Check) -> np.ndarray:
    """Return a random dy, none of it close to 0, where it would hide much."""
    dy = np.round(16 * check.rng.standard_normal(check.y.shape)) / 16
    return np.asarray(dy + np.copysign(1.0, dy))


def _bits(arrays: Arrays) -> list[bytes]:
    return [b"" if a is None else a.tobytes() for a in arrays]


def _written(check: Check, by: str, arrays: Arrays, before: list[bytes]) -> None:
    for name, now, then in zip(check.subject.names, _bits(arrays), before, strict=True):
        if name not in check.updates and now != then:
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


def _same(check: Check, gradients: Arrays, text: str, cause: str) -> None:
    for name, expected, got in zip(check.subject.names, check.gradients, gradients, strict=True):
        if expected is not None and (
            got is None or not np.allclose(got, expected, rtol=1e-9, atol=1e-12, equal_nan=True)
        ):
            check.fault(name, text, cause)


def _belongs(check: Check) -> None:
    """Let a forward of other arrays come between a forward and its backward."""
    subject = check.subject
    others = tuple(
        np.roll(a[::-1], 1) + 0.25
        if i < subject.inputs and a is not None and a.dtype.kind == "f" and a.ndim
        else a
        for i, a in enumerate(check.arrays)
    )
    with check.catching("forward"):
        subject.begin()
        _, cache = subject.forward(check.fresh(check.arrays))
        subject.forward(check.fresh(others))
    with check.catching("backward"):
        gradients = subject.backward(check.dy.copy(), cache)
    text = "backward gives another gradient if another forward came between"
    _same(check, gradients, text, causes.STALE)


def _keeps(check: Check, dtype: np.dtype) -> None:
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
