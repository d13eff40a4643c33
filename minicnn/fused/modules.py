"""Modules that run several others as one operation, on the parameters of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.fused import batch_norm_relu, conv_relu_pool, linear_relu, norm_conv
from minicnn.nn import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
)
from minicnn.nn.module import Module, Window
from minicnn.nn.sequential import (
    backward_chain,
    chain_multiply_adds,
    chain_shape,
    chain_window,
    forward_chain,
)
from minicnn.ops import batch_norm

Norm = BatchNorm1d | BatchNorm2d


class Fused(Module):
    """Stands for modules in a row: has their parameters under their names, and none of its own."""

    def __init__(self, *modules: Module) -> None:
        self.row = modules  # in a tuple, so that the tree has them under their own names only

    @classmethod
    def takes(cls, *row: Module) -> bool:
        """Whether the options of such modules are those that the operation has."""
        return True

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        for module in self.row:
            yield from module.named_modules(prefix)

    @property
    def learns(self) -> bool:
        return any(module.learns for module in self.row)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return chain_shape(self.row, shape)

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        return chain_multiply_adds(self.row, shape)

    def window(self, shape: tuple[int, ...]) -> Window | None:
        return chain_window(self.row, shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.row))})"


class BatchNormReLU(Fused):
    """Batch norm, then ReLU."""

    def __init__(self, norm: Norm, relu: ReLU) -> None:
        super().__init__(norm, relu)
        self._norm = (norm,)

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, batch_norm_relu.Cache]:
        return self._norm[0].apply(batch_norm_relu.forward, x, training=training)

    def backward(
        self, dy: np.ndarray, cache: batch_norm_relu.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        (norm,) = self._norm
        dx, dweight, dbias, _ = batch_norm_relu.backward(
            dy, cache, input_grad=input_grad, param_grad=norm.learns, impl=norm.impl
        )
        norm.add_grads(dweight, dbias)
        return dx


class ConvReLUPool(Fused):
    """Convolution, ReLU and max pooling, or with the last two exchanged, which is the same."""

    def __init__(self, conv: Conv2d, *row: Module) -> None:
        super().__init__(conv, *row)
        (pool,) = (module for module in row if isinstance(module, MaxPool2d))
        self._conv, self._pool = (conv,), (pool,)

    @classmethod
    def takes(cls, *row: Module) -> bool:
        return all(
            getattr(module, option, 1) in (1, (1, 1))
            for module in row
            for option in ("dilation", "groups")
        )

    def forward(
        self, x: np.ndarray, *, training: bool
    ) -> tuple[np.ndarray, conv_relu_pool.Cache | conv_relu_pool.Steps]:
        (conv,), (pool,) = self._conv, self._pool
        if not self.takes(conv, pool):
            raise RuntimeError(
                "ConvReLUPool: dilation or groups were changed after fusing. Fuse the network "
                "again."
            )
        return conv_relu_pool.forward(
            x, conv.weight.data, conv.bias.data if conv.bias else None, conv.stride, conv.padding,
            pool_size=pool.kernel_size, pool_stride=pool.stride, pool_padding=pool.padding,
            ceil_mode=pool.ceil_mode, impl=conv.impl,
        )  # fmt: skip

    def backward(
        self,
        dy: np.ndarray,
        cache: conv_relu_pool.Cache | conv_relu_pool.Steps,
        *,
        input_grad: bool = True,
    ) -> np.ndarray | None:
        (conv,) = self._conv
        dx, dweight, dbias = conv_relu_pool.backward(
            dy, cache, input_grad=input_grad, param_grad=conv.learns, impl=conv.impl
        )
        conv.weight.add_grad(dweight)
        if conv.bias:
            conv.bias.add_grad(dbias)
        return dx


class LinearReLU(Fused):
    """Linear layer, then ReLU."""

    def __init__(self, linear: Linear, relu: ReLU) -> None:
        super().__init__(linear, relu)
        self._linear = (linear,)

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, linear_relu.Cache]:
        (linear,) = self._linear
        bias = linear.bias.data if linear.bias else None
        return linear_relu.forward(x, linear.weight.data, bias, impl=linear.impl)

    def backward(
        self, dy: np.ndarray, cache: linear_relu.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        (linear,) = self._linear
        dx, dweight, dbias = linear_relu.backward(
            dy, cache, input_grad=input_grad, param_grad=linear.learns, impl=linear.impl
        )
        linear.weight.add_grad(dweight)
        if linear.bias:
            linear.bias.add_grad(dbias)
        return dx


class Stage(NamedTuple):
    """A convolution and the batch norm after it."""

    conv: Conv2d
    norm: Norm


class StagesCache(NamedTuple):
    convs: list[norm_conv.Cache]
    end: batch_norm_relu.Cache


def forward_stages(
    stages: Sequence[Stage], x: np.ndarray, residual: np.ndarray | None, training: bool
) -> tuple[np.ndarray, StagesCache]:
    """Return what comes out of the last ReLU, before which ``residual`` is added.

    A norm is only prepared here; the convolution after it applies it where it reads.
    """
    before, caches = None, []
    for conv, norm in stages:
        bias = conv.bias.data if conv.bias else None
        x, statistics, cache = norm_conv.forward(
            x, before, conv.weight.data, bias, conv.stride, conv.padding, conv.dilation,
            conv.groups, impl=conv.impl,
        )  # fmt: skip
        before = norm_conv.Before(
            *norm.apply(batch_norm.prepare, x, training=training, statistics=statistics)
        )
        caches.append(cache)
    assert before is not None
    y, end = batch_norm_relu.finish(*before, residual, impl=stages[-1].norm.impl)
    return y, StagesCache(caches, end)


def backward_stages(
    stages: Sequence[Stage],
    g: np.ndarray,
    after: norm_conv.After,
    caches: Sequence[norm_conv.Cache],
    residual: np.ndarray | None,
    input_grad: bool,
) -> np.ndarray | None:
    """Return dx, plus ``residual``, from the gradient ``g`` of what the last norm gives."""
    first = 0  # the stage down to which the gradient is asked for
    if not input_grad:
        learn = [i for i, (conv, norm) in enumerate(stages) if conv.learns or norm.learns]
        first = learn[0] if learn else len(stages)
    dx = None
    for i in reversed(range(first, len(stages))):
        conv, norm = stages[i]
        dtype = conv.weight.data.dtype
        norm.add_grads(after.dweight.astype(dtype), after.dbias.astype(dtype))
        dx, dweight, dbias, before = norm_conv.backward(
            g, after, caches[i], residual if i == 0 else None, input_grad=input_grad or i > first,
            param_grad=conv.learns, impl=conv.impl,
        )  # fmt: skip
        conv.add_grads(dweight, dbias)
        if before is not None:
            assert dx is not None
            g, after = dx, before
    return dx if input_grad else None


class ConvNormReLU(Fused):
    """Convolutions, each followed by batch norm and ReLU; of these only the last gives an array."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(*modules)
        self._stages = tuple(map(Stage, modules[::3], modules[1::3]))  # type: ignore[arg-type]

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, StagesCache]:
        return forward_stages(self._stages, x, None, training)

    def backward(
        self, dy: np.ndarray, cache: StagesCache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        norm, y, _ = cache.end
        g, *sums = batch_norm_relu.mask(dy, norm, y, impl=self._stages[-1].norm.impl)
        after = norm_conv.After(norm, *sums)
        return backward_stages(self._stages, g, after, cache.convs, None, input_grad)


class ResidualCache(NamedTuple):
    main: list[Any]
    shortcut: list[Any]
    end: Any


class FusedResidual(Fused):
    """A residual block that ends as relu(norm(main(x)) + shortcut(x)), the end in one operation."""

    def __init__(
        self, block: Residual, main: Sequence[Module], norm: Norm, shortcut: Sequence[Module]
    ) -> None:
        super().__init__(block)
        self._main, self._norm, self._shortcut = list(main), (norm,), list(shortcut)

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, ResidualCache]:
        m, main = forward_chain(self._main, x, training)
        s, shortcut = forward_chain(self._shortcut, x, training)
        y, end = self._norm[0].apply(batch_norm_relu.forward, m, training=training, residual=s)
        return y, ResidualCache(main, shortcut, end)

    def backward(
        self, dy: np.ndarray, cache: ResidualCache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        (norm,) = self._norm
        dm, dweight, dbias, ds = batch_norm_relu.backward(
            dy, cache.end, param_grad=norm.learns, impl=norm.impl
        )
        norm.add_grads(dweight, dbias)
        assert dm is not None
        assert ds is not None
        dmain = backward_chain(self._main, dm, cache.main, input_grad)
        dshortcut = backward_chain(self._shortcut, ds, cache.shortcut, input_grad)
        if dmain is None or dshortcut is None:
            return None
        return dmain + dshortcut


class ResidualConvs(Fused):
    """A residual block of convolutions, each with its batch norm, and ReLU between them."""

    def __init__(
        self, block: Residual, stages: Sequence[Stage], shortcut: Sequence[Module]
    ) -> None:
        super().__init__(block)
        self._stages, self._shortcut = tuple(stages), list(shortcut)

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, ResidualCache]:
        s, shortcut = forward_chain(self._shortcut, x, training)
        y, cache = forward_stages(self._stages, x, s, training)
        return y, ResidualCache(cache.convs, shortcut, cache.end)

    def backward(
        self, dy: np.ndarray, cache: ResidualCache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        norm, y, _ = cache.end
        g, *sums = batch_norm_relu.mask(dy, norm, y, impl=self._stages[-1].norm.impl)
        dshortcut = backward_chain(self._shortcut, g, cache.shortcut, input_grad)
        after = norm_conv.After(norm, *sums)
        return backward_stages(self._stages, g, after, cache.main, dshortcut, input_grad)
