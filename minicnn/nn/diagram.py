"""A network drawn: its layers from top to bottom, its branches side by side, as SVG.

The drawing is text, as the summary's table is, and needs no library. A chain stands in a column. A
residual block is its main branch beside its shortcut, with a sum below them; a concatenation is its
branches side by side, with their join below. A head of an auxiliary loss stands beside the chain.
A module of the reader's own, which does not say how it is built, is run, and its layers stand in
the order in which they ran, in a dashed frame.

A picture is put together from ``_Part``: each knows its size and how to draw itself from the point
where the data come in, which lies on its axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from minicnn.nn import probe
from minicnn.nn.activation import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from minicnn.nn.auxiliary import AuxiliaryHeads
from minicnn.nn.concat import Concat
from minicnn.nn.conv import Conv2d
from minicnn.nn.linear import Linear
from minicnn.nn.module import Module
from minicnn.nn.normalization import BatchNorm1d, BatchNorm2d, LocalResponseNorm
from minicnn.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from minicnn.nn.residual import Residual
from minicnn.nn.sequential import Sequential

Shape = tuple[int, ...]

MOST_BOXES = 60  # drawn where no depth is asked for: more fit on no screen
_LETTER, _BOX, _SHORT, _LONG, _BESIDE, _PAD = 6.9, 26.0, 14.0, 30.0, 26.0, 10.0  # pixels
_LONGEST = 60  # letters in a box
_INK, _GREY, _FRAME = "#222222", "#767676", "#B0B0B0"
_BY = " \N{MULTIPLICATION SIGN} "
_TINTS: tuple[tuple[tuple[type[Module], ...], str], ...] = (
    ((Conv2d,), "#CFE3F3"),
    ((Linear,), "#F8DCC8"),
    ((MaxPool2d, AvgPool2d, AdaptiveAvgPool2d), "#CDEBDF"),
    ((BatchNorm1d, BatchNorm2d, LocalResponseNorm), "#F6E7BE"),
    ((ReLU, LeakyReLU, GELU, Sigmoid, Tanh, Softmax, LogSoftmax), "#E9E9E9"),
)


class Diagram:
    """A drawing of a network, as SVG. A notebook shows it; ``viz.save`` writes it."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg


def diagram(
    model: Module, input_shape: Sequence[int] | None = None, *, depth: int | None = None
) -> Diagram:
    """Return the drawing of ``model`` for inputs of ``input_shape``, (c, h, w) or (features,).

    Shapes, without the batch, stand where they change; without ``input_shape`` there are none.
    ``depth`` is how many levels of containers are opened: 1 shows the children of ``model``. None
    opens as many as leave at most 60 boxes.

    Raises ShapeError where a layer does not fit what comes before it.
    """
    if depth is not None and depth < 1:
        raise ValueError(f"diagram: depth must be at least 1, got {depth}.")
    shape = None if input_shape is None else tuple(int(side) for side in input_shape)
    if depth is None:
        levels = 1 + max(name.count(".") for name, _ in model.named_modules())
        fit = (d for d in range(levels, 1, -1) if _boxes(model, d) <= MOST_BOXES)
        depth = next(fit, 1)
    part, out = _part(model, "", shape, depth)
    ends = [_label(f"input  {_words(shape)}"), part, _label(f"output  {_words(out)}")]
    whole = _column(ends, [None, None, None], None)
    width, height = whole.left + whole.right + 2 * _PAD, whole.height + 2 * _PAD
    drawn = "\n".join(whole.draw(whole.left + _PAD, _PAD))
    return Diagram(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="12" '
        f'fill="{_INK}">\n<rect width="100%" height="100%" fill="white"/>\n{drawn}\n</svg>\n'
    )


# ------------------------------------------------------------------------- from modules to parts


class _Part(NamedTuple):
    left: float  # from the axis, in pixels
    right: float
    height: float
    draw: Callable[[float, float], list[str]]  # from the axis and the top


def _part(module: Module, name: str, shape: Shape | None, depth: int) -> tuple[_Part, Shape | None]:
    """Return the drawing of a module, and the shape that it gives."""
    out = None if shape is None else module.output_shape(shape)
    if depth == 0 or not any(True for _ in module.named_children()):
        return _box(module, name), out
    names = {id(m): path for path, m in module.named_modules()}

    def chain(modules: Sequence[Module], at: Shape | None, deeper: int = depth - 1) -> _Part:
        parts, shapes, first = [], [], at
        for child in modules:
            part, at = _part(child, names.get(id(child), ""), at, deeper)
            parts.append(part)
            shapes.append(at)
        return _column(parts, shapes, first)

    if isinstance(module, Sequential) and type(module).forward is Sequential.forward:
        inside = chain(list(module), shape)
        return (_frame(inside, name, module) if name else inside), out
    if isinstance(module, Residual) and type(module).forward is Residual.forward:
        main, shortcut, activation = module.branches()
        both = _branches([chain(main, shape), chain(shortcut, shape)], "+")
        middle = None if shape is None else _through(main, shape)
        parts, shapes = [both], [middle]
        if activation:
            parts.append(chain(activation, middle))
            shapes.append(out)
        return _frame(_column(parts, shapes, shape), name, module), out
    if isinstance(module, Concat) and type(module).forward is Concat.forward:
        parts = [chain(branch, shape) for branch in module.branches()]
        return _frame(_branches(parts, "join channels"), name, module), out
    if isinstance(module, AuxiliaryHeads) and type(module).forward is AuxiliaryHeads.forward:
        stages, heads = module.branches()
        parts, shapes, at = [], [], shape
        for i, stage in enumerate(stages):
            parts.append(chain(stage, at))
            at = None if at is None else _through(stage, at)
            shapes.append(at)
            if i < len(heads):
                parts.append(_aside(_box(heads[i], names[id(heads[i])])))
                shapes.append(at)
        return _column(parts, shapes, shape), out
    if shape is None or type(module).output_shape is not Module.output_shape:
        return _box(module, name), out
    calls = probe.calls(module, shape, reach=False)[:-1]
    parts = [_part(c.module, c.name, c.input, depth - 1)[0] for c in calls]
    if not parts:
        return _box(module, name), out
    inside = _column(parts, [c.output for c in calls], shape)
    return _frame(inside, name, module, dashed=True), out


def _through(modules: Sequence[Module], shape: Shape) -> Shape:
    for module in modules:
        shape = module.output_shape(shape)
    return shape


def _boxes(module: Module, depth: int) -> int:
    """Return how many boxes a module takes, about, if ``depth`` levels are opened."""
    children = [child for _, child in module.named_children()]
    return sum(_boxes(child, depth - 1) for child in children) if children and depth else 1


# ------------------------------------------------------------------------------ parts of a drawing


def _box(module: Module, name: str) -> _Part:
    children = any(True for _ in module.named_children())
    if children:
        numbers = sum(p.data.size for p in module.parameters())
        what = f"{type(module).__name__}, {numbers:,} parameters"
    else:
        what = _kind(module)
    what = what if len(what) <= _LONGEST else what[: _LONGEST - 1] + "…"
    tint = next((colour for kinds, colour in _TINTS if isinstance(module, kinds)), "#FFFFFF")
    half = (len(name) + len(what) + 3) * _LETTER / 2

    def draw(x: float, y: float) -> list[str]:
        bold = f'<tspan font-weight="bold">{escape(name)}</tspan>  ' if name else ""
        return [
            f'<rect x="{x - half:.1f}" y="{y:.1f}" width="{2 * half:.1f}" height="{_BOX:g}" '
            f'rx="4" fill="{tint}" stroke="{_GREY}"/>',
            _text(x, y + _BOX / 2 + 4, f"{bold}{escape(what)}", raw=True),
        ]

    return _Part(half, half, _BOX, draw)


def _kind(module: Module) -> str:
    """Return the kind of a layer with what its shapes do not tell."""
    if isinstance(module, Conv2d | MaxPool2d | AvgPool2d):
        conv = isinstance(module, Conv2d)
        kernel = _pair(
            module.weight.data.shape[2:] if isinstance(module, Conv2d) else module.kernel_size
        )
        usual = {"stride": (1, 1) if conv else kernel, "padding": (0, 0), "dilation": (1, 1)}
        words = [_BY.join(map(str, kernel))]
        for option in (*usual, "groups"):
            value = getattr(module, option, None)
            if value is not None and _pair(value) != usual.get(option, (1, 1)):
                words.append(f"{option} {value}")
        return f"{type(module).__name__} {', '.join(words)}"
    known = isinstance(module, Linear | BatchNorm1d | BatchNorm2d)
    return type(module).__name__ if known else repr(module).removesuffix("()")


def _pair(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def _label(words: str) -> _Part:
    words = words.strip()
    half = len(words) * _LETTER / 2
    return _Part(half, half, 16.0, lambda x, y: [_text(x, y + 12, words)])


def _column(parts: Sequence[_Part], shapes: Sequence[Shape | None], first: Shape | None) -> _Part:
    """Put parts below each other on one axis; a new shape stands below the part that it leaves."""
    gaps, words = [], [0.0]
    for i, _ in enumerate(parts[:-1]):
        new = shapes[i] is not None and shapes[i] != (shapes[i - 1] if i else first)
        gaps.append(_LONG if new else _SHORT)
        words.append((8 + len(_words(shapes[i])) * _LETTER) * new)
    height = sum(part.height for part in parts) + sum(gaps)
    left = max((part.left for part in parts), default=0.0)
    right = max([part.right for part in parts] + words)

    def draw(x: float, y: float) -> list[str]:
        lines = []
        for i, part in enumerate(parts):
            lines += part.draw(x, y)
            y += part.height
            if i < len(gaps):
                lines.append(_arrow(x, y, x, y + gaps[i]))
                if gaps[i] == _LONG:
                    lines.append(_text(x + 8, y + 19, _words(shapes[i]), anchor="start"))
                y += gaps[i]
        return lines

    return _Part(left, right, height, draw)


def _branches(parts: Sequence[_Part], sign: str) -> _Part:
    """Put chains side by side, between a fork and the sign that joins them."""
    width = sum(part.left + part.right for part in parts) + _BESIDE * (len(parts) - 1)
    inner = max(part.height for part in parts)
    half = 11.0 if sign == "+" else len(sign) * _LETTER / 2 + 8
    height = 2 * _SHORT + inner + 2 * _SHORT + 22
    axes, at = [], 0.0
    for part in parts:
        axes.append(at + part.left)
        at += part.left + part.right + _BESIDE
    axis = axes[0] if len(parts) == 2 and parts[1].height == 0 else width / 2
    left, right = max(axis, half), max(width - axis, half)

    def draw(x: float, y: float) -> list[str]:
        bend, below = y + _SHORT, y + 2 * _SHORT + inner
        lines = [_line(x, y, x, bend)]
        for part, own in zip(parts, axes, strict=True):
            at = x - axis + own
            lines.append(_line(x, bend, at, bend))
            if part.height:
                lines.append(_arrow(at, bend, at, bend + _SHORT))
                lines += part.draw(at, bend + _SHORT)
            lines.append(
                _line(at, bend + _SHORT * bool(part.height) + part.height, at, below + _SHORT)
            )
            lines.append(_line(at, below + _SHORT, x, below + _SHORT))
        top = below + 2 * _SHORT
        lines.append(_arrow(x, below + _SHORT, x, top))
        lines.append(
            f'<rect x="{x - half:.1f}" y="{top:.1f}" width="{2 * half:.1f}" height="22" rx="11" '
            f'fill="white" stroke="{_INK}"/>'
        )
        return [*lines, _text(x, top + 15, sign)]

    return _Part(left, right, height, draw)


def _aside(head: _Part) -> _Part:
    """Put a head beside the axis, which goes on."""
    away = 40.0

    def draw(x: float, y: float) -> list[str]:
        middle = y + _BOX / 2
        return [
            _line(x, y, x, y + _BOX),
            _arrow(x, middle, x + away, middle),
            *head.draw(x + away + head.left, y),
            _text(x + away + 2 * head.left + 6, middle + 4, "in training", anchor="start"),
        ]

    return _Part(0.0, away + 2 * head.left + 12 * _LETTER, _BOX, draw)


def _frame(part: _Part, name: str, module: Module, *, dashed: bool = False) -> _Part:
    """Put a frame around a part, with the name and the kind of its module."""
    words = f"{name}  {type(module).__name__}".strip()
    top = 20.0
    left = part.left + _PAD
    right = max(part.right + _PAD, len(words) * _LETTER + 12 - left)
    height = top + part.height + _PAD
    stroke = ' stroke-dasharray="5 3"' if dashed else ""

    def draw(x: float, y: float) -> list[str]:
        return [
            f'<rect x="{x - left:.1f}" y="{y:.1f}" width="{left + right:.1f}" '
            f'height="{height:.1f}" rx="6" fill="none" stroke="{_FRAME}"{stroke}/>',
            _line(x, y, x, y + top),
            _text(x - left + 6, y + 13, words, anchor="start", colour=_GREY),
            *part.draw(x, y + top),
            _line(x, y + top + part.height, x, y + height),
        ]

    return _Part(left, right, height, draw)


def _words(shape: Shape | None) -> str:
    return _BY.join(map(str, shape or ()))


def _text(
    x: float, y: float, words: str, *, anchor: str = "middle", colour: str = _INK, raw: bool = False
) -> str:
    inside, halo = (words, 0) if raw else (escape(words), 4)  # white around what a line may cross
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'xml:space="preserve" paint-order="stroke" stroke="white" stroke-width="{halo}">'
        f"{inside}</text>"
    )


def _line(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="{_GREY}" fill="none"/>'


def _arrow(x0: float, y0: float, x1: float, y1: float) -> str:
    """Return a line with a head at its end; it runs down or to the right."""
    if y1 > y0:
        tip = f"M{x1 - 4:.1f} {y1 - 7:.1f}L{x1:.1f} {y1:.1f}L{x1 + 4:.1f} {y1 - 7:.1f}Z"
    else:
        tip = f"M{x1 - 7:.1f} {y1 - 4:.1f}L{x1:.1f} {y1:.1f}L{x1 - 7:.1f} {y1 + 4:.1f}Z"
    return f'{_line(x0, y0, x1, y1)}<path d="{tip}" fill="{_GREY}"/>'
