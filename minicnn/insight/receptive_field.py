"""Which pixels a unit can see: the receptive field of every layer, computed from the tree.

Along one axis, let the units of a layer see ``size`` pixels, let neighbours lie ``jump`` pixels
apart, and let the first begin at pixel ``start``, negative where it hangs over the edge. A window
of k taps, s apart from the next, d between its taps and p pixels of padding before, sees of these

    size' = size + (k - 1) * d * jump        jump' = s * jump        start' = start - p * jump

which is the textbook's table. It does not know where the image ends, that a dilated window has
holes, or that the last pixels may be left over. What knows is a matrix: reach[o, p] says whether
unit o sees pixel p. A window is such a matrix too, of its own input, and

    through a layer     the boolean product     reach' = window @ reach
    side by side        the union               reach' = reach1 | reach2
    all of it           one row                 reach' = any unit sees p

Rows and columns of the image are apart: what a unit sees is held as some rows times some columns.
Branches of different shape (1x5 beside 5x1) see a cross, and this is a rectangle that holds it; the
smallest where no branch sees padding alone. One that does, along the rows, say, sees nothing, and
yet its columns are joined to those of the others.

What a network does in inference counts: batch norm then looks at one pixel.

Source
    Araujo, Norris & Sim (2019), Computing receptive fields of convolutional neural networks, for
    the recursion.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import singledispatch
from typing import NamedTuple

import numpy as np

from minicnn import nn
from minicnn.insight.watch import refuse_fused
from minicnn.nn import probe
from minicnn.nn.module import Module
from minicnn.nn.probe import window_of
from minicnn.ops import adaptive_avg_pool2d
from minicnn.shapes import ShapeError
from minicnn.windows import Windows, conv_windows, pool_windows


class Axis(NamedTuple):
    """What the units of a layer see along the height, or along the width."""

    reach: np.ndarray  # (units, pixels) of bool
    size: int | None = 1  # None: no one number, as for all of the image
    jump: int = 1
    start: int = 0

    def window(self, kernel: int, stride: int, dilation: int, before: int, units: int) -> Axis:
        """Return what windows over these units see; ``before`` is the padding."""
        first = np.arange(units)[:, None] * stride - before
        taps = first + np.arange(kernel) * dilation
        window = np.any(taps[:, :, None] == np.arange(len(self.reach)), axis=1)
        reach = window @ self.reach
        if self.size is None:
            return Axis(reach, None)
        return Axis(
            reach,
            self.size + (kernel - 1) * dilation * self.jump,
            self.jump * stride,
            self.start - before * self.jump,
        )

    def all(self) -> Axis:
        """Return what one unit sees that is made of all of these."""
        if len(self.reach) == 1:
            return self
        return Axis(np.any(self.reach, axis=0, keepdims=True), None)

    def adaptive(self, units: int) -> Axis:
        """Return what so many regions see that divide the units as evenly as they can."""
        inner = len(self.reach)
        if units == 1:
            return self.all()
        if inner % units == 0:
            return self.window(inner // units, inner // units, 1, 0, units)
        one_hot = np.eye(inner)[None, None]
        regions, _ = adaptive_avg_pool2d.forward(one_hot, (units, None), impl="textbook")
        return Axis((regions[0, 0] > 0) @ self.reach, None)

    def seen(self, reach: np.ndarray) -> Axis:
        """Return what units see that see these as ``reach`` (units, inner) of bool says."""
        window = window_of(reach)
        if len(reach) == 1 and reach.all():
            return self.all()
        if window is None:
            return Axis(reach @ self.reach, None)
        kernel, stride, dilation, before = window
        return self.window(kernel, stride, dilation, before, len(reach))

    def union(self, other: Axis) -> Axis:
        """Return what is seen by two branches together."""
        reach = self.reach | other.reach
        if self.size is None or other.size is None or self.jump != other.jump:
            return Axis(reach, None)
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Axis(reach, end - start, self.jump, start)


class Field(NamedTuple):
    """What the units of a layer see of the image."""

    shape: tuple[int, ...]  # of the layer's output, without the batch
    rows: Axis
    columns: Axis

    @property
    def size(self) -> tuple[int | None, int | None]:
        """(height, width) in pixels, padding included; None where there is no one number."""
        return self.rows.size, self.columns.size

    @property
    def jump(self) -> tuple[int, int]:
        """How many pixels neighbouring units lie apart."""
        return self.rows.jump, self.columns.jump

    @property
    def start(self) -> tuple[int, int]:
        """Where the field of the first unit begins; negative in the padding."""
        return self.rows.start, self.columns.start

    def pixels(self, i: int | None = None, j: int | None = None) -> np.ndarray:
        """Return (h, w) of bool: the pixels that unit (i, j) sees, by default the middle one."""
        i, j = self._unit(i, j)
        return np.outer(self.rows.reach[i], self.columns.reach[j])

    def box(self, i: int | None = None, j: int | None = None) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of what unit (i, j) sees, the last ones within.

        Where the size is known, padding is included, and the box may hang over the edge.
        """
        i, j = self._unit(i, j)
        sides = []
        for axis, unit in ((self.rows, i), (self.columns, j)):
            seen = np.flatnonzero(axis.reach[unit])
            if axis.size is not None:
                first = axis.start + unit * axis.jump
                sides.append((first, first + axis.size - 1))
            elif seen.size:
                sides.append((int(seen[0]), int(seen[-1])))
            else:
                raise ValueError(f"box: unit {(i, j)} sees no pixel, only padding.")
        (top, bottom), (left, right) = sides
        return top, left, bottom, right

    def window(self, g: Windows) -> Field:
        """Return what windows over these units see, as ``minicnn.windows`` describes them."""
        return self._replace(
            rows=self.rows.window(g.kh, g.sh, g.dh, g.top, g.oh),
            columns=self.columns.window(g.kw, g.sw, g.dw, g.left, g.ow),
        )

    def all(self) -> Field:
        """Return what a unit sees that is made of all of these."""
        return self._replace(rows=self.rows.all(), columns=self.columns.all())

    def union(self, other: Field) -> Field:
        """Return what is seen by two branches together."""
        return self._replace(
            rows=self.rows.union(other.rows), columns=self.columns.union(other.columns)
        )

    def _unit(self, i: int | None, j: int | None) -> tuple[int, int]:
        h, w = len(self.rows.reach), len(self.columns.reach)
        i, j = h // 2 if i is None else i, w // 2 if j is None else j
        if not (0 <= i < h and 0 <= j < w):
            raise ShapeError(f"receptive_field: there is no unit {(i, j)} among {h} x {w}.")
        return i, j


class Fields(dict[str, Field]):
    """The field of every module by name, in the order of forward; ``print`` shows a table.

    A module that is used again stands there again, as ``name#2``. The table leaves out chains,
    whose last layer says it, and layers that look at their own pixel only.
    """

    def __init__(self, image: tuple[int, ...]) -> None:
        super().__init__()
        self.image = image
        self.kinds: dict[str, str] = {}
        self.hidden: set[str] = set()  # what the table leaves out

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "sees", "jump", "start")
        lines = [head]
        for name, field in self.items():
            if name in self.hidden:
                continue
            known = None not in field.size
            lines.append((
                name or "network",
                self.kinds[name],
                _by(field.shape),
                _by(field.size) if known else _in_words(field),
                _by(field.jump) if known else "",
                ", ".join(map(str, field.start)) if known else "",
            ))  # fmt: skip
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        text = [
            "  ".join(cell.ljust(wide) for cell, wide in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        title = f"receptive fields in pixels of the input, {_by(self.image)}"
        return "\n".join([title, "", text[0], rule, *text[1:]])


def receptive_field(model: Module, image: tuple[int, int, int]) -> Fields:
    """Return what the units of every module see of an image of shape (c, h, w).

    A module that has no rule, as those of the reader's own, is run instead, some hundred images
    long, and so are found the fields of what runs within it.

    Raises ShapeError where a layer does not fit what comes before it, ValueError for a network that
    is fused.
    """
    refuse_fused("receptive_field", model)
    if len(image) != 3:
        raise ShapeError(f"receptive_field: image must be (c, h, w), got {tuple(image)}.")
    through = Through(model, tuple(image))
    _, h, w = image
    through([model], Field(tuple(image), Axis(np.eye(h, dtype=bool)), Axis(np.eye(w, dtype=bool))))
    return through.fields


class Through:
    """Leads a field through modules in a row, and keeps what each of them sees."""

    def __init__(self, model: Module, image: tuple[int, ...]) -> None:
        self.fields = Fields(image)
        self._names: dict[int, str] = {}
        for name, module in model.named_modules():
            self._names.setdefault(id(module), name)

    def __call__(self, modules: Iterable[Module], field: Field) -> Field:
        """Return what the units of the last module see; of none, what came in."""
        for module in modules:
            shape = module.output_shape(field.shape)
            field = _rule_of(module)(module, field, self)._replace(shape=shape)
            self.keep(module, field)
        return field

    def keep(self, module: Module, field: Field) -> None:
        """Write down what the units of a module see."""
        first = name = self._names.get(id(module), type(module).__name__)
        times = 1
        while name in self.fields:
            times += 1
            name = f"{first}#{times}"
        self.fields[name] = field
        self.fields.kinds[name] = type(module).__name__
        if _rule_of(module) in (_its_own_pixel, _chain):
            self.fields.hidden.add(name)


# --------------------------------------------------------------------------------------- the rules


@singledispatch
def rule(module: Module, field: Field, through: Through) -> Field:
    """Return what the units of ``module`` see, where those of its input see ``field``.

    One that has no rule is run, and what it sees is seen. A rule is faster, and knows what lies
    past the edge of the image. Register one for a module of your own; ``field`` has ``window``,
    ``all`` and ``union``, and ``through(modules, field)`` leads through modules that it is made of:

        @insight.rule.register
        def _(block: MyBlock, field, through):
            return through([block.conv1, block.conv2], field).union(field)
    """
    *inside, whole = probe.calls(module, field.shape)
    for call in inside:
        through.keep(call.module, _as_seen(call, field)._replace(shape=call.output))
    if probe.view(whole) is None and probe.keeps_places(module, field.shape):
        return field
    return _as_seen(whole, field)


def _as_seen(call: probe.Call, field: Field) -> Field:
    """Return what the units of a module see that was run on units that see ``field``."""
    if call.rows is None or call.columns is None:
        return field.all()
    return field._replace(rows=field.rows.seen(call.rows), columns=field.columns.seen(call.columns))


def _rule_of(module: Module):
    """Return the rule, unless a subclass has a forward that the rule does not know."""
    kind = next(base for base in type(module).__mro__ if base in rule.registry)
    known = kind is not object and type(module).forward is getattr(kind, "forward", None)
    return rule.dispatch(kind) if known else rule.dispatch(object)


@rule.register(nn.ReLU)
@rule.register(nn.LeakyReLU)
@rule.register(nn.Sigmoid)
@rule.register(nn.Tanh)
@rule.register(nn.Dropout)
@rule.register(nn.Flatten)
@rule.register(nn.BatchNorm1d)
@rule.register(nn.BatchNorm2d)
@rule.register(nn.LocalResponseNorm)
def _its_own_pixel(module: Module, field: Field, through: Through) -> Field:
    return field


@rule.register(nn.Softmax)
@rule.register(nn.LogSoftmax)
def _softmax(module: nn.Softmax | nn.LogSoftmax, field: Field, through: Through) -> Field:
    if len(field.shape) == 1:
        return field.all()  # a sum over all features
    if module.dim % 4 != 1:
        raise ValueError("receptive_field: a softmax over rows or columns has no rule.")
    return field


@rule.register
def _convolution(module: nn.Conv2d, field: Field, through: Through) -> Field:
    kernel = module.weight.data.shape[2:]
    g = conv_windows(
        "Conv2d", _sides(field), kernel, module.stride, module.padding, module.dilation
    )  # fmt: skip
    return field.window(g)


@rule.register(nn.MaxPool2d)
@rule.register(nn.AvgPool2d)
def _pool(module: nn.MaxPool2d | nn.AvgPool2d, field: Field, through: Through) -> Field:
    g = pool_windows(
        type(module).__name__, _sides(field), module.kernel_size, module.stride, module.padding,
        getattr(module, "dilation", 1), module.ceil_mode,
    )  # fmt: skip
    return field.window(g)


@rule.register
def _adaptive(module: nn.AdaptiveAvgPool2d, field: Field, through: Through) -> Field:
    oh, ow = adaptive_avg_pool2d.output_sides(module.output_size, *_sides(field))
    return field._replace(rows=field.rows.adaptive(oh), columns=field.columns.adaptive(ow))


@rule.register
def _linear(module: nn.Linear, field: Field, through: Through) -> Field:
    if len(field.shape) != 1:
        raise ShapeError(
            f"receptive_field: a linear layer takes features, got {field.shape}. Flatten first."
        )
    return field.all()


@rule.register
def _shortcut(module: nn.ZeroPadShortcut, field: Field, through: Through) -> Field:
    return field.window(conv_windows("ZeroPadShortcut", _sides(field), 1, module.stride))


@rule.register
def _chain(module: nn.Sequential, field: Field, through: Through) -> Field:
    return through(module, field)


@rule.register
def _residual(module: nn.Residual, field: Field, through: Through) -> Field:
    main, shortcut, activation = module.branches()
    return through(activation, through(main, field).union(through(shortcut, field)))


@rule.register
def _concat(module: nn.Concat, field: Field, through: Through) -> Field:
    return side_by_side(module.branches(), field, through)


@rule.register
def _with_heads(module: nn.AuxiliaryHeads, field: Field, through: Through) -> Field:
    stages, heads = module.branches()
    for i, stage in enumerate(stages):
        field = through(stage, field)
        through(heads[i : i + 1], field)  # what a head sees is kept, and the chain goes on
    return field


def side_by_side(branches: Sequence[Iterable[Module]], field: Field, through: Through) -> Field:
    """Return what is seen by branches whose channels are joined."""
    first, *others = [through(branch, field) for branch in branches]
    for other in others:
        first = first.union(other)
    return first


# ------------------------------------------------------------------------------------------- words


def _sides(field: Field) -> tuple[int, int]:
    return len(field.rows.reach), len(field.columns.reach)


def _by(sizes: Iterable[int | None]) -> str:
    return " x ".join(map(str, sizes))


def _in_words(field: Field) -> str:
    counts = [np.unique(axis.reach.sum(axis=1)) for axis in (field.rows, field.columns)]
    if all(c[0] == axis.reach.shape[1] for c, axis in zip(counts, field[1:], strict=True)):
        return "whole image"
    return " x ".join(str(c[0]) if len(c) == 1 else f"{c[0]} to {c[-1]}" for c in counts)
