"""Valid calls of the fused operations.

ReLU and a maximum are not smooth: if rounding moves a number to the other side of 0, a gradient
changes much. So arrays hold small integers, whose products and sums are exact. A batch norm is not
exact, so its outputs are kept away from 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from minicnn.ops import batch_norm as norm
from minicnn.testing.strategies.arrays import Fill, Values, fills
from minicnn.testing.strategies.calls import Call, Strategy, batch_norm, linear
from minicnn.testing.strategies.geometry import SMALL, Sizes

EXACT: Values = fills(("ties",))


@st.composite
def linear_relu(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = EXACT) -> Call:
    call = draw(linear(sizes, values))
    return Call("linear_relu", call.fill, call.arrays, call.options, 3)


# ------------------------------------------------------------------------ convolution and pool


@st.composite
def _axis(draw: st.DrawFn, sizes: Sizes) -> dict[str, int]:
    """Draw a side of the image, a kernel, and a pool; at least one window fits."""
    axis = {
        "kernel": draw(st.integers(1, sizes.kernel)),
        "stride": draw(st.integers(1, 3)),
        "padding": draw(st.integers(0, 2)),
        "pool_size": draw(st.integers(1, 3)),
        "pool_stride": draw(st.integers(1, 3)),
    }
    axis["pool_padding"] = draw(st.integers(0, axis["pool_size"] // 2))
    pixels = max(1, axis["pool_size"] - 2 * axis["pool_padding"])  # of the convolution
    least = (pixels - 1) * axis["stride"] + axis["kernel"] - 2 * axis["padding"]
    return axis | {"side": max(1, least) + draw(st.integers(0, 6))}


@st.composite
def conv_relu_pool(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = EXACT) -> Call:
    high, wide, fill = draw(_axis(sizes)), draw(_axis(sizes)), draw(values)
    c, o = draw(st.integers(1, 4)), draw(sizes.channels)
    x = fill(draw(sizes.batches), c, high["side"], wide["side"])
    weight = fill(o, c, high["kernel"], wide["kernel"])
    bias = fill(o) if draw(st.booleans()) else None
    names = "stride", "padding", "pool_size", "pool_stride", "pool_padding"
    options: dict[str, Any] = {name: (high[name], wide[name]) for name in names}
    options["ceil_mode"] = draw(st.booleans())
    return Call("conv_relu_pool", fill, (x, weight, bias), options, 3)


# --------------------------------------------------------------------------------- batch norm


class _NormCall(Call):
    """A call with the running arrays last, after the arrays with gradients."""

    def forward(self, impl: str) -> tuple[np.ndarray, Any]:
        x, weight, bias, residual, *running = self.arrays
        mean, var = (None if a is None else a.copy() for a in running)
        return self.op.forward(x, weight, bias, mean, var, residual, **self.options, impl=impl)


@st.composite
def batch_norm_relu(draw: st.DrawFn, sizes: Sizes = SMALL, values: Values = EXACT) -> Call:
    """Draw a call whose numbers before ReLU are not near 0; residual or bias moves them away."""
    call = draw(batch_norm(sizes, values))
    x, weight, bias, mean, var = call.arrays
    assert x is not None
    if bias is None or draw(st.booleans()):
        z = _normalised(call, bias)
        residual = call.fill.rng.integers(-2, 3, z.shape).astype(np.float64)
        residual += np.abs(z + residual) < 0.25
        added = call.fill.lay(residual.astype(x.dtype))
    else:
        z, added = _normalised(call, None), None
        bias = call.fill.lay(_shifts(np.moveaxis(z, 1, 0).reshape(bias.size, -1), call.fill))
    arrays = x, weight, bias, added, mean, var
    return _NormCall(
        "batch_norm_relu", call.fill, arrays, call.options, 4, {"running_mean": 4, "running_var": 5}
    )


def _normalised(call: Call, bias: np.ndarray | None) -> np.ndarray:
    """Return the output of the batch norm, in float64."""
    arrays = [call.arrays[0], call.arrays[1], bias, *call.arrays[3:]]
    wide: list[Any] = [None if a is None else a.astype(np.float64) for a in arrays]
    return norm.forward(*wide, **call.options, impl="textbook")[0]


def _shifts(channels: np.ndarray, fill: Fill) -> np.ndarray:
    """Return for each channel the shift that moves the widest gap between its numbers to 0."""
    shifts = np.empty(len(channels))
    for i, numbers in enumerate(np.sort(channels, axis=1)):
        gaps = np.diff(numbers)
        widest = int(gaps.argmax()) if gaps.size else 0
        apart = gaps.size and gaps[widest] > 1e-3
        shifts[i] = -(numbers[widest] + numbers[widest + 1]) / 2 if apart else 1 - numbers[0]
    return shifts.astype(fill.dtype)


FUSED: dict[str, Strategy] = {
    "batch_norm_relu": batch_norm_relu,
    "conv_relu_pool": conv_relu_pool,
    "linear_relu": linear_relu,
}
