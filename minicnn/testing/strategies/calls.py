"""Valid calls of every operation: arrays, and options by name.

Every argument can be narrowed: ``conv2d(dilation=1, groups=1, square=True, padding=(0, 1))`` draws
calls with padding 0 or 1; see ``choices``. These calls are valid by construction, too.

A strategy has the name of its operation. Names and arguments are those of torch.nn.functional. So a
call can also be used for torch, or for your own operation with the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minicnn.testing.strategies import geometry as geo
from minicnn.testing.strategies.arrays import (
    FINITE,
    KINDS,
    NOT_FINITE,
    Values,
    fills,
)
from minicnn.testing.strategies.call import Call as Call
from minicnn.testing.strategies.geometry import ANY, SMALL, Narrowed, Sizes, choices

WITH_NAN: Values = fills((*KINDS[:3], *NOT_FINITE))
Strategy = Callable[..., st.SearchStrategy[Call]]  # takes sizes and values


# -------------------------------------------------------------------------------- with windows


@st.composite
def conv2d(
    draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE, *,
    kernel_size: Any = ANY, stride: Any = ANY, padding: Any = ANY,
    dilation: Any = ANY, square: bool = False,
    groups: Any = ANY, bias: Any = ANY,
) -> Call:  # fmt: skip
    narrowed = Narrowed(kernel_size, stride, padding, dilation, square)
    drawn = draw(geo.convolutions(sizes, True, narrowed, groups, bias))
    fill = draw(values)
    geo.note(drawn)
    x, weight = fill(*drawn.x_shape), fill(*drawn.weight_shape)
    b = fill(weight.shape[0]) if drawn.bias else None
    options = drawn.geometry.options("stride", "padding", "dilation")
    return Call("conv2d", fill, (x, weight, b), options | {"groups": drawn.groups}, 3)


@st.composite
def unfold(
    draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE, *,
    kernel_size: Any = ANY, stride: Any = ANY, padding: Any = ANY,
    dilation: Any = ANY, square: bool = False,
) -> Call:  # fmt: skip
    narrowed = Narrowed(kernel_size, stride, padding, dilation, square)
    drawn, fill = draw(geo.conv_geometries(sizes, False, narrowed)), draw(values)
    geo.note(drawn)
    x = fill(draw(sizes.batches), draw(st.integers(1, 4)), *drawn.image)
    options = drawn.options("kernel_size", "dilation", "padding", "stride")
    return Call("unfold", fill, (x,), options)


@st.composite
def fold(
    draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE, *,
    kernel_size: Any = ANY, stride: Any = ANY, padding: Any = ANY,
    dilation: Any = ANY, square: bool = False,
) -> Call:  # fmt: skip
    narrowed = Narrowed(kernel_size, stride, padding, dilation, square)
    drawn, fill = draw(geo.conv_geometries(sizes, False, narrowed)), draw(values)
    geo.note(drawn)
    taps = drawn.high.kernel * drawn.wide.kernel
    windows = drawn.windows[0] * drawn.windows[1]
    x = fill(draw(sizes.batches), draw(st.integers(1, 4)) * taps, windows)
    options = drawn.options("kernel_size", "dilation", "padding", "stride")
    return Call("fold", fill, (x,), {"output_size": drawn.image} | options)


@st.composite
def max_pool2d(
    draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = WITH_NAN, *,
    kernel_size: Any = ANY, stride: Any = ANY, padding: Any = ANY,
    dilation: Any = ANY, square: bool = False,
    ceil_mode: Any = ANY,
) -> Call:  # fmt: skip
    narrowed = Narrowed(kernel_size, stride, padding, dilation, square)
    drawn = draw(geo.pool_geometries(sizes, True, narrowed))
    fill = draw(values)
    geo.note(drawn)
    x = fill(draw(sizes.batches), draw(sizes.channels), *drawn.image)
    options = drawn.pool_options("kernel_size", "stride", "padding", "dilation")
    return Call(
        "max_pool2d", fill, (x,), options | {"ceil_mode": draw(choices(ceil_mode, st.booleans()))}
    )


@st.composite
def avg_pool2d(
    draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE, *,
    kernel_size: Any = ANY, stride: Any = ANY, padding: Any = ANY,
    square: bool = False, ceil_mode: Any = ANY, count_include_pad: Any = ANY,
    divisor_override: Any = ANY,
) -> Call:  # fmt: skip
    narrowed = Narrowed(kernel_size, stride, padding, 1, square)
    drawn, fill = draw(geo.pool_geometries(sizes, False, narrowed)), draw(values)
    geo.note(drawn)
    x = fill(draw(sizes.batches), draw(sizes.channels), *drawn.image)
    options = drawn.pool_options("kernel_size", "stride", "padding") | {
        "ceil_mode": draw(choices(ceil_mode, st.booleans())),
        "count_include_pad": draw(choices(count_include_pad, st.booleans())),
        "divisor_override": draw(choices(divisor_override, st.none() | st.integers(1, 9))),
    }
    return Call("avg_pool2d", fill, (x,), options)


@st.composite
def adaptive_avg_pool2d(
    draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE, *,
    output_size: Any = ANY,
) -> Call:  # fmt: skip
    fill, sides = draw(values), st.integers(1, 9)
    x = fill(draw(sizes.batches), draw(sizes.channels), draw(sides), draw(sides))
    kept = st.none() | sides
    size = draw(choices(output_size, sides | st.tuples(kept, kept)))
    return Call("adaptive_avg_pool2d", fill, (x,), {"output_size": size})


# ----------------------------------------------------------------------------- with features


@st.composite
def linear(
    draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE, *,
    bias: Any = ANY,
) -> Call:  # fmt: skip
    fill, features = draw(values), sizes.features
    batch = draw(st.lists(st.integers(1, 4), max_size=3))
    inward, outward = draw(features), draw(features)
    b = fill(outward) if draw(choices(bias, st.booleans())) else None
    return Call("linear", fill, (fill(*batch, inward), fill(outward, inward), b), {}, 3)


shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def _elementwise(name: str, usual: Mapping[str, st.SearchStrategy[Any]]) -> Strategy:
    @st.composite
    def call(
        draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE, **narrowed: Any
    ) -> Call:
        if narrowed.keys() - usual.keys():
            raise TypeError(f"{name} takes no {', '.join(sorted(narrowed.keys() - usual.keys()))}.")
        fill = draw(values)
        x = fill(*draw(shapes))
        options = {k: draw(choices(narrowed.get(k, ANY), each)) for k, each in usual.items()}
        return Call(name, fill, (x,), options)

    return call


def _along_one_axis(name: str) -> Strategy:
    @st.composite
    def call(
        draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE, *, dim: Any = ANY
    ) -> Call:
        fill, kept = draw(values), dim
        if kept is not ANY:
            kept = draw(choices(dim, st.just(0)))
        least = 1 if kept is ANY else max(kept + 1, -kept)  # as many axes as dim needs
        shape = draw(st.lists(st.integers(1, 6), min_size=least, max_size=max(4, least)))
        if kept is ANY:
            kept = draw(st.integers(-len(shape), len(shape) - 1))
        return Call(name, fill, (fill(*shape),), {"dim": kept})

    return call


relu = _elementwise("relu", {})
sigmoid = _elementwise("sigmoid", {})
tanh = _elementwise("tanh", {})
gelu = _elementwise("gelu", {"approximate": st.sampled_from(["none", "tanh"])})
leaky_relu = _elementwise(
    "leaky_relu", {"negative_slope": st.sampled_from([0.01, 0.0, 0.5, 1.0, -0.3])}
)
softmax = _along_one_axis("softmax")
log_softmax = _along_one_axis("log_softmax")


@st.composite
def dropout(
    draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE, *,
    p: Any = ANY, training: Any = True,
) -> Call:  # fmt: skip
    fill = draw(values)
    options: dict[str, Any] = {"p": draw(choices(p, st.sampled_from([0.5, 0.0, 0.1, 0.9, 1.0])))}
    options["training"] = draw(choices(training, st.just(True)))
    options["rng"] = np.random.default_rng(fill.seed)
    return Call("dropout", fill, (fill(*draw(shapes)),), options)


@st.composite
def batch_norm(
    draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE, *,
    training: Any = ANY, momentum: Any = ANY,
    eps: Any = ANY, affine: Any = ANY,
) -> Call:  # fmt: skip
    """Draw x with at least two values for each channel; in inference also running arrays."""
    fill, training = draw(values), draw(choices(training, st.booleans()))
    n, c = draw(sizes.batches), draw(sizes.channels)
    rest = draw(st.lists(st.integers(1, 4), max_size=3))
    if n == 1 and np.prod(rest) == 1:
        n = 2
    weight, bias = (fill(c) if draw(choices(affine, st.booleans())) else None for _ in range(2))
    mean = var = None
    if not training or draw(st.booleans()):
        mean, var = fill(c), fill.lay(fill.rng.uniform(0.1, 2, c).astype(fill.dtype))
        if training:  # they are written to
            mean, var = mean.copy(), var.copy()
    options = {
        "training": training,
        "momentum": draw(choices(momentum, st.sampled_from([0.1, 0.0, 0.7, 1.0]))),
        "eps": draw(choices(eps, st.sampled_from([1e-5, 1e-3, 0.1]))),
    }
    updates = {"running_mean": 3, "running_var": 4}
    arrays = (fill(n, c, *rest), weight, bias, mean, var)
    return Call("batch_norm", fill, arrays, options, 3, updates)


@st.composite
def local_response_norm(
    draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = FINITE, *,
    size: Any = ANY, alpha: Any = ANY,
    beta: Any = ANY, k: Any = ANY,
) -> Call:  # fmt: skip
    fill = draw(values)
    rest = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    options = {
        "size": draw(choices(size, st.integers(1, 7))),
        "alpha": draw(choices(alpha, st.sampled_from([1e-4, 0.0, 0.5]))),
        "beta": draw(choices(beta, st.sampled_from([0.75, 0.5, 1.0]))),
        "k": draw(choices(k, st.sampled_from([1.0, 2.0]))),
    }
    x = fill(draw(sizes.batches), draw(sizes.channels), *rest)
    return Call("local_response_norm", fill, (x,), options)


# ------------------------------------------------------------------------------------- losses


def class_targets(
    draw: st.DrawFn, rng: np.random.Generator, shape: tuple[int, ...], classes: int, reduction: str
) -> tuple[np.ndarray, int]:
    """Draw targets and ignore_index: a number that is a class, or one that is not.

    For a mean, at least one target counts, because the mean of nothing is NaN.
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
def weights_of_classes(
    draw: st.DrawFn, rng: np.random.Generator, classes: int, reduction: str, weighted: Any = ANY
):
    """Draw None or weights; some are 0, unless their sum could be 0."""
    kinds = st.sampled_from(["none", "positive", "some zero"])
    if weighted is not ANY:
        kinds = st.sampled_from(["positive", "some zero"] if weighted else ["none"])
    kind = draw(kinds)
    weights = rng.uniform(0.1, 2, classes)
    if kind == "some zero" and reduction != "mean":
        weights[rng.random(classes) < 0.4] = 0
    return None if kind == "none" else weights


reductions = st.sampled_from(["mean", "sum", "none"])


@st.composite
def _loss(
    draw: st.DrawFn, name: str, sizes: Sizes, values: Values, probabilities: bool = False,
    reduction: Any = ANY, label_smoothing: Any = ANY, weighted: Any = ANY,
) -> Call:  # fmt: skip
    fill, reduction = draw(values), draw(choices(reduction, reductions))
    n, classes = draw(sizes.batches), draw(st.one_of(sizes.features, st.just(17)))
    spatial = draw(st.lists(st.integers(1, 3), max_size=2))
    x = fill(n, classes, *spatial)
    weight = draw(weights_of_classes(fill.rng, classes, reduction, weighted))
    options: dict[str, Any] = {"reduction": reduction}
    if probabilities:
        target = fill.lay(fill.rng.uniform(0, 1, x.shape).astype(fill.dtype))
    else:
        target, options["ignore_index"] = class_targets(
            draw, fill.rng, (n, *spatial), classes, reduction
        )
    if name == "cross_entropy":
        options["label_smoothing"] = draw(
            choices(label_smoothing, st.sampled_from([0.0, 0.1, 0.7, 1.0]))
        )
    arrays = (x, target, None if weight is None else fill.lay(weight.astype(fill.dtype)))
    return Call(name, fill, arrays, options)


def nll_loss(
    sizes: Sizes = SMALL, values: Values = FINITE, *, reduction: Any = ANY, weighted: Any = ANY
) -> st.SearchStrategy[Call]:
    return _loss("nll_loss", sizes, values, reduction=reduction, weighted=weighted)


def cross_entropy(
    sizes: Sizes = SMALL, values: Values = FINITE, *, probabilities: Any = ANY, **narrowed: Any
) -> st.SearchStrategy[Call]:
    """Draw a call with targets of classes, or of probabilities.

    ``probabilities``, ``reduction``, ``label_smoothing`` and ``weighted`` can be narrowed.
    """
    return choices(probabilities, st.booleans()).flatmap(
        lambda p: _loss("cross_entropy", sizes, values, probabilities=p, **narrowed)
    )


OPERATIONS: dict[str, Strategy] = {
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "avg_pool2d": avg_pool2d,
    "batch_norm": batch_norm,
    "conv2d": conv2d,
    "cross_entropy": cross_entropy,
    "dropout": dropout,
    "fold": fold,
    "gelu": gelu,
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
