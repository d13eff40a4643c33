"""Every small configuration of every operation, counted out and not drawn: legal ones and others.

A function that has the name of an operation yields its cases. Where an option may differ along the
two axes of an image, all pairs of small values are gone through; then one number for both axes, and
there the numbers also leave what is legal: kernels of 0 and beyond the image, strides of 0 and
below, negative padding. So do channels, groups, axes, targets and reductions.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from minicnn.testing.strategies import LAYOUTS, Call, Fill

Shape = tuple[int, ...]


class Case(NamedTuple):
    """One call of an operation, before there are numbers in its arrays.

    An array is the shape of ordinary numbers, or one of the classes below, or None.
    """

    op: str
    arrays: tuple[Any, ...]
    options: dict[str, Any]
    differentiable: int = 1
    kinds: tuple[str, ...] = ("normal",)  # of numbers, one of which the seed selects

    def __repr__(self) -> str:
        words = [f"{a}" for a in self.arrays] + [f"{k}={v!r}" for k, v in self.options.items()]
        return f"{self.op}({', '.join(words)})"

    def call(self, dtype: type) -> Call:
        """Return the call; its numbers follow from the case, and are the same in either dtype."""
        seed = zlib.crc32(repr(self).encode())
        fill = Fill(dtype, self.kinds[seed % len(self.kinds)], LAYOUTS, frozen=False, seed=seed)
        arrays = [fill(*a) if type(a) is tuple else a and a.draw(fill) for a in self.arrays]
        chance = {"rng": np.random.default_rng(seed)} if self.op == "dropout" else {}
        return Call(self.op, fill, tuple(arrays), self.options | chance, self.differentiable)


class Classes(NamedTuple):
    """Targets below ``classes``; some or all, or none, are ``ignored``."""

    shape: Shape
    classes: int
    ignored: str = "none"
    ignore_index: int = -100

    def draw(self, fill: Fill) -> np.ndarray:
        target = fill.rng.integers(0, max(self.classes, 1), self.shape)
        if self.ignored == "some":
            target.reshape(-1)[::2] = self.ignore_index
        elif self.ignored == "all":
            target[...] = self.ignore_index
        return target


class Positive(NamedTuple):
    """Numbers from 0.1 to 2: probabilities, weights of classes, variances."""

    shape: Shape
    zeros: bool = False  # every other one is 0

    def draw(self, fill: Fill) -> np.ndarray:
        numbers = fill.rng.uniform(0.1, 2, self.shape)
        if self.zeros:
            numbers[1::2] = 0
        return fill.lay(numbers.astype(fill.dtype))


def grid(**choices: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield every combination of one value for each name."""
    for values in product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def pairs(*values: int) -> list[int | tuple[int, int]]:
    """Return all (height, width), as one number where both are the same."""
    return [a if a == b else (a, b) for a, b in product(values, repeat=2)]


def two(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


# ----------------------------------------------------------------------------------- with windows

IMAGES = (7, 6), (4, 5), (2, 3)
SMALL_IMAGES = (7, 6), (3, 4), (1, 2)

# Batches, channels and images that may be empty, then other numbers of axes.
ANY_SIZES: list[Shape] = [
    *product(range(3), range(4), range(4), range(4)),
    *[(), (4,), (3, 4), (2, 3, 4), (1, 2, 1, 3, 4)],
]


def conv2d() -> Iterator[Case]:
    def case(image, kernel, *, n=2, c=4, o=4, groups=1, inward=None, bias=None, **options):
        inward = c // groups if inward is None else inward
        arrays = (n, c, *image), (o, inward, *two(kernel)), bias
        return Case("conv2d", arrays, options | {"groups": groups}, 3)

    paddings = [*pairs(0, 1, 2), "valid", "same"]
    for image, kernel, options in product(
        IMAGES,
        pairs(1, 2, 3),
        grid(stride=pairs(1, 2, 3), padding=paddings, dilation=pairs(1, 2), groups=(1, 2)),
    ):
        yield case(image, kernel, **options)
    for image, kernel, options in product(
        SMALL_IMAGES,
        range(6),
        grid(stride=range(-1, 5), padding=range(-1, 4), dilation=range(-1, 4), bias=(None, (4,))),
    ):
        yield case(image, kernel, **options)
    for sizes in grid(
        n=range(3), c=range(1, 5), o=range(5), inward=range(5), groups=(1, 2, 3, 4, 0, -1)
    ):
        for bias in None, (sizes["o"],), (sizes["o"] + 1,), (sizes["o"], 1):
            yield case((4, 5), (2, 3), **sizes, bias=bias, stride=1, padding=1, dilation=1)
    for shape in ANY_SIZES:
        yield Case("conv2d", (shape, (3, 2, 2, 2), None), {"padding": 1}, 3)
    for shape in (), (3,), (3, 2), (3, 2, 2), (3, 2, 2, 1, 1), (3, 2, 0, 1), (3, 0, 1, 1):
        yield Case("conv2d", ((1, 2, 3, 4), shape, None), {}, 3)


def unfold() -> Iterator[Case]:
    for image, options in product(
        IMAGES,
        grid(
            kernel_size=pairs(1, 2, 3),
            dilation=pairs(1, 2),
            padding=pairs(0, 1, 2),
            stride=pairs(1, 2, 3),
        ),
    ):
        yield Case("unfold", ((2, 3, *image),), options)
    numbers = {"dilation": range(-1, 4), "padding": range(-1, 4), "stride": range(-1, 5)}
    for image, options in product(SMALL_IMAGES, grid(kernel_size=range(-1, 6), **numbers)):
        yield Case("unfold", ((1, 2, *image),), options)
    for shape in ANY_SIZES:
        yield Case("unfold", (shape,), {"kernel_size": 2, "padding": 1})


def fold() -> Iterator[Case]:
    """Yield a fold of every unfold's columns, then other columns."""
    for case in unfold():
        if len(case.arrays[0]) != 4 or 0 in case.arrays[0][2:]:
            continue
        (n, c, *image), options = case.arrays[0], case.options
        kernel = two(options["kernel_size"])
        windows = [
            (size + 2 * padding - dilation * (tap - 1) - 1) // max(stride, 1) + 1
            for size, tap, padding, dilation, stride in zip(
                image,
                kernel,
                two(options["padding"]),
                two(options.get("dilation", 1)),
                two(options.get("stride", 1)),
                strict=True,
            )
        ]
        shape = (n, c * max(kernel[0] * kernel[1], 0), max(windows[0] * windows[1], 0))
        yield Case("fold", (shape,), {"output_size": tuple(image)} | options)
    for rows, columns, size in product(range(10), range(14), ((3, 4), (3, 3), 2, 0, (-1, 3))):
        yield Case("fold", ((2, rows, columns),), {"output_size": size, "kernel_size": (2, 1)})
    for shape in (), (8,), (4, 8), (1, 4, 8, 1):
        yield Case("fold", (shape,), {"output_size": (3, 4), "kernel_size": (2, 1)})


def max_pool2d() -> Iterator[Case]:
    kinds = ("ties", "normal", "infinite", "nan")
    for image, options in product(
        IMAGES,
        grid(
            kernel_size=pairs(1, 2, 3),
            stride=pairs(1, 2, 3),
            padding=pairs(0, 1),
            dilation=pairs(1, 2),
            ceil_mode=(False, True),
        ),
    ):
        if options["stride"] == options["kernel_size"]:
            options["stride"] = None  # which means the same
        yield Case("max_pool2d", ((2, 2, *image),), options, kinds=kinds)
    for image, options in product(
        SMALL_IMAGES,
        grid(
            kernel_size=range(-1, 9),
            stride=range(-1, 5),
            padding=range(-1, 5),
            dilation=range(-1, 4),
            ceil_mode=(False, True),
        ),
    ):
        yield Case("max_pool2d", ((1, 3, *image),), options, kinds=kinds)
    for shape in ANY_SIZES:
        yield Case("max_pool2d", (shape,), {"kernel_size": 2, "padding": 1}, kinds=kinds)


def avg_pool2d() -> Iterator[Case]:
    for image, options in product(
        IMAGES,
        grid(
            kernel_size=pairs(1, 2, 3),
            stride=pairs(1, 2, 3),
            padding=pairs(0, 1),
            ceil_mode=(False, True),
            count_include_pad=(False, True),
            divisor_override=(None, 5),
        ),
    ):
        if options["stride"] == options["kernel_size"]:
            options["stride"] = None  # which means the same
        yield Case("avg_pool2d", ((2, 2, *image),), options)
    for image, options in product(
        SMALL_IMAGES,
        grid(
            kernel_size=range(-1, 9),
            stride=range(-1, 5),
            padding=range(-1, 5),
            ceil_mode=(False, True),
            count_include_pad=(False, True),
            divisor_override=(None, 3, 0, -2),
        ),
    ):
        yield Case("avg_pool2d", ((1, 3, *image),), options)
    for shape in ANY_SIZES:
        yield Case("avg_pool2d", (shape,), {"kernel_size": 2, "padding": 1})


def adaptive_avg_pool2d() -> Iterator[Case]:
    sides = (None, *range(-1, 9))
    sizes = [
        None,
        *range(-1, 9),
        *[(a, b) for a, b in product(sides, sides) if a != b or a is None],
    ]
    for h, w, size in product(range(8), range(7), sizes):
        yield Case("adaptive_avg_pool2d", ((2, 2, h, w),), {"output_size": size})
    for shape, size in product(ANY_SIZES, (3, (2, None))):
        yield Case("adaptive_avg_pool2d", (shape,), {"output_size": size})


def local_response_norm() -> Iterator[Case]:
    shapes = [(n, c, *rest) for n, c in product(range(3), range(5)) for rest in ((4,), (3, 2), ())]
    for shape, options in product(
        [*shapes, (2, 3, 2, 1, 2), (3,), ()],
        grid(size=range(-1, 7), alpha=(1e-4, 0.7), beta=(0.75, 0.0, 2.0), k=(1.0, 2.5)),
    ):
        yield Case("local_response_norm", (shape,), options)


# --------------------------------------------------------------------------------- with features


def linear() -> Iterator[Case]:
    batches = [(), (0,), (1,), (3,), (2, 1), (2, 3), (1, 2, 2), (2, 1, 3, 1)]
    for batch, i, o in product(batches, range(6), range(6)):
        for bias in None, (o,), (o + 1,), (1, o):
            yield Case("linear", ((*batch, i), (o, i), bias), {}, 3)
        yield Case("linear", ((*batch, i), (o, i + 1), None), {}, 3)
    for shape in (), (2,), (1, 2, 3):
        yield Case("linear", ((2, 3), shape, None), {}, 3)
        yield Case("linear", ((), shape, None), {}, 3)


SHAPES: list[Shape] = [shape for axes in range(5) for shape in product((1, 2, 3), repeat=axes)]
EMPTY: list[Shape] = [(0,), (0, 2), (2, 0), (0, 0), (2, 0, 3), (3, 2, 0)]


def elementwise(op: str, kinds: tuple[str, ...], **options: Sequence[Any]) -> Iterator[Case]:
    for shape, chosen in product(SHAPES + EMPTY, grid(**options)):
        yield Case(op, (shape,), chosen, kinds=kinds)


def relu() -> Iterator[Case]:
    return elementwise("relu", ("normal", "zeros", "nan"))


def leaky_relu() -> Iterator[Case]:
    slopes = (0.01, 0.0, 0.5, 1.0, 2.0, -0.3)
    return elementwise("leaky_relu", ("normal", "zeros", "nan"), negative_slope=slopes)


def sigmoid() -> Iterator[Case]:
    return elementwise("sigmoid", ("normal", "zeros"))


def tanh() -> Iterator[Case]:
    return elementwise("tanh", ("normal", "zeros"))


def gelu() -> Iterator[Case]:
    return elementwise("gelu", ("normal", "zeros", "nan"), approximate=("none", "tanh"))


def dropout() -> Iterator[Case]:
    """Yield what leaves nothing to chance: torch draws other masks."""
    for case in elementwise("dropout", ("normal",), p=(0.0, 0.3, 1.0, -0.1, 1.1), training=(0, 1)):
        training = case.options["training"] = bool(case.options["training"])
        if not training or case.options["p"] != 0.3:
            yield case


def along_one_axis(op: str) -> Iterator[Case]:
    for shape in SHAPES + EMPTY:
        for dim in range(-len(shape) - 2, len(shape) + 2):
            yield Case(op, (shape,), {"dim": dim})


def softmax() -> Iterator[Case]:
    return along_one_axis("softmax")


def log_softmax() -> Iterator[Case]:
    return along_one_axis("log_softmax")


# -------------------------------------------------------------------------------- normalisation


def batch_norm() -> Iterator[Case]:
    """Yield calls with (x, weight, bias, running_mean, running_var)."""

    def case(shape, affine, running, training, momentum=0.1, eps=1e-5):
        options = {"training": training, "momentum": momentum, "eps": eps}
        return Case("batch_norm", (shape, *affine, *running), options, 3)

    for n, c, rest in product(range(4), range(1, 4), ((), (1,), (3,), (2, 3), (2, 1, 2))):
        shape, one, more = (n, c, *rest), (c,), (c + 1,)
        affine = (None, None), (one, None), (None, one), (one, one)
        running = (None, None), (one, Positive(one))
        numbers = product((False, True), (0.1, 0.0, 1.0), (1e-5, 0.1))
        for a, r, options in product(affine, running, list(numbers)):
            yield case(shape, a, r, *options)
        for training in False, True:
            for a in (more, None), (None, more), (one, (1, c)):
                yield case(shape, a, running[1], training)
            for r in (one, None), (None, Positive(one)), (more, Positive(one)):
                yield case(shape, affine[3], r, training)
            yield case(shape, affine[3], (one, Positive(more)), training)
    for momentum, eps in product((-1.0, 0.3, 2.0), (0.0, 1e-5, 3.0, -1e-5)):
        for training in False, True:
            yield case((3, 2, 4), ((2,), (2,)), ((2,), Positive((2,))), training, momentum, eps)
    for shape in (), (3,), (0, 0), (2, 0), (2, 0, 3), (2, 3, 0):
        c = shape[1:2] or (3,)
        for training in False, True:
            yield case(shape, (c, c), (c, Positive(c)), training)


# ------------------------------------------------------------------------------------------ losses


def losses(op: str, **more: Sequence[Any]) -> Iterator[Case]:
    """Yield calls with targets of classes; then such as do not fit, and unknown reductions."""
    reductions = ("mean", "sum", "none")
    for n, classes, spatial, weight, options in product(
        range(4),
        range(1, 5),
        ((), (3,), (2, 3)),
        ("none", "positive", "some zero"),
        grid(ignore_index=(-100, 1), reduction=reductions, **more),
    ):
        shape, weights = (n, *spatial), None
        if weight != "none":
            weights = Positive((classes,), zeros=weight == "some zero")
        for ignored in "none", "some", "all":
            target = Classes(shape, classes, ignored, options["ignore_index"])
            yield Case(op, ((n, classes, *spatial), target, weights), options)
    fitting = (3, 4), Classes((3,), 4), Positive((4,))
    misfits = [
        ((3, 4), Classes((2,), 4), None),
        ((3, 4), Classes((3, 1), 4), None),
        ((3, 4), Classes((), 4), None),
        ((3, 4, 2), Classes((3,), 4), None),
        ((3, 4, 2), Classes((3, 3), 4), None),
        ((3, 4), Classes((3,), 4, "some", 4), None),
        ((3, 4), Classes((3,), 4, "some", -1), None),
        ((3, 4), Classes((3,), 4, "all", 255), None),
        ((3, 4), Classes((3,), 4), Positive((3,))),
        ((3, 4), Classes((3,), 4), Positive((5,))),
        ((3, 4), Classes((3,), 4), Positive((1, 4))),
        ((3, 0), Classes((3,), 1), None),
        ((4,), Classes((), 4), None),
        ((), Classes((), 4), None),
    ]
    for arrays, options in product(misfits, grid(reduction=reductions, **more)):
        yield Case(op, arrays, options)
    for reduction in "average", "", None:
        yield Case(op, fitting, {"reduction": reduction})


def nll_loss() -> Iterator[Case]:
    return losses("nll_loss")


def cross_entropy() -> Iterator[Case]:
    smoothing = {"label_smoothing": (0.0, 0.1, 0.7, 1.0)}
    yield from losses("cross_entropy", **smoothing)
    for n, classes, spatial, weighted, options in product(
        range(4),
        range(1, 5),
        ((), (3,), (2, 3)),
        (False, True),
        grid(reduction=("mean", "sum", "none"), **smoothing),
    ):
        shape, weights = (n, classes, *spatial), Positive((classes,)) if weighted else None
        yield Case("cross_entropy", (shape, Positive(shape), weights), options)
    for target, options in product(
        [Classes((3,), 4), Positive((3, 4)), Positive((3, 5)), Positive((3,)), Positive((3, 4, 1))],
        grid(ignore_index=(-100, 1), label_smoothing=(0.0, -0.1, 1.1)),
    ):
        yield Case("cross_entropy", ((3, 4), target, None), options)


GRIDS: dict[str, Callable[[], Iterator[Case]]] = {
    "conv2d": conv2d,
    "unfold": unfold,
    "fold": fold,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "local_response_norm": local_response_norm,
    "batch_norm": batch_norm,
    "linear": linear,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "gelu": gelu,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "dropout": dropout,
    "nll_loss": nll_loss,
    "cross_entropy": cross_entropy,
}


def cases(op: str) -> list[Case]:
    """Return the cases of an operation, each once."""
    return list({repr(case): case for case in GRIDS[op]()}.values())
