"""What holds for every operation alike."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import types

import minicnn.fused
from minicnn import ShapeError, ops, windows
from minicnn.testing.strategies import CALLS, WIDE, Call
from tests.arrays import (
    assert_close,
    assert_threads_change_no_bit,
    compiled,
    impls,
    sizes_of_terms,
    untouched,
)

every_operation = pytest.mark.parametrize("name", sorted(CALLS))


def run(call: Call, impl: str) -> list[np.ndarray]:
    """Return y and the gradients that there are."""
    y, cache = call.forward(impl)
    dy = np.random.default_rng(call.fill.seed).standard_normal(y.shape).astype(y.dtype)
    return [y, *[g for g in call.backward(dy, cache, impl) if g is not None]]


def test_every_operation_is_drawn() -> None:
    fused = {path.stem for path in Path(minicnn.fused.__file__).parent.glob("*_relu*.py")}
    assert sorted(CALLS) == sorted({*ops.__all__, *fused})


@every_operation
@given(data=st.data())
def test_fast_equals_textbook(name: str, data: st.DataObject) -> None:
    call = data.draw(CALLS[name](WIDE))
    there = (True, *call.arrays)
    scales = [s for s, a in zip(sizes_of_terms(call), there, strict=False) if a is not None]
    for fast, textbook, scale in zip(run(call, "fast"), run(call, "textbook"), scales, strict=True):
        assert fast.dtype == textbook.dtype
        assert_close(fast, textbook, str(call), scale)


def kernels() -> list[ModuleType]:
    """Return the modules of the kernels' room."""
    return [m for name, m in sys.modules.items() if name.startswith("minicnn.kernels.")]


def modules_of(op: ModuleType) -> list[ModuleType]:
    """Return the file of an operation, or all those of its folder."""
    inside = [m for m in vars(op).values() if isinstance(m, ModuleType)]
    if op.__name__.startswith("minicnn.fused."):  # and those of the operations it is made of
        return [
            op,
            *(
                m
                for part in inside
                if part.__name__.startswith("minicnn.")
                for m in modules_of(part)
            ),
        ]
    return [op, *(m for m in inside if m.__name__.startswith(f"{op.__name__}."))]


class FastCode(Exception):
    """Raised in the place of it."""


@contextmanager
def fast_code_raises(op: ModuleType) -> Iterator[None]:
    """Have all that belongs to the fast implementation only raise FastCode."""

    def raising(*args: object) -> None:
        raise FastCode

    with pytest.MonkeyPatch.context() as patch:
        if op is ops.tanh:  # whose fast forward is NumPy's
            patch.setattr(np, "tanh", raising)
        for module in (*modules_of(op), *kernels(), windows):
            for name, value in list(vars(module).items()):
                if hasattr(value, "py_func") or name == "single_threaded_blas":
                    patch.setattr(module, name, raising)
        yield


@compiled
@every_operation
@given(data=st.data())
def test_the_implementation_asked_for_is_the_one_that_runs(name: str, data: st.DataObject) -> None:
    call = data.draw(CALLS[name](WIDE))
    with fast_code_raises(call.op):
        y, cache = call.forward("textbook")
        dy = call.fill.upstream(y.shape)
        call.backward(dy, cache, "textbook")
        if not y.size or call.options.get("p") == 0:
            return  # nothing to compute
        with pytest.raises(FastCode):
            call.forward("fast")
        with pytest.raises(FastCode):
            call.backward(dy, cache, "fast")


@impls
@every_operation
@given(data=st.data())
def test_a_cache_serves_more_than_once(name: str, impl: str, data: st.DataObject) -> None:
    call = data.draw(CALLS[name](WIDE))
    y, cache = call.forward(impl)
    dy = call.fill.upstream(y.shape)
    first = [g.copy() for g in call.backward(dy, cache, impl) if g is not None]
    with untouched(y):
        again = [g for g in call.backward(dy, cache, impl) if g is not None]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


@impls
@every_operation
@given(data=st.data())
def test_what_is_returned_may_be_written_to(name: str, impl: str, data: st.DataObject) -> None:
    call = data.draw(CALLS[name](WIDE))
    assert all(result.flags.writeable for result in run(call, impl))


@every_operation
@given(data=st.data())
def test_results_do_not_depend_on_the_number_of_threads(name: str, data: st.DataObject) -> None:
    call = data.draw(CALLS[name](WIDE))
    assert_threads_change_no_bit(lambda: run(call, "fast"))


@every_operation
@settings(max_examples=2)
@given(data=st.data())
def test_an_unknown_implementation_is_rejected(name: str, data: st.DataObject) -> None:
    choices = "fast, textbook, direct, winograd" if name.startswith("conv") else "fast, textbook"
    message = f"^{name}: impl must be one of {choices}, got 'slow'.$"
    call = data.draw(CALLS[name](WIDE))
    with pytest.raises(ValueError, match=message):
        call.forward("slow")
    y, cache = call.forward("textbook")
    with pytest.raises(ValueError, match=message):
        call.backward(y, cache, "slow")


@impls
@every_operation
@given(data=st.data())
def test_a_gradient_of_another_shape_is_rejected(name: str, impl: str, data: st.DataObject) -> None:
    call = data.draw(CALLS[name](WIDE))
    y, cache = call.forward(impl)
    for wrong in (np.zeros((*y.shape, 1), y.dtype), np.zeros((2, *y.shape), y.dtype)):
        with pytest.raises(ShapeError, match=f"^{name}: dy must have the shape"):
            call.backward(wrong, cache, impl)


# Which gradients belong to inputs, and which to parameters.
WITH_PARAMETERS = {
    "batch_norm": "ipp", "batch_norm_relu": "ippi", "conv2d": "ipp", "conv_relu_pool": "ipp",
    "linear": "ipp", "linear_relu": "ipp",
}  # fmt: skip


@impls
@pytest.mark.parametrize("name", WITH_PARAMETERS)
@given(data=st.data())
def test_a_gradient_not_asked_for_is_none(name: str, impl: str, data: st.DataObject) -> None:
    call = data.draw(CALLS[name](WIDE))
    y, cache = call.forward(impl)
    everything = call.op.backward(y, cache, impl=impl)
    for input_grad in (True, False):
        for param_grad in (True, False):
            some = call.op.backward(
                y, cache, input_grad=input_grad, param_grad=param_grad, impl=impl
            )
            for gradient, whole, kind in zip(some, everything, WITH_PARAMETERS[name], strict=True):
                wanted = input_grad if kind == "i" else param_grad
                assert (gradient is not None) == (wanted and whole is not None)
                if gradient is not None:
                    np.testing.assert_array_equal(gradient, whole)


def arrays_in(signature: Any) -> list[types.Array]:
    return [t for t in signature if isinstance(t, types.Array)]


@every_operation
@given(data=st.data())
def test_kernels_are_given_writeable_contiguous_arrays_only(name: str, data: st.DataObject) -> None:
    """To Numba, others are another type: a user would wait for the compiler again."""
    call = data.draw(CALLS[name](WIDE))
    run(call, "fast")
    for module in (*modules_of(call.op), *kernels()):
        for kernel in vars(module).values():
            for signature in getattr(kernel, "signatures", []):
                for array in arrays_in(signature):
                    assert array.mutable, f"{kernel.__name__}: {array}"
                    assert array.layout == "C", f"{kernel.__name__}: {array}"
