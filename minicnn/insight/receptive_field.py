"""Which pixels a unit can see: the receptive field of every layer, computed from the tree.

``minicnn.insight.field`` has the arithmetic of one layer. Here it is carried through a network,
with a rule for each kind of module. The fields are those of inference, where batch norm sees one
pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import singledispatch

import numpy as np

from minicnn import nn
from minicnn.insight.field import Axis, Field
from minicnn.insight.watch import refuse_fused
from minicnn.nn import probe
from minicnn.nn.module import Module, rule_of
from minicnn.ops import adaptive_avg_pool2d
from minicnn.shapes import ShapeError
from minicnn.windows import conv_windows, pool_windows


class Fields(dict[str, Field]):
    """The field of every module by name, in the order of forward; ``print`` shows a table.

    A module that is used again appears again, as ``name#2``. The table leaves out chains, because
    their last layer has the same field, and layers that see only their own pixel.
    """

    def __init__(self, image: tuple[int, ...]) -> None:
        super().__init__()
        self.image = image
        self.kinds: dict[str, str] = {}
        self.hidden: set[str] = set()  # names that the table leaves out

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
    """Return the receptive fields of every module, for an image of shape (c, h, w).

    A module without a rule, such as one of the user's own, is run on some hundred images instead.
    So the fields of the layers inside it are found.

    Raises ShapeError if a layer does not fit the one before it, and ValueError for a fused network.
    """
    refuse_fused("receptive_field", model)
    if len(image) != 3:
        raise ShapeError(f"receptive_field: image must be (c, h, w), got {tuple(image)}.")
    through = Through(model, tuple(image))
    _, h, w = image
    through([model], Field(tuple(image), Axis(np.eye(h, dtype=bool)), Axis(np.eye(w, dtype=bool))))
    return through.fields


class Through:
    """Carries a field through a chain of modules, and keeps the field of each."""

    def __init__(self, model: Module, image: tuple[int, ...]) -> None:
        self.fields = Fields(image)
        self._names: dict[int, str] = {}
        for name, module in model.named_modules():
            self._names.setdefault(id(module), name)

    def __call__(self, modules: Iterable[Module], field: Field) -> Field:
        """Return the field of the last module, or the input's field for no modules."""
        for module in modules:
            shape = module.output_shape(field.shape)
            field = _rule_of(module)(module, field, self)._replace(shape=shape)
            self.keep(module, field)
        return field

    def keep(self, module: Module, field: Field) -> None:
        """Keep the field of a module."""
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
    """Return the field of ``module``; ``field`` is the field of its input.

    A module without a rule is run to find its field. A rule is faster, and it also knows what lies
    beyond the edge of the image. You can register one for your own module. ``field`` has the
    methods ``window``, ``all`` and ``union``; ``through(modules, field)`` goes through inner
    modules:

        @insight.rule.register
        def _(block: MyBlock, field, through):
            return through([block.conv1, block.conv2], field).union(field)
    """
    *inside, (whole, window) = probe.windows(module, field.shape)
    for call, part in inside:
        through.keep(call.module, _as_seen(call, part, field)._replace(shape=call.output))
    if window is None and probe.keeps_places(module, field.shape):
        return field
    return _as_seen(whole, window, field)


def _as_seen(call: probe.Call, window: probe.Seen, field: Field) -> Field:
    """Return the field of a module that was run on units with the field ``field``."""
    if call.rows is None or call.columns is None:
        return field.all()
    high, wide = zip(*window, strict=True) if isinstance(window, tuple) else (None, None)
    return field._replace(
        rows=field.rows.seen(call.rows, high), columns=field.columns.seen(call.columns, wide)
    )


def _rule_of(module: Module):
    return rule_of(rule, module)


@rule.register(nn.ReLU)
@rule.register(nn.LeakyReLU)
@rule.register(nn.Sigmoid)
@rule.register(nn.Tanh)
@rule.register(nn.GELU)
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
        through(heads[i : i + 1], field)  # the field of a head is kept, and the chain goes on
    return field


def side_by_side(branches: Sequence[Iterable[Module]], field: Field, through: Through) -> Field:
    """Return the field of branches whose channels are joined."""
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
