"""The first pass of a check: y, dy and gradients, and faults that show at once.

The rest of a check asks whether the numbers are right. Some faults make this question meaningless,
and the check stops here: forward raises an error, y is not an array of floats, or y differs each
time. A gradient of the wrong shape is reported, and the other gradients are still checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.testing import causes
from minicnn.testing.check import Check, wide
from minicnn.testing.conventions import Arrays
from minicnn.testing.derivatives import DOUBLE, SINGLE


def first(check: Check) -> Any:
    """Run forward and backward, set y, dy and gradients; return the cache.

    Raises Stop if nothing can be compared.
    """
    given = _forward_may_write(check)
    with check.catching("forward", begins=True):
        y, cache = check.run(given)
    if y.dtype.kind != "f":
        check.fault("forward", f"y is {y.dtype}, no array of floats", stop=True)
    if y.dtype.itemsize < 4:
        check.report.checked = False
        check.fault("forward", f"y is {y.dtype}, too coarse for differences", stop=True)
    check.y = wide(y).copy()
    if not np.array_equal(check.value(check.arrays), check.y, equal_nan=True):
        check.report.checked = False
        text = "the same call gives another y the second time"
        check.fault("forward", text, causes.RANDOM, stop=True)
    if check.given:
        _find_precision(check, y)
    check.dy = _upstream(check) if check.subject.takes_dy else np.ones(check.y.shape)
    with check.catching("backward"):
        gradients = _backward_may_write(check)
    check.gradients = gradients
    check.misshaped = set()
    if not check.subject.takes_dy:
        check.dy = np.ones(check.y.shape)
        _sum_or_mean(check)
    elif check.y.size == 1:
        _ignores_upstream(check)
    _shapes(check)
    _find_narrow_gradients(check)
    return cache


def _forward_may_write(check: Check) -> Arrays:
    """Run forward once on copies, and report if it writes to them; then protect the arrays."""
    copies = tuple(None if a is None else np.array(a, order="K") for a in check.arrays)
    with check.catching("forward", begins=True):
        check.subject.begin()
        check.subject.forward(copies)
    written = _different(check, copies)
    for name in written:
        check.fault("forward", f"{name} was written to", causes.INPUT_WRITTEN, manners=True)
    check.protected = bool(written)
    return check.arrays


def _backward_may_write(check: Check) -> Arrays:
    copies = tuple(None if a is None else np.array(a, order="K") for a in check.arrays)
    check.subject.begin()
    y, cache = check.subject.forward(copies)
    forwards, before = [None if a is None else a.copy() for a in copies], y.copy()
    dy = check.dy.astype(check.y_dtype)
    gradients = check.subject.backward(dy, cache)
    found = tuple(None if g is None else np.array(g) for g in gradients)
    if not np.array_equal(dy, check.dy.astype(check.y_dtype)):
        check.fault("backward", "dy was written to", causes.UPSTREAM_WRITTEN, manners=True)
    if not np.array_equal(y, before, equal_nan=True):
        text = "y was written to, which others may still need"
        check.fault("backward", text, manners=True)
    for name, now, then in zip(check.subject.names, copies, forwards, strict=True):
        if now is not None and then is not None and now.tobytes() != then.tobytes():
            check.fault("backward", f"{name} was written to", causes.INPUT_WRITTEN, manners=True)
            check.protected = True
    return found


def _different(check: Check, copies: Arrays) -> list[str]:
    return [
        name
        for name, now, then in zip(check.subject.names, copies, check.arrays, strict=True)
        if name not in check.updates and now is not None and then is not None
        and now.tobytes() != then.tobytes()
    ]  # fmt: skip


def _find_precision(check: Check, y: np.ndarray) -> None:
    """Find out whether forward computes in float32 although its arguments are float64."""
    narrow = y.dtype == np.float32
    if not narrow and y.size and np.isfinite(check.y).all():
        narrow = _stands_still(check)
    if narrow:
        check.precision = SINGLE
        check.report.precision = "float32"


def _stands_still(check: Check) -> bool:
    """Return whether y ignores a change that float64 can hold and float32 cannot.

    A larger change, which both can hold, shows how far y should move. If y hardly moves then, as
    for tanh of 100, nothing can be concluded.
    """
    larger, tiny = _change(check, 2.0**-17), _change(check, 2.0**-34)
    if larger is None or tiny is None:
        return False
    expected = np.abs(larger) * 2.0**-17
    telling = expected > 64 * DOUBLE.eps * np.abs(check.y)
    return bool(2 * telling.sum() > check.y.size and not tiny[telling].any())


def _change(check: Check, amount: float) -> np.ndarray | None:
    """Return how y changes when all floats become a little larger."""
    moved = tuple(
        np.asarray(a * (1 + amount), a.dtype) if a is not None and a.dtype.kind == "f" else a
        for a in check.arrays
    )
    try:
        return check.value(moved) - check.y
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None


def _upstream(check: Check) -> np.ndarray:
    """Return a random dy without numbers close to 0, which would hide much."""
    dy = np.round(16 * check.rng.standard_normal(check.y.shape)) / 16
    return np.asarray(dy + np.copysign(1.0, dy))


def _ignores_upstream(check: Check) -> None:
    """A loss may ignore dy: this is right if the loss comes last, and is reported as manners."""
    with check.catching("backward"):
        one = check.answer(np.ones(check.y.shape))
        two = check.answer(np.full(check.y.shape, 2.0))
    pairs = [(a, b) for a, b in zip(one, two, strict=True) if a is not None and b is not None]
    if pairs and all(np.array_equal(a, b) for a, b in pairs) and any(a.any() for a, _ in pairs):
        check.ignores_upstream = True
        check.dy, check.gradients = np.ones(check.y.shape), one
        text = "dy is ignored: the gradient is that of dy = 1, whatever it is"
        check.fault("backward", text, causes.UPSTREAM_IGNORED, manners=True)


def _sum_or_mean(check: Check) -> None:
    """If backward takes no dy and y has one loss per sample: sum or mean?"""
    if check.y.size <= 1:
        return
    found = [i for i, g in enumerate(check.gradients) if g is not None and check.differentiable(i)]
    if not found or check.subject.names[found[0]] in check.misshaped:
        return
    i, step = found[0], check.precision.steps[0]
    gradient = check.gradients[i]
    assert gradient is not None
    v = np.asarray(check.rng.standard_normal(gradient.shape))
    along = check.along(i, v)
    slope = float((along(step) - along(-step)).sum() / (2 * step))
    ours = float((gradient * v).sum())
    if abs(slope / check.y.size - ours) < abs(slope - ours):
        check.dy = check.dy / check.y.size
        check.report.notes.append("backward takes no dy: taken for that of the mean of y.")


def _shapes(check: Check) -> None:
    subject, kept = check.subject, list(check.gradients)
    for i, (name, array, gradient) in enumerate(
        zip(subject.names, check.arrays, check.gradients, strict=True)
    ):
        if gradient is None:
            continue
        if array is None:
            check.fault("backward", f"a gradient of {name}, which was not given")
            kept[i] = None
        elif array.dtype.kind != "f":
            kept[i] = None  # a number beside a label: not needed
        elif gradient.dtype.kind not in "f":
            check.misshaped.add(name)
            check.fault(name, f"the gradient is {gradient.dtype}, no array of floats")
        elif gradient.shape != array.shape:
            check.misshaped.add(name)
            text = f"the gradient has shape {gradient.shape} where {name} has {array.shape}"
            if name not in check.known:
                check.fault(name, text, causes.of_shape(check, i))
        else:
            kept[i] = wide(gradient)
            if gradient.dtype != check.y_dtype:
                text = f"the gradient is {gradient.dtype} where y is {check.y_dtype}"
                check.fault(name, text, causes.DTYPE, manners=True)
    check.gradients = tuple(kept)


def _find_narrow_gradients(check: Check) -> None:
    """Find gradients that backward rounds to float32, even if forward does not."""
    suspects = {
        name for name, g in zip(check.subject.names, check.gradients, strict=True)
        if g is not None and name not in check.misshaped and g.any() and _is_single(g)
    }  # fmt: skip
    if suspects and check.subject.takes_dy and check.y_dtype == np.float64:
        with check.catching("backward"):  # with numbers that float32 cannot hold
            again = check.answer(np.asarray(check.dy * (1 + 2.0**-29)))
        for name, g in zip(check.subject.names, again, strict=True):
            if g is not None and not _is_single(g):
                suspects.discard(name)
    check.narrow = suspects


def _is_single(gradient: np.ndarray) -> bool:
    """Return whether float32 can hold all numbers of a gradient."""
    with np.errstate(over="ignore"):
        return bool((gradient.astype(np.float32) == gradient).all())


def is_linear(check: Check) -> None:
    """Split dy in two, one part large and one with zeros: the gradients must add up.

    Gradients that are wrong already are left out; for them another cause is found.
    """
    if not check.subject.takes_dy or check.ignores_upstream:
        return
    known = {fault.what for fault in check.report.faults} | check.misshaped
    large = np.where(np.arange(check.dy.size) % 2, 0.0, 1000 * check.dy.ravel())
    large = np.asarray(large.reshape(check.dy.shape))
    with check.catching("backward, with a dy that has large numbers and zeros"):
        one, other = check.answer(large), check.answer(np.asarray(check.dy - large))
    slack = 1e-9 if check.precision is DOUBLE else 1e-4
    for name, whole, a, b in zip(check.subject.names, check.gradients, one, other, strict=True):
        if whole is None or a is None or b is None or not np.isfinite(whole).all():
            continue
        if name in known or a.shape != whole.shape or b.shape != whole.shape:
            continue
        size = max(np.abs(np.nan_to_num(a)).max(initial=0), np.abs(whole).max(initial=0))
        floor = 1e-4 * slack * np.abs(large).max(initial=0)
        loose = 1e-4 if a.dtype == np.float32 or b.dtype == np.float32 else slack
        if not np.allclose(a + b, whole, rtol=0, atol=loose * size + floor):
            ignored = np.array_equal(a, whole) and np.array_equal(b, whole)
            cause = causes.UPSTREAM_IGNORED if ignored else causes.NOT_LINEAR
            check.fault(name, "the gradient is not linear in dy", cause)
