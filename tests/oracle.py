"""PyTorch, asked for values and gradients. It answers in float64, on CUDA where there is a card."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


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
