"""First values of weights, under their usual names; each returns a new array.

If the inputs of a unit have variance 1 and its weights variance v, its sum has variance fan_in * v.
Xavier keeps this variance near 1 in forward and in backward: v = 2 / (fan_in + fan_out). ReLU sets
half of the numbers to 0, and Kaiming makes up for it: v = gain^2 / fan with gain^2 = 2. A uniform
distribution on -b..b has variance b^2 / 3.

Source
    Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward networks;
    He et al. (2015), Delving deep into rectifiers. Names, defaults and gains are torch.nn.init's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from minicnn.nn.module import Module
from minicnn.shapes import ShapeError, check_choice, check_rng

FanMode = Literal["fan_in", "fan_out"]
GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2)}


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight (out, in) or (out, in/groups, kh, kw)."""
    if len(shape) < 2:
        raise ShapeError(f"init: a weight has at least 2 axes, got shape {tuple(shape)}.")
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def gain(nonlinearity: str, a: float = 0.01) -> float:
    """Return the factor of weights before ``nonlinearity``; ``a`` is the slope of leaky_relu."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + a * a))
    check_choice("init", "nonlinearity", nonlinearity, (*GAINS, "leaky_relu"))
    return GAINS[nonlinearity]


PIECE = 2**15  # numbers drawn at a time; in float64 these are 256 KiB


def uniform(
    shape: Sequence[int], bound: float, *, rng: np.random.Generator, dtype: Any = np.float32
) -> np.ndarray:
    """Return numbers between -bound and bound."""
    return _drawn(shape, rng, dtype, lambda n: rng.uniform(-bound, bound, n))


def normal(
    shape: Sequence[int], std: float, *, rng: np.random.Generator, dtype: Any = np.float32
) -> np.ndarray:
    """Return numbers of mean 0 and standard deviation ``std``."""
    return _drawn(shape, rng, dtype, lambda n: rng.normal(0, std, n))


def _drawn(
    shape: Sequence[int],
    rng: np.random.Generator,
    dtype: Any,
    draw: Callable[[int], np.ndarray],
) -> np.ndarray:
    """Draw an array of ``shape``, piece by piece.

    Drawn at once, the 124 million weights of VGG's classifier would need a gigabyte in float64.
    """
    if isinstance(rng, Undrawn):
        return np.zeros(shape, dtype)
    weights = np.empty(shape, dtype)
    flat = weights.reshape(-1)
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE]
        piece[...] = draw(piece.size)
    return weights


class Undrawn(np.random.Generator):
    """A generator for networks whose weights are loaded afterwards: the weights stay zeros.

    Drawing the 138 million weights of VGG-16 would take seconds. Dropout uses it as usual.
    """


def xavier_uniform(
    shape: Sequence[int], gain: float = 1.0, *, rng: np.random.Generator, dtype: Any = np.float32
) -> np.ndarray:
    return uniform(shape, gain * math.sqrt(6 / sum(fans(shape))), rng=rng, dtype=dtype)


def xavier_normal(
    shape: Sequence[int], gain: float = 1.0, *, rng: np.random.Generator, dtype: Any = np.float32
) -> np.ndarray:
    return normal(shape, gain * math.sqrt(2 / sum(fans(shape))), rng=rng, dtype=dtype)


def kaiming_uniform(
    shape: Sequence[int],
    a: float = 0.0,
    mode: FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: np.random.Generator,
    dtype: Any = np.float32,
) -> np.ndarray:
    std = _kaiming_std(shape, a, mode, nonlinearity)
    return uniform(shape, math.sqrt(3) * std, rng=rng, dtype=dtype)


def kaiming_normal(
    shape: Sequence[int],
    a: float = 0.0,
    mode: FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: np.random.Generator,
    dtype: Any = np.float32,
) -> np.ndarray:
    return normal(shape, _kaiming_std(shape, a, mode, nonlinearity), rng=rng, dtype=dtype)


def _kaiming_std(shape: Sequence[int], a: float, mode: FanMode, nonlinearity: str) -> float:
    check_choice("init", "mode", mode, ("fan_in", "fan_out"))
    fan = fans(shape)[("fan_in", "fan_out").index(mode)]
    return gain(nonlinearity, a) / math.sqrt(fan)


def default_weight(
    shape: Sequence[int], *, rng: np.random.Generator, dtype: Any = np.float32
) -> np.ndarray:
    """Return torch's default for Conv2d and Linear: uniform within 1 / sqrt(fan_in)."""
    return kaiming_uniform(shape, math.sqrt(5), rng=rng, dtype=dtype)


def default_bias(
    weight_shape: Sequence[int], *, rng: np.random.Generator, dtype: Any = np.float32
) -> np.ndarray:
    """Return torch's default bias for that weight: uniform within 1 / sqrt(fan_in)."""
    bound = 1 / math.sqrt(fans(weight_shape)[0])
    return uniform(weight_shape[:1], bound, rng=rng, dtype=dtype)


Init = Callable[..., np.ndarray]  # (shape, *, rng, dtype) -> weight


def weight_and_bias(
    shape: Sequence[int], bias: bool, init: Init | None, rng: np.random.Generator, dtype: Any
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the first values of a layer: torch's defaults, or ``init``'s with a bias of 0."""
    check_rng("init", rng)
    weight = (init or default_weight)(shape, rng=rng, dtype=dtype)
    if not bias:
        return weight, None
    if init:
        return weight, np.zeros(shape[0], dtype)
    return weight, default_bias(shape, rng=rng, dtype=dtype)


SCHEMES: dict[str, Init] = {
    "kaiming_uniform": kaiming_uniform,
    "kaiming_normal": kaiming_normal,
    "xavier_uniform": xavier_uniform,
    "xavier_normal": xavier_normal,
}


def initialize(model: Module, scheme: str, *, rng: np.random.Generator) -> None:
    """Draw every weight of ``model`` anew by one of SCHEMES, and set every bias to 0."""
    check_choice("init", "scheme", scheme, tuple(SCHEMES))
    for name, param in model.named_parameters():
        if param.data.ndim >= 2:
            param.data[...] = SCHEMES[scheme](param.data.shape, rng=rng)
        elif name.rpartition(".")[2] == "bias":
            param.data[...] = 0
