"""Memory: arrays that belong to somebody else, that are too old, or too wide."""

from __future__ import annotations

import numpy as np

from examples.bug_zoo.animal import Animal
from minicnn.testing import causes
from minicnn.testing import strategies as mst

# ------------------------------------------------------------------------------------------ relu


def relu(x):
    y = np.maximum(x, 0)
    return y, y


def relu_backward(dy, y):
    return dy * (y > 0)


def relu_in_place(dy, y):
    dy[y <= 0] = 0
    return dy


# ------------------------------------------------------- a residual block, y = x + sigmoid(x)


def residual(x):
    branch = 1 / (1 + np.exp(-x))
    return branch + x, branch


def residual_backward(dy, branch):
    return dy + dy * branch * (1 - branch)


def residual_in_place(x):
    branch = 1 / (1 + np.exp(-x))
    cache = branch  # its derivative is branch * (1 - branch), so backward needs it
    branch += x  # saves an array
    return branch, cache


# ------------------------------------------------------------- GELU, in the approximation by tanh


def gelu(x):
    root = x.dtype.type(np.sqrt(2 / np.pi))
    t = np.tanh(root * (x + x.dtype.type(0.044715) * x**3))
    return x * (1 + t) / 2, (x, t)


def gelu_with_a_float64(x):
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))  # np.sqrt returns a float64
    return x * (1 + t) / 2, (x, t)


def gelu_backward(dy, cache):
    x, t = cache
    root = x.dtype.type(np.sqrt(2 / np.pi))
    slope = (1 - t**2) * root * (1 + 3 * x.dtype.type(0.044715) * x**2)
    return dy * ((1 + t) / 2 + x * slope / 2).astype(dy.dtype)


# ----------------------------------------------------------------------------------- a layer


class Square:
    def forward(self, x):
        return x**2, x

    def backward(self, dy, x):
        return 2 * x * dy


class SquareThatRemembers:
    def forward(self, x):
        self.x = x
        return x**2, None

    def backward(self, dy, cache):
        return 2 * self.x * dy


some = mst.images(values=mst.digits())

ANIMALS = [
    Animal(
        "ReLU backward in place",
        "dy is not needed after this, so why not write into it? In a residual block the other "
        "branch gets the same dy.",
        (relu, relu_backward), (relu, relu_in_place), some, causes.UPSTREAM_WRITTEN,
    ),
    Animal(
        "residual addition in place",
        "branch += x saves an array, and forward is right. But the cache holds the same "
        "array, and backward needs the branch without x. A well-known library had this "
        "mistake.",
        (residual, residual_backward), (residual_in_place, residual_backward), some, causes.ALIAS,
    ),
    Animal(
        "float64 leaking out",
        "np.sqrt(2 / np.pi) looks like a constant, but it is a NumPy float64. Since NumPy 2 "
        "it turns a float32 array into float64. Everything after it takes twice the memory "
        "and time.",
        (gelu, gelu_backward), (gelu_with_a_float64, gelu_backward), some, causes.DTYPE,
    ),
    Animal(
        "the layer that remembers",
        "Most tutorials write self.x = x in forward. If a network uses the layer twice, "
        "forward runs twice before backward, and the x of the first run is lost.",
        Square, SquareThatRemembers, some, causes.STALE,
    ),
]  # fmt: skip
