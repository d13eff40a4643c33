"""Valid calls of every operation: its arrays, and its options by name.

A strategy has the name of its operation. Names and arguments are torch.nn.functional's, so that
what is drawn also calls torch, or an operation of your own with the same arguments.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minicnn import fused, ops
from minicnn.testing.strategies import geometry as geo
from minicnn.testing.strategies.arrays import (
    FINITE,
    KINDS,
    NOT_FINITE,
    Fill,
    Values,
    fills,
)
from minicnn.testing.strategies.geometry import SMALL, Sizes


class Call:
    """One call of an operation: arrays first, then options by name.

    Attributes
        arrays          what forward takes by position; None for an optional array not given
        options         what it takes by name
        differentiable  of how many of the arrays backward returns gradients
        fill            what the arrays were filled with
        updates         arrays that forward writes to on purpose: name and position
    """

    def __init__(
        self,
        name: str,
        fill: Fill,
        arrays: tuple[np.ndarray | None, ...],
        options: dict[str, Any],
        differentiable: int = 1,
        updates: Mapping[str, int] | None = None,
    ) -> None:
        self.name, self.fill = name, fill
        self.op = getattr(ops if hasattr(ops, name) else fused, name)
        self.arrays, self.options, self.differentiable = arrays, options, differentiable
        self.updates = updates or {}

    def __repr__(self) -> str:
        arrays = ["None" if a is None else f"{a.dtype}{list(a.shape)}" for a in self.arrays]
        options = [f"{name}={value!r}" for name, value in self.options.items()]
        return f"{self.name}({', '.join(arrays + options)}) of {self.fill}"

    @property
    def dtype(self) -> np.dtype:
        x = self.arrays[0]
        assert x is not None
        return x.dtype

    def forward(self, impl: str) -> tuple[np.ndarray, Any]:
        """Return ``(y, cache)``; nothing of the call changes, so that it can be run again."""
        options = copy.deepcopy(self.options)  # a generator would go on
        arrays = list(self.arrays)
        for i in self.updates.values():
            array = arrays[i]
            arrays[i] = None if array is None else array.copy()
        return self.op.forward(*arrays, **options, impl=impl)

    def backward(self, dy: np.ndarray, cache: Any, impl: str) -> tuple[np.ndarray | None, ...]:
        """Return the gradients, always as a tuple."""
        gradients = self.op.backward(dy, cache, impl=impl)
        return gradients if isinstance(gradients, tuple) else (gradients,)


WITH_NAN: Values = fills((*KINDS[:3], *NOT_FINITE))
Strategy = Callable[..., st.SearchStrategy[Call]]  # takes sizes and values


# -------------------------------------------------------------------------------- with windows


@st.composite
def conv2d(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE) -> Call:
    drawn, fill = draw(geo.convolutions(sizes)), draw(values)
    geo.note(drawn)
    x, weight = fill(*drawn.x_shape), fill(*drawn.weight_shape)
    bias = fill(weight.shape[0]) if drawn.bias else None
    options = drawn.geometry.options("stride", "padding", "dilation")
    return Call("conv2d", fill, (x, weight, bias), options | {"groups": drawn.groups}, 3)


@st.composite
def unfold(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE) -> Call:
    drawn, fill = draw(geo.conv_geometries(sizes, named=False)), draw(values)
    geo.note(drawn)
    x = fill(draw(sizes.batches), draw(st.integers(1, 4)), *drawn.image)
    options = drawn.options("kernel_size", "dilation", "padding", "stride")
    return Call("unfold", fill, (x,), options)


@st.composite
def fold(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE) -> Call:
    drawn, fill = draw(geo.conv_geometries(sizes, named=False)), draw(values)
    geo.note(drawn)
    taps = drawn.high.kernel * drawn.wide.kernel
    windows = drawn.windows[0] * drawn.windows[1]
    x = fill(draw(sizes.batches), draw(st.integers(1, 4)) * taps, windows)
    options = drawn.options("kernel_size", "dilation", "padding", "stride")
    return Call("fold", fill, (x,), {"output_size": drawn.image} | options)


@st.composite
def max_pool2d(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = WITH_NAN) -> Call:
    drawn = draw(geo.pool_geometries(sizes, dilated=True))
    fill = draw(values)
    geo.note(drawn)
    x = fill(draw(sizes.batches), draw(sizes.channels), *drawn.image)
    options = drawn.pool_options("kernel_size", "stride", "padding", "dilation")
    return Call("max_pool2d", fill, (x,), options | {"ceil_mode": draw(st.booleans())})


@st.composite
def avg_pool2d(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE) -> Call:
    drawn, fill = draw(geo.pool_geometries(sizes)), draw(values)
    geo.note(drawn)
    x = fill(draw(sizes.batches), draw(sizes.channels), *drawn.image)
    options = drawn.pool_options("kernel_size", "stride", "padding") | {
        "ceil_mode": draw(st.booleans()),
        "count_include_pad": draw(st.booleans()),
        "divisor_override": draw(st.none() | st.integers(1, 9)),
    }
    return Call("avg_pool2d", fill, (x,), options)


@st.composite
def adaptive_avg_pool2d(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE) -> Call:
    fill, sides = draw(values), st.integers(1, 9)
    x = fill(draw(sizes.batches), draw(sizes.channels), draw(sides), draw(sides))
    kept = st.none() | sides
    size = draw(sides | st.tuples(kept, kept))
    return Call("adaptive_avg_pool2d", fill, (x,), {"output_size": size})


# ----------------------------------------------------------------------------- with features


@st.composite
def linear(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE) -> Call:
    fill, features = draw(values), sizes.features
    batch = draw(st.lists(st.integers(1, 4), max_size=3))
    inward, outward = draw(features), draw(features)
    bias = fill(outward) if draw(st.booleans()) else None
    return Call("linear", fill, (fill(*batch, inward), fill(outward, inward), bias), {}, 3)


shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def _elementwise(name: str, options: st.SearchStrategy[dict]) -> Strategy:
    @st.composite
    def call(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE) -> Call:
        fill = draw(values)
        return Call(name, fill, (fill(*draw(shapes)),), draw(options))

    return call


def _along_one_axis(name: str) -> Strategy:
    @st.composite
    def call(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE) -> Call:
        fill, shape = draw(values), draw(shapes)
        dim = draw(st.integers(-len(shape), len(shape) - 1))
        return Call(name, fill, (fill(*shape),), {"dim": dim})

    return call


relu = _elementwise("relu", st.just({}))
sigmoid = _elementwise("sigmoid", st.just({}))
tanh = _elementwise("tanh", st.just({}))
leaky_relu = _elementwise(
    "leaky_relu",
    st.fixed_dictionaries({"negative_slope": st.sampled_from([0.01, 0.0, 0.5, 1.0, -0.3])}),
)
softmax = _along_one_axis("softmax")
log_softmax = _along_one_axis("log_softmax")


@st.composite
def dropout(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE) -> Call:
    fill = draw(values)
    options: dict[str, Any] = {"p": draw(st.sampled_from([0.5, 0.0, 0.1, 0.9, 1.0]))}
    options["training"] = True
    options["rng"] = np.random.default_rng(fill.seed)
    return Call("dropout", fill, (fill(*draw(shapes)),), options)


# ------------------------------------------------------------------------------ normalisation


@st.composite
def batch_norm(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE) -> Call:
    """Draw x with two values of each channel or more; in inference there are running arrays."""
    fill, training = draw(values), draw(st.booleans())
    n, c = draw(sizes.batches), draw(sizes.channels)
    rest = draw(st.lists(st.integers(1, 4), max_size=3))
    if n == 1 and np.prod(rest) == 1:
        n = 2
    weight, bias = (fill(c) if draw(st.booleans()) else None for _ in range(2))
    mean = var = None
    if not training or draw(st.booleans()):
        mean, var = fill(c), fill.lay(fill.rng.uniform(0.1, 2, c).astype(fill.dtype))
        if training:  # they are written to
            mean, var = mean.copy(), var.copy()
    options = {
        "training": training,
        "momentum": draw(st.sampled_from([0.1, 0.0, 0.7, 1.0])),
        "eps": draw(st.sampled_from([1e-5, 1e-3, 0.1])),
    }
    updates = {"running_mean": 3, "running_var": 4}
    arrays = (fill(n, c, *rest), weight, bias, mean, var)
    return Call("batch_norm", fill, arrays, options, 3, updates)


@st.composite
def local_response_norm(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE) -> Call:
    fill = draw(values)
    rest = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    options = {
        "size": draw(st.integers(1, 7)),
        "alpha": draw(st.sampled_from([1e-4, 0.0, 0.5])),
        "beta": draw(st.sampled_from([0.75, 0.5, 1.0])),
        "k": draw(st.sampled_from([1.0, 2.0])),
    }
    x = fill(draw(sizes.batches), draw(sizes.channels), *rest)
    return Call("local_response_norm", fill, (x,), options)


# ------------------------------------------------------------------------------------- losses


def class_targets(
    draw: st.DrawFn, rng: np.random.Generator, shape: tuple[int, ...], classes: int, reduction: str
) -> tuple[np.ndarray, int]:
    """Draw targets and ignore_index: a number that is no class, or one that is.

    Of a mean, one target counts at least: that of nothing is NaN.
    """
    ignore_index = draw(st.sampled_from([-100, 255, 0, classes - 1]))
    target = rng.integers(0, classes, shape)
    ignored = draw(st.sampled_from(["as they fall", "some", "all"]))
    if ignored == "some":
        target[rng.random(shape) < 0.4] = ignore_index
    elif ignored == "all":
        target[...] = ignore_index
    if reduction == "mean" and (target == ignore_index).all():
        if classes == 1:
            return np.zeros(shape, np.int64), -100
        target.reshape(-1)[0] = (ignore_index + 1) % classes
    return target, ignore_index


@st.composite
def weights_of_classes(draw: st.DrawFn, rng: np.random.Generator, classes: int, reduction: str):
    """Draw None or weights; some are 0 unless they could add up to nothing to divide by."""
    kind = draw(st.sampled_from(["none", "positive", "some zero"]))
    weights = rng.uniform(0.1, 2, classes)
    if kind == "some zero" and reduction != "mean":
        weights[rng.random(classes) < 0.4] = 0
    return None if kind == "none" else weights


reductions = st.sampled_from(["mean", "sum", "none"])


@st.composite
def _loss(
    draw: st.DrawFn, name: str, sizes: Sizes, values: Values, probabilities: bool = False
) -> Call:
    fill, reduction = draw(values), draw(reductions)
    n, classes = draw(sizes.batches), draw(st.one_of(sizes.features, st.just(17)))
    spatial = draw(st.lists(st.integers(1, 3), max_size=2))
    x = fill(n, classes, *spatial)
    weight = draw(weights_of_classes(fill.rng, classes, reduction))
    options: dict[str, Any] = {"reduction": reduction}
    if probabilities:
        target = fill.lay(fill.rng.uniform(0, 1, x.shape).astype(fill.dtype))
    else:
        target, options["ignore_index"] = class_targets(
            draw, fill.rng, (n, *spatial), classes, reduction
        )
    if name == "cross_entropy":
        options["label_smoothing"] = draw(st.sampled_from([0.0, 0.1, 0.7, 1.0]))
    arrays = (x, target, None if weight is None else fill.lay(weight.astype(fill.dtype)))
    return Call(name, fill, arrays, options)


def nll_loss(sizes: Sizes = SMALL, values: Values = FINITE) -> st.SearchStrategy[Call]:
    return _loss("nll_loss", sizes, values)


def cross_entropy(sizes: Sizes = SMALL, values: Values = FINITE) -> st.SearchStrategy[Call]:
    """Draw a call with targets of classes, or of probabilities."""
    return st.booleans().flatmap(lambda p: _loss("cross_entropy", sizes, values, probabilities=p))


# ------------------------------------------------------------------------------------ all of them

OPERATIONS: dict[str, Strategy] = {
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "avg_pool2d": avg_pool2d,
    "batch_norm": batch_norm,
    "conv2d": conv2d,
    "cross_entropy": cross_entropy,
    "dropout": dropout,
    "fold": fold,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "local_response_norm": local_response_norm,
    "log_softmax": log_softmax,
    "max_pool2d": max_pool2d,
    "nll_loss": nll_loss,
    "relu": relu,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "tanh": tanh,
    "unfold": unfold,
}
