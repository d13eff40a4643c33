"""Normalisation as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minicnn.nn.module import Elementwise, Param
from minicnn.ops import batch_norm, local_response_norm
from minicnn.shapes import ShapeError, integer

Result = TypeVar("Result")


class _BatchNorm(Elementwise):
    """Gives each channel mean 0 and variance 1, then multiplies by ``weight`` and adds ``bias``.

    Training uses the statistics of the batch, and updates ``running_mean`` and ``running_var``;
    inference uses these running statistics. With ``momentum=None`` they are the plain averages over
    all batches so far. Without ``track_running_stats`` there are none, and inference uses the batch
    too. Freezing the parameters does not stop the running statistics.
    """

    spatial: tuple[tuple[str, ...], ...]  # the possible axes after the channels

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        c = integer(type(self).__name__, "num_features", num_features, 1)
        self.num_features, self.eps, self.momentum = c, eps, momentum
        self.weight = Param(np.ones(c, dtype)) if affine else None
        self.bias = Param(np.zeros(c, dtype)) if affine else None
        self.running_mean = np.zeros(c, dtype) if track_running_stats else None
        self.running_var = np.ones(c, dtype) if track_running_stats else None
        self.num_batches_tracked = np.zeros((), np.int64) if track_running_stats else None

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, batch_norm.Cache]:
        return self.apply(batch_norm.forward, x, training=training)

    def apply(
        self,
        operation: Callable[..., Result],
        x: np.ndarray,
        *,
        training: bool,
        **options: Any,
    ) -> Result:
        """Apply ``operation``: batch_norm, or a fused one that begins with it."""
        self._check(np.shape(x)[1:])
        count, momentum = self.num_batches_tracked, self.momentum
        if momentum is None:
            momentum = 0.0 if count is None else 1 / (int(count) + 1)
        result = operation(
            x,
            self.weight.data if self.weight else None,
            self.bias.data if self.bias else None,
            self.running_mean,
            self.running_var,
            training=training or count is None,
            momentum=momentum,
            eps=self.eps,
            impl=self.impl,
            **options,
        )
        if training and count is not None:
            count += 1  # in place
        return result

    def backward(
        self, dy: np.ndarray, cache: batch_norm.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        dx, dweight, dbias = batch_norm.backward(
            dy, cache, input_grad=input_grad, param_grad=self.learns, impl=self.impl
        )
        self.add_grads(dweight, dbias)
        return dx

    def add_grads(self, dweight: np.ndarray | None, dbias: np.ndarray | None) -> None:
        if self.weight and self.bias:
            self.weight.add_grad(dweight)
            self.bias.add_grad(dbias)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        self._check(shape)
        return shape

    def _check(self, shape: tuple[int, ...]) -> None:
        """Raise unless this layer takes inputs of ``shape``, without the batch."""
        c, name = self.num_features, type(self).__name__
        if not shape or shape[0] != c or len(shape) - 1 not in map(len, self.spatial):
            needed = " or ".join(_with_batch(c, *axes) for axes in self.spatial)
            raise ShapeError(
                f"{name}: x must have shape {needed}, got {_with_batch(*shape)}. "
                f"num_features={c} is the number of channels."
            )

    def _options(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.weight is not None}, "
            f"track_running_stats={self.running_mean is not None}"
        )


def _with_batch(*sizes: int | str) -> str:
    return f"({', '.join(map(str, ('n', *sizes)))})"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features (n, c) or of sequences (n, c, l)."""

    spatial = ((), ("l",))


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (n, c, h, w)."""

    spatial = (("h", "w"),)


class LocalResponseNorm(Elementwise):
    """Divides each number by (k + alpha * mean square of ``size`` channels around it)^beta."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = integer("LocalResponseNorm", "size", size, 1)
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(
        self, x: np.ndarray, *, training: bool
    ) -> tuple[np.ndarray, local_response_norm.Cache]:
        return local_response_norm.forward(
            x, self.size, self.alpha, self.beta, self.k, impl=self.impl
        )

    def backward(
        self, dy: np.ndarray, cache: local_response_norm.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return local_response_norm.backward(dy, cache, impl=self.impl) if input_grad else None

    def _options(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
