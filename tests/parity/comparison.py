"""One configuration in minicnn and in torch: who accepts it, and how far apart the answers are.

What torch computes and differentiates on the CPU is legal. Legal calls are compared in float64 and
float32 with what torch answers in float64 to the same numbers: the value, the gradient of every
differentiable argument for a random upstream gradient, the winners of max pooling, the running
arrays of batch normalisation, and the dtype of all of them.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import torch

from minicnn.backend import IMPLS
from minicnn.testing.strategies import Call
from tests import oracle
from tests.parity.differences import difference
from tests.parity.enumeration import Case
from tests.parity.magnitudes import Arrays, magnitudes, named
from tests.parity.test_max_pool2d import places, torchs_places

DTYPES = (np.float64, np.float32)
TOLERANCE = {np.float64: 1e-10, np.float32: 2e-5}
OURS = (ValueError, TypeError)  # ShapeError is a ValueError
THEIRS = (RuntimeError, ValueError, TypeError, IndexError)


class Outcome(NamedTuple):
    verdict: str  # "compared", "rejected" by both sides, or "apart" on purpose
    errors: dict[tuple[type, str], float]  # of each dtype and implementation
    faults: list[str]  # disagreements, in words
    reason: str = ""  # why they part


# --------------------------------------------------------------------------------- torch's side


def accepted_by_torch(case: Case) -> bool:
    """Ask torch on the CPU: a target that is no class would end the process of a card."""
    call = case.call(np.float64)
    tensors = [None if a is None else torch.from_numpy(a.copy(order="C")) for a in call.arrays]
    for tensor in tensors[: call.differentiable]:
        if tensor is not None:
            tensor.requires_grad_()
    try:
        with oracle.quietly():
            y = oracle.function_of(call)(*tensors)
            y.backward(torch.ones_like(y))
    except THEIRS:
        return False
    return True


def ask_torch(call: Call) -> tuple[np.ndarray, Arrays]:
    """Return ``(dy, results)``, on the oracle's device."""
    function, given = oracle.function_of(call), []

    def remembered(*tensors: torch.Tensor) -> torch.Tensor:
        given.extend(tensors)
        return function(*tensors)

    y, dy, gradients = oracle.value_and_gradients(
        remembered, call.arrays, call.fill.upstream, call.differentiable
    )
    results = named(y, gradients)
    if call.name == "max_pool2d":
        results["winners"] = torchs_places(call.arrays[0], **call.options)
    if call.name == "batch_norm" and given[3] is not None:
        results["running_mean"], results["running_var"] = map(oracle.to_numpy, given[3:])
    return dy, results


def ask_minicnn(call: Call, dy: np.ndarray, impl: str) -> Arrays:
    y, cache = call.forward(impl)
    results = named(y, call.backward(dy, cache, impl))
    if call.name == "max_pool2d":
        results["winners"] = places(cache)
    if call.name == "batch_norm" and call.arrays[3] is not None:
        results["running_mean"], results["running_var"] = call.arrays[3:]
    return results


# ------------------------------------------------------------------------------------ comparison


def error(ours: np.ndarray, theirs: np.ndarray, magnitude: np.ndarray) -> float:
    """Return the greatest relative error; infinity if NaN or infinities stand elsewhere."""
    if ours.shape != theirs.shape:
        return np.inf
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(all="ignore"):
        relative = np.where(same, 0, np.abs(ours - theirs) / magnitude)
    return float(np.nan_to_num(relative, nan=np.inf, posinf=np.inf).max(initial=0))


def compare(case: Case) -> Outcome:
    """Ask both sides, in both dtypes and with both implementations."""
    apart = difference(case)
    if apart and apart.theirs is None:
        return Outcome("apart", {}, [], apart.reason)
    legal = accepted_by_torch(case)
    if apart and legal == apart.theirs:
        return Outcome("apart", {}, refusals(case, not apart.ours), apart.reason)
    if not legal:
        return Outcome("rejected", {}, refusals(case, True))
    return answers(case)


def refusals(case: Case, wanted: bool) -> list[str]:
    """Return the ways in which minicnn rejects the case although it should not, or accepts it."""
    faults = []
    for dtype, impl in product(DTYPES, IMPLS):
        way = f"{case} {dtype.__name__} {impl}"
        try:
            case.call(dtype).forward(impl)
        except Exception as problem:
            if not (wanted and isinstance(problem, OURS)):
                faults.append(f"{way}: rejected by minicnn with {problem!r}")
        else:
            if wanted:
                faults.append(f"{way}: accepted by minicnn alone")
    return faults


def answers(case: Case) -> Outcome:
    """Compare all results of a case that torch accepts."""
    errors, faults = {}, []
    for dtype in DTYPES:
        call = case.call(dtype)
        dy, expected = ask_torch(call)
        if dtype is DTYPES[0]:  # good enough for the numbers rounded
            sizes = magnitudes(call, dy, expected)
        for impl in IMPLS:
            way = f"{case} {dtype.__name__} {impl}"
            try:
                results = ask_minicnn(case.call(dtype), dy, impl)
            except Exception as problem:
                faults.append(f"{way}: rejected by minicnn with {problem!r}")
                continue
            errors[dtype, impl], found = apart_by(results, expected, sizes, dtype)
            faults += [f"{way}: {fault}" for fault in found]
    return Outcome("compared", errors, faults)


def apart_by(
    results: Arrays, expected: Arrays, sizes: Arrays, dtype: type
) -> tuple[float, list[str]]:
    """Return the greatest error of the results, and which of them are wrong."""
    greatest, faults = 0.0, []
    for name, theirs in expected.items():
        ours = results[name]
        if ours is None or theirs is None:
            if ours is not theirs:
                faults.append(f"{name} is None on one side only")
            continue
        if name == "winners":
            if not np.array_equal(ours, theirs):
                faults.append("other winners")
            continue
        if ours.dtype != dtype:
            faults.append(f"{name} is {ours.dtype}")
        wrong = error(ours, theirs, sizes[name])
        if wrong > TOLERANCE[dtype]:
            faults.append(f"{name} is wrong by {wrong:.1e}")
        greatest = max(greatest, wrong)
    return greatest, faults
