"""PyTorch, asked for values and gradients. It answers in float64, on CUDA where there is a card."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F

from minicnn.testing.strategies import Call


def prepare() -> None:
    """Make torch exact and repeatable, and leave the cores to the code under test."""
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def device() -> torch.device:
    """Return the device of the oracle."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def description() -> str:
    """Return in words who answers."""
    where = "CPU"
    if device().type == "cuda":
        where = f"{torch.cuda.get_device_name()}, TF32 off, cuDNN deterministic"
    return f"torch {torch.__version__} in float64 on {where}"


def to_torch(array: np.ndarray) -> torch.Tensor:
    """Return a copy on the oracle's device, widened: floats to float64, integers to int64."""
    wide = np.float64 if array.dtype.kind == "f" else np.int64
    return torch.from_numpy(array.astype(wide, order="C")).to(device())


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


@contextmanager
def quietly() -> Iterator[None]:
    """Pass over torch's remark that padding="same" may cost it a copy."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same'", UserWarning)
        yield


def value_and_gradients(
    function: Callable[..., torch.Tensor],
    arrays: Sequence[np.ndarray | None],
    upstream: Callable[[tuple[int, ...]], np.ndarray],
    differentiable: int,
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray | None, ...]]:
    """Return ``(y, dy, gradients)`` of ``function(*arrays)``.

    ``upstream`` makes dy for the shape of y. Gradients are those of the first ``differentiable``
    arrays, None where the array is None.
    """
    tensors = [None if a is None else to_torch(a) for a in arrays]
    leaves = [t for t in tensors[:differentiable] if t is not None]
    for leaf in leaves:
        leaf.requires_grad_()
    with quietly():
        y = function(*tensors)
    dy = upstream(tuple(y.shape))
    y.backward(to_torch(dy))
    gradients = tuple(None if t is None else to_numpy(t.grad) for t in tensors[:differentiable])
    return to_numpy(y), dy, gradients


CHAINS: dict[str, Callable[..., torch.Tensor]] = {}  # what the fused operations are made of


def _chain(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    CHAINS[function.__name__.lstrip("_")] = function
    return function


@_chain
def _linear_relu(x, weight, bias):
    return F.relu(F.linear(x, weight, bias))


@_chain
def _conv_relu_pool(
    x, weight, bias, *, stride, padding, pool_size, pool_stride, pool_padding, ceil_mode
):
    z = F.relu(F.conv2d(x, weight, bias, stride, padding))
    return F.max_pool2d(z, pool_size, pool_stride, pool_padding, 1, ceil_mode)


@_chain
def _batch_norm_relu(x, weight, bias, residual, mean, var, **options):
    z = F.batch_norm(x, mean, var, weight, bias, **options)
    return F.relu(z if residual is None else z + residual)


def function_of(call: Call) -> Callable[..., torch.Tensor]:
    """Return torch's function of tensors that does what ``call`` does with its options."""
    options = {name: value for name, value in call.options.items() if name != "rng"}
    if call.name in CHAINS:
        return lambda *tensors: CHAINS[call.name](*tensors, **options)
    if call.name == "batch_norm":  # torch has the running arrays first
        return lambda x, w, b, *running: F.batch_norm(x, *running, w, b, **options)
    function = getattr(torch if call.name in ("sigmoid", "tanh") else F, call.name)
    return lambda *tensors: function(*tensors, **options)


def answer(call: Call) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray | None, ...]]:
    """Return torch's ``(y, dy, gradients)`` of the call, for a random dy."""
    return value_and_gradients(
        function_of(call), call.arrays, call.fill.upstream, call.differentiable
    )
