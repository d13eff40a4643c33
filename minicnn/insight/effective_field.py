"""The effective receptive field: how much each pixel of its field matters to a unit.

The gradient of a unit with respect to the image tells how strongly each pixel acts on the unit. A
pixel in the middle of the field reaches the unit on many more paths than a pixel at the edge. With
random weights, each layer spreads the gradient by its kernel. By the central limit theorem, many
layers together give a Gaussian. Its width grows with the square root of the depth, while the width
of the receptive field grows linearly with the depth.

Source
    Luo, Li, Urtasun & Zemel (2016), Understanding the effective receptive field in deep
    convolutional neural networks.
    Guo (2011), A simple algorithm for fitting a Gaussian function: the fit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicnn.insight.watch import frozen, maps_of, watching
from minicnn.nn import Module
from minicnn.shapes import ShapeError, check_image


def effective_field(
    model: Module,
    x: np.ndarray,
    layer: str = "",
    *,
    unit: tuple[int, int] | None = None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return (h, w): the mean absolute gradient of a unit, over images ``x`` (n, c, h, w).

    Without ``unit`` it is the middle one of the layer's output (n, channels, oh, ow). For each
    image, ``rng`` draws a random mixture of the unit's channels. Runs in inference; changes
    nothing.
    """
    check_image("effective_field", "x", x)
    with watching(model, layer) as seen, frozen(model):
        y, cache = model.forward(x, training=False)
        inner = maps_of("effective_field", layer, seen[layer])
        i, j = unit if unit is not None else (inner.shape[2] // 2, inner.shape[3] // 2)
        if not (0 <= i < inner.shape[2] and 0 <= j < inner.shape[3]):
            raise ShapeError(f"effective_field: there is no unit {unit} in {inner.shape[2:]}.")
        dy = np.zeros_like(inner)
        dy[:, :, i, j] = rng.standard_normal(inner.shape[:2])
        seen[layer].inject(dy)
        dx = model.backward(np.zeros_like(y), cache)
    assert dx is not None
    return np.abs(dx).mean(axis=(0, 1))


class Gaussian(NamedTuple):
    """height * exp(-(p - row)^2 / (2 std[0]^2) - (q - column)^2 / (2 std[1]^2))."""

    height: float
    centre: tuple[float, float]  # row, column
    std: tuple[float, float]  # in pixels; infinite if there is no peak
    r2: float  # the share of the variance that it explains; 1 is a perfect fit

    def __call__(self, h: int, w: int) -> np.ndarray:
        """Return its values at the pixels of an image (h, w)."""
        p, q = np.arange(h)[:, None], np.arange(w)
        return self.height * np.exp(
            -((p - self.centre[0]) ** 2) / (2 * self.std[0] ** 2)
            - (q - self.centre[1]) ** 2 / (2 * self.std[1] ** 2)
        )


def fit_gaussian(values: np.ndarray, *, rounds: int = 20) -> Gaussian:
    """Fit a Gaussian with axes along rows and columns to ``values`` (h, w), which are not negative.

    The logarithm of a Gaussian is a quadratic function, so a linear system finds it. An error e of
    a value z is an error e/z of its logarithm; therefore the weights are z. From the second round
    on, z is taken from the fit, which has no noise.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or (values < 0).any() or (values > 0).sum() < 5:
        raise ValueError(
            "fit_gaussian: values must be (h, w), not negative, at least 5 of them positive."
        )
    p, q = np.nonzero(values)
    z = values[p, q]
    middle = np.array(values.shape) / 2  # small numbers keep the system well conditioned
    u, v = p - middle[0], q - middle[1]
    parabola = np.stack([np.ones_like(u), u, u * u, v, v * v], axis=1)
    weight = z
    for _ in range(rounds):
        a = np.linalg.lstsq(parabola * weight[:, None], np.log(z) * weight, rcond=None)[0]
        weight = np.exp(np.minimum(parabola @ a, np.log(z.max())))
    with np.errstate(divide="ignore", invalid="ignore"):
        std = [float(np.sqrt(-0.5 / c)) if c < 0 else np.inf for c in (a[2], a[4])]
        shift = [float(-b / (2 * c)) if c < 0 else 0.0 for b, c in ((a[1], a[2]), (a[3], a[4]))]
    height = float(np.exp(a[0] - a[2] * shift[0] ** 2 - a[4] * shift[1] ** 2))
    centre = float(middle[0] + shift[0]), float(middle[1] + shift[1])
    fitted = Gaussian(height, centre, (std[0], std[1]), 0.0)
    spread = float(((values - values.mean()) ** 2).sum()) or 1.0
    return fitted._replace(r2=1 - float(((values - fitted(*values.shape)) ** 2).sum()) / spread)
