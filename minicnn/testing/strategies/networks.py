"""Images, and small networks that take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from minicnn import nn
from minicnn.testing.strategies.arrays import FINITE, Values
from minicnn.testing.strategies.geometry import SMALL, Sizes


@st.composite
def images(
    draw: st.DrawFn,
    channels: int | None = None,
    least: int = 1,
    sizes: Sizes = SMALL,
    values: Values = FINITE,
) -> np.ndarray:
    """Draw a batch (n, c, h, w), not square as a rule, with sides of ``least`` or more pixels."""
    fill, sides = draw(values), st.integers(least, least + 5)
    c = draw(sizes.channels) if channels is None else channels
    return fill(draw(sizes.batches), c, draw(sides), draw(sides))


@st.composite
def networks(
    draw: st.DrawFn, sizes: Sizes = SMALL, dtype: Any = np.float64
) -> tuple[nn.Sequential, np.ndarray]:
    """Draw a network of up to four layers and a classifier, and a batch that it takes.

    Every layer is chosen to fit on what the one before it leaves; there are two images or more,
    for batch norm to have a variance.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, *shape = 1 + draw(sizes.batches), draw(sizes.channels), *draw(_sides)
    x = rng.standard_normal((n, *shape)).astype(dtype)
    layers: list[nn.Module] = []
    for kind in draw(st.lists(st.sampled_from(KINDS_OF_LAYER), max_size=4)):
        layer = draw(_layer(kind, tuple(shape), sizes, rng, dtype))
        layers.append(layer)
        shape = list(layer.output_shape(tuple(shape)))
    layers += [nn.Flatten(), nn.Linear(int(np.prod(shape)), 3, rng=rng, dtype=dtype)]
    return nn.Sequential(*layers), x


_sides = st.tuples(st.integers(1, 8), st.integers(1, 8))

KINDS_OF_LAYER = ("activation", "conv", "max pool", "avg pool", "dropout", "batch norm")


@st.composite
def _layer(
    draw: st.DrawFn, kind: str, shape: tuple[int, ...], sizes: Sizes, rng: np.random.Generator,
    dtype: Any,
) -> nn.Module:  # fmt: skip
    c, *image = shape
    if kind == "activation":
        return draw(st.sampled_from([nn.ReLU, nn.LeakyReLU, nn.GELU, nn.Sigmoid, nn.Tanh]))()
    if kind == "dropout":
        return nn.Dropout(draw(st.sampled_from([0.1, 0.5])), rng=rng)
    if kind == "batch norm":
        return nn.BatchNorm2d(c, dtype=dtype)
    kernel = tuple(draw(st.integers(1, min(side, sizes.kernel))) for side in image)
    stride = draw(st.integers(1, 2))
    if kind == "conv":
        padding = draw(st.integers(0, 1))
        out = draw(sizes.channels)
        return nn.Conv2d(c, out, kernel, stride, padding, rng=rng, dtype=dtype)
    ceil = draw(st.booleans())
    pool = nn.MaxPool2d if kind == "max pool" else nn.AvgPool2d
    return pool(kernel, stride, ceil_mode=ceil)
