"""A table of a network: each layer's output, parameters, multiply-adds and receptive field.

The receptive field of a unit is the square of input pixels that it depends on. Below a layer with
kernel k, dilation d and stride s, let the field be f, and let neighbouring units lie ``jump`` input
pixels apart. Then the layer has

    f' = f + (k - 1) * d * jump        jump' = jump * s
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from minicnn.nn import probe
from minicnn.nn.auxiliary import AuxiliaryHeads
from minicnn.nn.module import Module, Param, Unknown, Window
from minicnn.nn.sequential import Sequential

Field = tuple[int, int]
UNKNOWN = (0, 0)  # the field of units whose pixels are not a window
PIXEL: Window = (1, 1), (1, 1), (1, 1)


class Row(NamedTuple):
    """One layer. Shapes are without the batch."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int | None  # None: the user's own layer does not define it
    field: Field | None  # (height, width) in pixels of the input; None: all of it; or UNKNOWN


def summarize(model: Module, image: tuple[int, ...]) -> list[Row]:
    """Return a row for each layer, in the order of forward, for images of shape ``image``.

    An auxiliary head is one row at the point where it is attached; its multiply-adds are not
    counted, since inference leaves it out. A module of the user's own is run. It has a row for each
    layer that runs inside it, in their order, and one row for its other work, with the shapes and
    fields that were seen. Raises ShapeError if a layer does not fit the one before it.
    """
    table = _Table(image)
    for name, layer, aside in _layers(model):
        if aside:
            output = layer.output_shape(table.shape)
            table.add(name, layer, output, 0, None)
        elif probe.leads_through(layer):
            _run_through(table, name, layer)
        else:
            before = table.shape
            table.look(_window(layer, before))
            table.shape = layer.output_shape(before)
            table.add(name, layer, table.shape, _products(layer, before), table.field)
    return table.rows


class _Table:
    """The rows so far, and the field of the units of the last layer."""

    def __init__(self, image: tuple[int, ...]) -> None:
        self.rows: list[Row] = []
        self.shape = image
        self.field: Field | None = (1, 1)
        self._jump = (1, 1)
        self._counted: set[int] = set()  # the parameters of a layer that is used twice count once

    def add(
        self, name: str, layer: Module, output: tuple[int, ...], products: int | None,
        field: Field | None, own: bool = False,
    ) -> None:  # fmt: skip
        """Add a row; with ``own``, only with parameters that belong to no inner module."""
        params = [p for p in vars(layer).values() if isinstance(p, Param)]
        params = params if own else layer.parameters()
        new = {id(p): p.data.size for p in params if id(p) not in self._counted}
        self._counted |= new.keys()
        kind = type(layer).__name__
        self.rows.append(Row(name, kind, output, sum(new.values()), products, field))

    def look(self, window: Window | Literal["unknown"] | None) -> None:
        """Update the field for a layer whose units see a window of the units before."""
        self.field, self._jump = self.through(window)

    def through(self, window: Window | Literal["unknown"] | None) -> tuple[Field | None, Field]:
        """Return (field, jump) of units that see a window of the units here."""
        if self.field is None or window is None:
            return None, self._jump
        if self.field == UNKNOWN or window == "unknown":
            return UNKNOWN, self._jump
        (kh, kw), (sh, sw), (dh, dw) = window
        (h, w), (jh, jw) = self.field, self._jump
        return (h + (kh - 1) * dh * jh, w + (kw - 1) * dw * jw), (jh * sh, jw * sw)


def _run_through(table: _Table, name: str, layer: Module) -> None:
    """Add rows for the layers inside a module of the user's own, and for its other work."""
    *inside, (whole, last) = probe.windows(layer, table.shape)
    field = table.field
    for call, window in inside:
        # For vectors, a unit that depends on one number has the field of this number.
        if len(call.output) == 3 or _window(call.module, call.input) != PIXEL:
            field, _ = table.through(window)
        path = call.name if name == "model" else f"{name}.{call.name}"
        table.add(path, call.module, call.output, _products(call.module, call.input), field)
    table.look(last)
    table.shape = whole.output
    if not whole.handed_on or any(isinstance(value, Param) for value in vars(layer).values()):
        table.add(name, layer, whole.output, _products(layer, whole.input, own=True), table.field,
                  own=True)  # fmt: skip


def _window(layer: Module, shape: tuple[int, ...]) -> Window | Literal["unknown"] | None:
    try:
        return layer.window(shape)
    except Unknown:
        return "unknown"


def _products(layer: Module, shape: tuple[int, ...], own: bool = False) -> int | None:
    """Return the multiply-adds of a layer; with ``own`` without its modules'. None: unknown."""
    try:
        if own:
            probe.refuse_own_products(layer)
            return 0
        return layer.multiply_adds(shape)
    except Unknown:
        return None


def as_text(rows: list[Row], image: tuple[int, ...]) -> str:
    """Return the table as aligned text with a line of totals."""
    head = ("layer", "kind", "output", "parameters", "multiply-adds", "receptive field")
    body = [
        (
            row.name,
            row.kind,
            " x ".join(map(str, row.output)),
            f"{row.parameters:,}" if row.parameters else "",
            _number(row.multiply_adds),
            _in_words(row.field),
        )
        for row in rows
    ]
    total = (
        "total", "", "", f"{sum(r.parameters for r in rows):,}",
        f"{sum(r.multiply_adds or 0 for r in rows):,}", "",
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
    return "\n".join([title, "", text[0], rule, *text[1:-1], rule, text[-1], *_notes(rows)])


def _number(products: int | None) -> str:
    return "?" if products is None else f"{products:,}" if products else ""


def _in_words(field: Field | None) -> str:
    return "whole image" if field is None else "?" if field == UNKNOWN else "{} x {}".format(*field)


def _notes(rows: list[Row]) -> list[str]:
    """Return lines that say what is not known, and what to add to a layer."""
    silent = dict.fromkeys(row.kind for row in rows if row.multiply_adds is None)
    odd = next((row.kind for row in rows if row.field == UNKNOWN), None)
    notes = []
    if silent:
        notes.append(
            f"? multiply-adds: not known of {', '.join(silent)}; the total leaves them out. Add "
            f"multiply_adds(self, shape) to your own layer{'s' if len(silent) > 1 else ''}."
        )
    if odd:
        notes.append(
            f"? receptive field: what {odd} sees is not a window, or several fit; "
            "insight.receptive_field shows it."
        )
    return ["", *notes] if notes else []


def _layers(model: Module, prefix: str = "") -> Iterator[tuple[str, Module, bool]]:
    """Yield the modules of a chain by name; any other module is one layer.

    True marks a head: it is beside the chain, which continues from the same point.
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
        names.setdefault(id(module), name)  # the first, if a module is used twice
    stages, heads = model.branches()
    chain = []
    for i, stage in enumerate(stages):
        chain += [(names[id(child)], child, False) for child in stage]
        chain += [(names[id(head)], head, True) for head in heads[i : i + 1]]
    return chain
