"""A network ready for inference alone: what never changes any more is done ahead.

    fast = minicnn.fuse(model, inference=True)

Weights that stay can be folded and arranged once. In inference batch norm is an affine map of each
channel, and so is a part of the convolution before it:

    scale * (W * x + b - mean) + shift  =  (scale W) * x + (scale (b - mean) + shift)

    conv, batch norm, ReLU, max pool     one pass (conv_prepared.py), whichever of them there are
    the end of a residual block          the shortcut is added, and ReLU, where the sums lie
    linear, batch norm, ReLU             the convolution of an image of one pixel; Flatten before it
                                         moves nothing, but its weights are sorted another way
    branches side by side                each convolution at an end writes into its own channels
    dropout                              nothing

What the pass does not know runs as it is, on a copy of its parameters. There are no caches, and
what comes in is checked once, where it enters the network.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np

from minicnn.backend import nchw
from minicnn.fused.modules import BatchNormReLU
from minicnn.fused.tree import flat, runs_as
from minicnn.nn import (
    AuxiliaryHeads,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
)
from minicnn.nn.module import Window
from minicnn.ops import conv2d, max_pool2d
from minicnn.shapes import ShapeError, check_float, pair
from minicnn.windows import Windows, pool_windows

Norm = BatchNorm1d | BatchNorm2d
Step = Callable[[np.ndarray], np.ndarray]
_FIRST = threading.Lock()
SORTED = 2**22  # weights of a linear layer, at most, that are sorted as images lie


class Inference(Module):
    """What ``fuse(model, inference=True)`` returns: the weights as they were then, to infer by."""

    def __init__(self, model: Module) -> None:
        self._model = (model,)  # in a tuple, for its parameters are not ours
        self._steps = steps_of([model])
        self._dtype = next((p.data.dtype for p in model.parameters()), None)

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, None]:
        if training:
            self._refuse("training")
        self._check(x)
        for step in self._steps:
            x = step(x)
        return x, None

    def backward(self, dy: np.ndarray, cache: Any, *, input_grad: bool = True) -> NoReturn:
        self._refuse("backward")

    def named_modules(self, prefix: str = "") -> NoReturn:
        """Refuse: all that reads or sets parameters and options begins with this."""
        self._refuse("what reads or changes parameters and options")

    def _refuse(self, what: str) -> NoReturn:
        raise RuntimeError(
            f"Inference: {what} needs the network itself; this was made of its weights as they "
            "were, and for inference alone. Use that one, then make another by "
            "minicnn.fuse(model, inference=True)."
        )

    def _check(self, x: np.ndarray) -> None:
        if not isinstance(x, np.ndarray) or x.dtype != self._dtype:
            dtype = check_float("Inference", x=x)
            if self._dtype is not None and dtype != self._dtype:
                raise TypeError(
                    f"Inference: x is {dtype} but the weights are {self._dtype}. "
                    f"Use x.astype(np.{self._dtype})."
                )

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._model[0].output_shape(shape)

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        return self._model[0].multiply_adds(shape)

    def window(self, shape: tuple[int, ...]) -> Window | None:
        return self._model[0].window(shape)

    def _options(self) -> str:
        return f"{len(self._steps)} steps"


# ---------------------------------------------------------------------------------------- the pass


class _Row:
    """The modules of a chain that are still to do."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self._rest = list(_links(modules))

    def __bool__(self) -> bool:
        return bool(self._rest)

    def take(self, *kinds: type[Module]) -> Any:
        """Return the next module if it is of one of the kinds, and runs on the fast side."""
        if self._rest and any(runs_as(self._rest[0], kind) for kind in kinds):
            return self._rest.pop(0) if self._rest[0].impl == "fast" else None
        return None

    def take_norm(self, channels: int, *kinds: type[Module]) -> Any:
        """Return the next module if it is a batch norm that can be folded."""
        norm = self._rest[0] if self._rest else None
        if isinstance(norm, Norm) and norm.running_mean is not None:
            return self.take(*kinds) if norm.num_features == channels else None
        return None

    def take_flatten(self) -> Any:
        """Return the next module if it makes vectors of images."""
        flatten = self._rest[0] if self._rest else None
        whole = isinstance(flatten, Flatten) and flatten.keeps_the_batch_only
        return self.take(Flatten) if whole else None

    def take_pool(self) -> Any:
        """Return the next module if it is a max pool whose windows have no gaps."""
        pool = self._rest[0] if self._rest else None
        if isinstance(pool, MaxPool2d) and pair("MaxPool2d", "dilation", pool.dilation, 1) == (
            1,
            1,
        ):
            return self.take(MaxPool2d)
        return None

    def pop(self) -> Module:
        return self._rest.pop(0)


def _links(modules: Sequence[Module]) -> Iterator[Module]:
    """Yield what runs one after the other; heads do not in inference."""
    for module in flat(modules):
        if runs_as(module, AuxiliaryHeads):
            for stage in module.branches().stages:
                yield from _links(stage)
        else:
            yield module


def steps_of(modules: Sequence[Module]) -> list[Step]:
    """Return what the chain does in inference, step by step."""
    row, steps = _Row(modules), list[Step]()
    vectors = False  # whether what arrives is known to have two axes
    while row:
        if conv := row.take(Conv2d):
            steps.append(_convolution(conv, row))
        elif flatten := row.take_flatten():
            vectors, linear = True, row.take(Linear)
            steps.append(_linear(linear, row, True, True) if linear else _as_it_is(flatten))
        elif linear := row.take(Linear):
            steps.append(_linear(linear, row, False, vectors))
        elif pool := row.take(MaxPool2d):
            steps.append(partial(max_pool2d.greatest, windows=_windows(pool)))
        elif block := row.take(Residual):
            steps.append(_residual(block))
        elif block := row.take(Concat):
            steps.append(_Joined([steps_of(branch) for branch in block.branches()]))
        elif norm := row.take(BatchNorm1d, BatchNorm2d):
            relu = row.take(ReLU)
            steps.append(_as_it_is(BatchNormReLU(norm, relu) if relu else norm))
        elif not row.take(Dropout):
            last = row.pop()
            vectors = vectors and runs_as(last, ReLU)
            steps.append(_as_it_is(last))
    return steps


def _as_it_is(module: Module) -> Step:
    """Return the module as a step, with parameters of its own."""
    return (copy.deepcopy(module) if module._arrays() else module).__call__


def folded(layer: Conv2d | Linear, norm: Norm | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight and the bias of the layer with the batch norm after it."""
    weight = layer.weight.data
    bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.data.astype(np.float64)
    if norm is None or norm.running_mean is None or norm.running_var is None:
        return weight, bias
    scale = 1 / np.sqrt(norm.running_var.astype(np.float64) + norm.eps)
    if norm.weight:
        scale = scale * norm.weight.data
    bias = scale * (bias - norm.running_mean)
    if norm.bias:
        bias = bias + norm.bias.data
    return (weight * scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype), bias


def _windows(pool: MaxPool2d) -> Callable[[tuple[int, int]], Windows]:
    options = pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode
    return lambda image: pool_windows("MaxPool2d", image, *options)


def _convolution(conv: Conv2d, row: _Row) -> conv2d.Prepared:
    """Return the convolution with what comes after it."""
    weight, bias = folded(conv, row.take_norm(len(conv.weight.data), BatchNorm2d))
    relu, pool = row.take(ReLU), None
    if not conv2d.may_take_winograd(weight.shape, conv.stride, conv.dilation, conv.groups):
        pool = row.take_pool()
        relu = relu or (pool and row.take(ReLU))
    return conv2d.prepare(
        weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups,
        floor=0 if relu else -math.inf, pool=_windows(pool) if pool else None,
    )  # fmt: skip


def _linear(linear: Linear, row: _Row, images: bool, vectors: bool) -> Step:
    """Return the layer. Of (n, c, l), batch norm means the axis c, and linear the last."""
    norm = row.take_norm(len(linear.weight.data), BatchNorm1d) if vectors else None
    weight, bias = folded(linear, norm)
    return _Linear(weight, bias, 0 if row.take(ReLU) else -math.inf, images)


class _Linear:
    """A linear layer, as a convolution of images of one pixel.

    After Flatten, images are taken as they lie, channels last: the weights are sorted likewise when
    the first one comes. Where they are many, sorting the image costs less than another copy.
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray, floor: float, images: bool) -> None:
        self._bias, self._floor, self._images = bias, floor, images
        self._image: tuple[int, ...] = ()
        self._order: np.ndarray | None = None
        self._unsorted: np.ndarray | None = None
        if images and weight.size <= SORTED:
            self._unsorted = weight.copy()
        else:
            self._prepare(weight)

    def _prepare(self, weight: np.ndarray) -> None:
        self._run = conv2d.prepare(weight[..., None, None], self._bias, floor=self._floor)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if self._images:
            x = self._rows(x)
        lead, features = x.shape[:-1], x.shape[-1]
        if features != self._run.shape[1]:
            raise ShapeError(
                f"linear: x of shape {x.shape} has {features} features on its last axis where "
                f"{self._run.shape[1]} are needed. Is the image of the size that the network was "
                "made for?"
            )
        y = self._run(x.reshape(math.prod(lead), features, 1, 1))
        return y.reshape(*lead, y.shape[1])

    def _sort(self, weight: np.ndarray, image: tuple[int, ...]) -> None:
        features = math.prod(image)
        if features == weight.shape[1]:  # else it is an error, which comes next
            order = np.moveaxis(np.arange(features).reshape(image), 0, -1).reshape(-1)
            self._image, self._order, weight = image, order, weight[:, order]
        self._prepare(weight)
        self._unsorted = None

    def _rows(self, x: np.ndarray) -> np.ndarray:
        """Return images as vectors, sorted as the weights are."""
        n, features = x.shape[0], math.prod(x.shape[1:])
        weight = self._unsorted
        if weight is not None:
            with _FIRST:  # of several Python threads
                if self._unsorted is not None:
                    self._sort(weight, x.shape[1:])
        if self._order is None:
            return x.reshape(n, features)
        if x.shape[1:] == self._image:
            return np.moveaxis(x, 1, -1).reshape(n, features)
        x = x.reshape(n, features)
        return x[:, self._order] if features == self._order.size else x


def _residual(block: Residual) -> Step:
    main, shortcut, activation = (steps_of(branch) for branch in block.branches())
    last = main[-1] if main else None
    ends = [list(flat(branch)) for branch in block.branches()]
    relu = len(ends[2]) == 1 and runs_as(ends[2][0], ReLU)
    if isinstance(last, conv2d.Prepared) and last.can_add and (relu or not ends[2]):
        last.floor = 0.0 if relu else -math.inf
        return _Block(main[:-1], shortcut, last)
    return _Sum(main, shortcut, activation)


def run_chain(steps: Sequence[Step], x: np.ndarray) -> np.ndarray:
    for step in steps:
        x = step(x)
    return x


class _Block:
    """A residual block whose main branch ends with a convolution: that adds the shortcut."""

    def __init__(self, main: list[Step], shortcut: list[Step], last: conv2d.Prepared) -> None:
        self._main, self._shortcut, self._last = main, shortcut, last

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self._last(run_chain(self._main, x), run_chain(self._shortcut, x))


class _Sum:
    """Any other residual block."""

    def __init__(self, main: list[Step], shortcut: list[Step], activation: list[Step]) -> None:
        self._main, self._shortcut, self._activation = main, shortcut, activation

    def __call__(self, x: np.ndarray) -> np.ndarray:
        m, s = run_chain(self._main, x), run_chain(self._shortcut, x)
        if m.shape != s.shape:
            raise ShapeError(
                f"Residual: main gives {m.shape}, the shortcut {s.shape}; only equal shapes add."
            )
        return run_chain(self._activation, m + s)


class _Joined:
    """Branches side by side; where one ends with a convolution, that writes into the whole."""

    def __init__(self, branches: list[list[Step]]) -> None:
        self._branches: list[tuple[list[Step], conv2d.Prepared | None]] = []
        for steps in branches:
            last = steps[-1] if steps else None
            if isinstance(last, conv2d.Prepared):
                self._branches.append((steps[:-1], last))
            else:
                self._branches.append((steps, None))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        parts = [run_chain(steps, x) for steps, _ in self._branches]
        shapes = [
            last.output_shape(part.shape) if last else part.shape
            for part, (_, last) in zip(parts, self._branches, strict=True)
        ]
        if len({(len(shape), shape[0], *shape[2:]) for shape in shapes}) > 1:
            raise ShapeError(
                f"concat: the branches give {', '.join(map(str, shapes))}; only shapes that differ "
                "in nothing but the channels join."
            )
        check_float("concat", **{f"x{i}": part for i, part in enumerate(parts)})
        if len(shapes[0]) != 4:  # so none is a convolution's
            return np.concatenate(parts, axis=1)
        n, _, h, w = shapes[0]
        y, first = np.empty((n, h, w, sum(shape[1] for shape in shapes)), x.dtype), 0
        for part, shape, (_, last) in zip(parts, shapes, self._branches, strict=True):
            if last:
                last(part, into=(y, first))
            else:
                y[..., first : first + shape[1]] = part.transpose(0, 2, 3, 1)
            first += shape[1]
        return nchw(y)
