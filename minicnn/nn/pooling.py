"""Pools as layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicnn.nn.module import NoProducts, Window, needs_image
from minicnn.ops import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from minicnn.shapes import pair
from minicnn.windows import pool_stride, pool_windows


class MaxPool2d(NoProducts):
    """The maximum of each window."""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, max_pool2d.Cache]:
        return max_pool2d.forward(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
            impl=self.impl,
        )  # fmt: skip

    def backward(
        self, dy: np.ndarray, cache: max_pool2d.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return max_pool2d.backward(dy, cache, impl=self.impl) if input_grad else None

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        c, *image = needs_image("MaxPool2d", shape)
        g = pool_windows(
            "MaxPool2d", image, self.kernel_size, self.stride, self.padding, self.dilation,  # type: ignore[arg-type]
            self.ceil_mode,
        )  # fmt: skip
        return c, g.oh, g.ow

    def window(self, shape: tuple[int, ...]) -> Window | None:
        kernel = pair("MaxPool2d", "kernel_size", self.kernel_size, 1)
        stride = pool_stride("MaxPool2d", self.stride, kernel)
        return kernel, stride, pair("MaxPool2d", "dilation", self.dilation, 1)

    def _options(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(NoProducts):
    """The mean of each window."""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, avg_pool2d.Cache]:
        return avg_pool2d.forward(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override, impl=self.impl,
        )  # fmt: skip

    def backward(
        self, dy: np.ndarray, cache: avg_pool2d.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return avg_pool2d.backward(dy, cache, impl=self.impl) if input_grad else None

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        c, *image = needs_image("AvgPool2d", shape)
        g = pool_windows(
            "AvgPool2d", image, self.kernel_size, self.stride, self.padding,  # type: ignore[arg-type]
            ceil_mode=self.ceil_mode,
        )  # fmt: skip
        return c, g.oh, g.ow

    def window(self, shape: tuple[int, ...]) -> Window | None:
        kernel = pair("AvgPool2d", "kernel_size", self.kernel_size, 1)
        stride = pool_stride("AvgPool2d", self.stride, kernel)
        return kernel, stride, (1, 1)

    def _options(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}, "
            f"divisor_override={self.divisor_override}"
        )


class AdaptiveAvgPool2d(NoProducts):
    """The mean of each region of a grid of ``output_size``; None keeps the size of a side."""

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        self.output_size = output_size

    def forward(
        self, x: np.ndarray, *, training: bool
    ) -> tuple[np.ndarray, adaptive_avg_pool2d.Cache]:
        return adaptive_avg_pool2d.forward(x, self.output_size, impl=self.impl)

    def backward(
        self, dy: np.ndarray, cache: adaptive_avg_pool2d.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return adaptive_avg_pool2d.backward(dy, cache, impl=self.impl) if input_grad else None

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        c, h, w = needs_image("AdaptiveAvgPool2d", shape)
        return c, *adaptive_avg_pool2d.output_sides(self.output_size, h, w)

    def window(self, shape: tuple[int, ...]) -> Window | None:
        (_, oh, ow), (_, h, w) = self.output_shape(shape), shape
        if (oh, ow) == (1, 1) or h % oh or w % ow:
            return None
        kernel = h // oh, w // ow
        return kernel, kernel, (1, 1)

    def _options(self) -> str:
        return f"{self.output_size}"
