"""A table of a network: each layer's output, parameters, multiply-adds and receptive field.

The receptive field of a unit is the square of input pixels that can move it. A layer with kernel k,
dilation d and stride s, on top of layers whose field is f and whose neighbouring units lie ``jump``
input pixels apart, sees

    f' = f + (k - 1) * d * jump        jump' = jump * s
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from minicnn.nn.auxiliary import AuxiliaryHeads
from minicnn.nn.module import Module
from minicnn.nn.sequential import Sequential

Field = tuple[int, int]


class Row(NamedTuple):
    """One layer. Shapes are without the batch."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    field: Field | None  # (height, width) in pixels of the input; None: all of it


def summarize(model: Module, image: tuple[int, ...]) -> list[Row]:
    """Return a row for each layer, in the order of forward, for images of shape ``image``.

    An auxiliary head is one row where it leaves the chain; inference has none of its products.
    Raises ShapeError where a layer does not fit what comes before it.
    """
    rows: list[Row] = []
    shape, field, jump = image, (1, 1), (1, 1)
    seen_all = False
    counted: set[int] = set()  # a layer that is used twice has its parameters once
    for name, layer, aside in _layers(model):
        parameters = sum(p.data.size for p in layer.parameters() if id(p) not in counted)
        counted.update(id(p) for p in layer.parameters())
        kind = type(layer).__name__
        if aside:
            rows.append(Row(name, kind, layer.output_shape(shape), parameters, 0, None))
            continue
        macs, window = layer.multiply_adds(shape), layer.window(shape)
        shape = layer.output_shape(shape)
        seen_all = seen_all or window is None
        if window is not None:
            (kh, kw), (sh, sw), (dh, dw) = window
            field = (field[0] + (kh - 1) * dh * jump[0], field[1] + (kw - 1) * dw * jump[1])
            jump = (jump[0] * sh, jump[1] * sw)
        rows.append(Row(name, kind, shape, parameters, macs, None if seen_all else field))
    return rows


def as_text(rows: list[Row], image: tuple[int, ...]) -> str:
    """Return the table as aligned text with a line of totals."""
    head = ("layer", "kind", "output", "parameters", "multiply-adds", "receptive field")
    body = [
        (
            row.name,
            row.kind,
            " x ".join(map(str, row.output)),
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.multiply_adds:,}" if row.multiply_adds else "",
            "whole image" if row.field is None else f"{row.field[0]} x {row.field[1]}",
        )
        for row in rows
    ]
    total = (
        "total", "", "", f"{sum(r.parameters for r in rows):,}",
        f"{sum(r.multiply_adds for r in rows):,}", "",
    )  # fmt: skip
    lines = [head, *body, total]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    right = {3, 4}
    text = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    size = " x ".join(map(str, image))
    pixels = math.prod(image)
    title = f"input {size} ({pixels:,} numbers); multiply-adds are those of one image"
    return "\n".join([title, "", text[0], rule, *text[1:-1], rule, text[-1]])


def _layers(model: Module, prefix: str = "") -> Iterator[tuple[str, Module, bool]]:
    """Yield what a chain consists of, by name; any other module is one layer.

    True marks a head: it stands aside, and the chain goes on from where it was.
    """
    if isinstance(model, Sequential):
        chain = [(name, child, False) for name, child in model.named_children()]
    elif isinstance(model, AuxiliaryHeads):
        chain = _with_heads(model)
    else:
        yield prefix or "model", model, False
        return
    for name, child, aside in chain:
        path = f"{prefix}.{name}" if prefix else name
        if aside:
            yield path, child, True
        else:
            yield from _layers(child, path)


def _with_heads(model: AuxiliaryHeads) -> list[tuple[str, Module, bool]]:
    names: dict[int, str] = {}
    for name, module in model.named_modules():
        names.setdefault(id(module), name)  # of a module that is used twice the first
    stages, heads = model.branches()
    chain = []
    for i, stage in enumerate(stages):
        chain += [(names[id(child)], child, False) for child in stage]
        chain += [(names[id(head)], head, True) for head in heads[i : i + 1]]
    return chain
