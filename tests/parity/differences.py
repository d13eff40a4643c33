"""Where minicnn and torch part on purpose, and why.

Everywhere else both accept the same calls, and compute the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.parity.enumeration import Case, two


class Difference(NamedTuple):
    """Cases on which the two sides part on purpose, and why.

    Where torch does not do as written, the case is one like any other: it may be illegal twice.
    """

    ops: set[str]
    holds: Callable[[Case], bool]
    ours: bool | None  # whether minicnn accepts them
    theirs: bool | None  # whether torch does; None: it must not be asked
    reason: str


def between_pixels(case: Case) -> bool:
    """Whether a window of the pool can step over the whole image."""
    kernel, padding, dilation = (
        two(case.options.get(name, default))
        for name, default in (("kernel_size", 1), ("padding", 0), ("dilation", 1))
    )
    return any(
        0 < p <= k // 2 and d > size
        for size, k, p, d in zip(case.arrays[0][2:], kernel, padding, dilation, strict=False)
    )


def weighs_nothing(case: Case) -> bool:
    """Whether some targets count, but the weights of their classes are all 0."""
    _, target, weight = case.call(np.float64).arrays
    if (
        weight is None
        or target.dtype.kind == "f"
        or case.options.get("reduction", "mean") != "mean"
    ):
        return False
    counting = target[target != case.options.get("ignore_index", -100)]
    known = counting[(counting >= 0) & (counting < weight.size)]
    return weight.ndim == 1 and known.size > 0 and not weight[known].any()


def shape_of(array: Any) -> tuple[int, ...] | None:
    return getattr(array, "shape", array)


def misfit(case: Case) -> bool:
    """Whether what comes with x does not fit x."""
    x, *learned = map(shape_of, case.arrays)
    if case.op == "local_response_norm":
        return case.options["size"] < 1
    mean, var = learned[2:]
    return (
        any(shape not in (None, x[1:2]) for shape in learned)
        or (mean is None) != (var is None)
        or (mean is None and not case.options["training"])
    )


WINDOWED = {"adaptive_avg_pool2d", "avg_pool2d", "conv2d", "fold", "max_pool2d", "unfold"}
LOSSES = {"cross_entropy", "nll_loss"}

DIFFERENCES = [
    Difference(
        WINDOWED,
        lambda case: len(case.arrays[0]) == (2 if case.op == "fold" else 3),
        ours=False,
        theirs=True,
        reason="torch takes an image without a batch axis; minicnn takes batches only.",
    ),
    Difference(
        LOSSES,
        lambda case: len(case.arrays[0]) == 1,
        ours=False,
        theirs=True,
        reason="torch takes a sample without a batch axis; minicnn takes batches only.",
    ),
    Difference(
        LOSSES,
        weighs_nothing,
        ours=True,
        theirs=True,
        reason="The mean over targets whose classes all weigh 0 is NaN on both sides. Its gradient "
        "is NaN in torch; minicnn gives 0, as both do where all targets are ignored.",
    ),
    Difference(
        {"cross_entropy"},
        lambda case: case.options.get("label_smoothing", 0) < 0,
        ours=False,
        theirs=True,
        reason="torch takes a negative label_smoothing for none; minicnn takes it for a mistake.",
    ),
    Difference(
        {"max_pool2d"},
        between_pixels,
        ours=None,
        theirs=None,
        reason="Where a dilated window lies between all pixels, both sides give minus infinity. It "
        "has no gradient in minicnn; torch writes it outside its array, so it is not asked.",
    ),
    Difference(
        {"avg_pool2d"},
        lambda case: (case.options.get("divisor_override") or 0) < 0,
        ours=False,
        theirs=True,
        reason="torch divides by a negative divisor_override; minicnn takes it for a mistake.",
    ),
    Difference(
        {"adaptive_avg_pool2d"},
        lambda case: case.options["output_size"] is None and 0 not in case.arrays[0][1:],
        ours=True,
        theirs=False,
        reason="An output_size of None keeps both sides, as each None of a pair keeps one; torch "
        "takes it in a pair only.",
    ),
    Difference(
        {"adaptive_avg_pool2d"},
        lambda case: 0 in case.arrays[0][2:],
        ours=False,
        theirs=True,
        reason="torch gives NaN for the mean of no pixels, if the output is a single pixel; "
        "minicnn takes no image without pixels.",
    ),
    Difference(
        {"conv2d"},
        lambda case: case.arrays[0][:1] == (0,) and 0 in case.arrays[0][2:],
        ours=False,
        theirs=True,
        reason="torch takes images without pixels in an empty batch only; minicnn in none.",
    ),
    Difference(
        {"linear"},
        lambda case: case.arrays[2] not in (None, case.arrays[1][:1]),
        ours=False,
        theirs=True,
        reason="torch stretches a bias of other shapes; minicnn takes one number for each feature.",
    ),
    Difference(
        {"batch_norm", "local_response_norm"},
        lambda case: 0 in case.arrays[0] and misfit(case),
        ours=False,
        theirs=True,
        reason="torch does not look at the other arguments where x is empty; minicnn does.",
    ),
    Difference(
        {"softmax", "log_softmax"},
        lambda case: case.arrays[0] == (),
        ours=False,
        theirs=True,
        reason="torch takes a number without axes for an array of one; minicnn asks for an axis.",
    ),
]


def difference(case: Case) -> Difference | None:
    return next((d for d in DIFFERENCES if case.op in d.ops and d.holds(case)), None)
