"""Convolution as a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.nn.init import Init, weight_and_bias
from minicnn.nn.module import Module, Param, Window, needs_image
from minicnn.ops import conv2d
from minicnn.shapes import ShapeError, integer, pair
from minicnn.windows import conv_windows


class Conv2d(Module):
    """2-D convolution of (n, in_channels, h, w) into (n, out_channels, oh, ow).

    ``init`` is a function of ``nn.init``; the bias is then 0. None draws both as torch does.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: np.random.Generator,
        init: Init | None = None,
        dtype: Any = np.float32,
    ) -> None:
        for name, value in [("in_channels", in_channels), ("out_channels", out_channels)]:
            integer("Conv2d", name, value, 1)
            if value % integer("Conv2d", "groups", groups, 1):
                raise ShapeError(f"Conv2d: groups={groups} must divide {name}={value}.")
        kernel = pair("Conv2d", "kernel_size", kernel_size, 1)
        large = max(pair("Conv2d", "dilation", dilation, 1))
        large *= max(kernel)  # the kernel fits this image, so only the options are checked
        conv_windows("Conv2d", (large, large), kernel, stride, padding, dilation)
        shape = (out_channels, in_channels // groups, *kernel)
        first, first_bias = weight_and_bias(shape, bias, init, rng, dtype)
        self.weight = Param(first)
        self.bias = None if first_bias is None else Param(first_bias)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, conv2d.Cache]:
        bias = self.bias.data if self.bias else None
        return conv2d.forward(
            x, self.weight.data, bias, self.stride, self.padding, self.dilation, self.groups,
            impl=self.impl,
        )  # fmt: skip

    def backward(
        self, dy: np.ndarray, cache: conv2d.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        dx, dweight, dbias = conv2d.backward(
            dy, cache, input_grad=input_grad, param_grad=self.learns, impl=self.impl
        )
        self.add_grads(dweight, dbias)
        return dx

    def add_grads(self, dweight: np.ndarray | None, dbias: np.ndarray | None) -> None:
        self.weight.add_grad(dweight)
        if self.bias:
            self.bias.add_grad(dbias)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        channels, *image = needs_image("Conv2d", shape)
        needed = self.weight.data.shape[1] * self.groups
        if channels != needed:
            raise ShapeError(f"Conv2d: {needed} channels are needed, got {channels} in {shape}.")
        kernel = self.weight.data.shape[2:]
        g = conv_windows("Conv2d", image, kernel, self.stride, self.padding, self.dilation)  # type: ignore[arg-type]
        return self.weight.data.shape[0], g.oh, g.ow

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        return self.weight.data.size * math.prod(self.output_shape(shape)[1:])

    def window(self, shape: tuple[int, ...]) -> Window | None:
        kh, kw = self.weight.data.shape[2:]
        stride = pair("Conv2d", "stride", self.stride, 1)
        return (kh, kw), stride, pair("Conv2d", "dilation", self.dilation, 1)

    def _options(self) -> str:
        o, per_group, kh, kw = self.weight.data.shape
        return (
            f"{per_group * self.groups}, {o}, kernel_size=({kh}, {kw}), stride={self.stride}, "
            f"padding={self.padding!r}, dilation={self.dilation}, groups={self.groups}, "
            f"bias={self.bias is not None}"
        )
