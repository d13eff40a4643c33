"""Networks filled with numbers under which nothing is hidden."""

from __future__ import annotations

import numpy as np

from minicnn import nn

PERIOD = 1_000_003


def well_scaled(model: nn.Module, rng: np.random.Generator) -> None:
    """Fill parameters and buffers with numbers that keep the scale of what passes through.

    What a fresh network would hide has an effect: running statistics, biases, batch norm's weights.
    Of large arrays the numbers repeat, after a prime number of them.
    """
    for name, array in arrays_of(model).items():
        last = name.rpartition(".")[2]
        if array.dtype.kind != "f":
            array[...] = 3
        elif array.ndim >= 2:
            drawn = rng.standard_normal(min(array.size, PERIOD), dtype=np.float32)
            drawn *= np.sqrt(2 / np.prod(array.shape[1:]))
            array[...] = np.resize(drawn, array.shape)
        elif last in ("weight", "running_var"):
            low, high = (0.4, 1.0) if last == "weight" else (0.5, 1.5)
            array[...] = rng.uniform(low, high, array.shape).astype(np.float32)
        else:
            array[...] = rng.normal(0, 0.2, array.shape).astype(np.float32)


def arrays_of(model: nn.Module) -> dict[str, np.ndarray]:
    """Return all parameters and buffers by name."""
    params = {name: param.data for name, param in model.named_parameters()}
    return params | dict(model.named_buffers())
