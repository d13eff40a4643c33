"""Solutions of lesson 12: how fast, and why. Times depend on the machine and are printed."""

from __future__ import annotations

import course
import numpy as np

from minicnn import ops


def _layer(c: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 56, 56, c), dtype=np.float32).transpose(0, 3, 1, 2)
    return x, rng.standard_normal((c, c, 3, 3), dtype=np.float32)


def _times(c: int, rounds: int = 5) -> dict[str, float]:
    x, weight = _layer(c)
    ways = {
        impl: lambda impl=impl: ops.conv2d.forward(x, weight, padding=1, impl=impl)
        for impl in ("direct", "winograd")
    }
    return course.seconds(ways, rounds)


def exercise_1() -> None:
    """With few channels it takes "direct". Winograd transforms each input and each output once, and
    saves products with each pair of channels. With few channels there are few pairs, and the
    transformations cost more than they save.
    """
    chosen = {
        c: ops.conv2d.algorithm((8, c, 56, 56), (c, c, 3, 3), padding=1).forward for c in (4, 64)
    }
    print(chosen, {c: _times(c) for c in (4, 64)})
    course.claim("4 channels are direct", chosen[4] == "direct", chosen)
    course.claim("64 channels are Winograd", chosen[64] == "winograd", chosen)


def exercise_2() -> None:
    """One image takes 2 * 2048^2 operations, and reads 4 * 2048^2 bytes of weights: about 1/2 for
    each byte, far left of the bend. A batch of n takes n times the operations with the same
    weights: about n / 2. So a roof that bends at 10 is passed by a batch of about 20.
    """
    size = 2048
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((size, size), dtype=np.float32)
    for n in (1, 8, 64, 512):
        x = rng.standard_normal((n, size), dtype=np.float32)
        intensity = 2 * n * size**2 / (4 * (size**2 + 2 * n * size))
        taken = course.seconds({"linear": lambda x=x: ops.linear.forward(x, weight)}, 3)["linear"]
        print(f"batch {n:3}: {intensity:6.1f} FLOP/byte, {2e-9 * n * size**2 / taken:7.1f} GFLOP/s")
        if n <= 8:  # the images count little beside the weights
            near = abs(intensity - n / 2) < 0.01 * n / 2
            course.claim("the intensity is about half of the batch", near, intensity)


def exercise_3() -> None:
    """It is not four times as fast: the transformations take time too. The products grow with the
    square of the channels, the transformations with their number. So Winograd gains with more
    channels. Both compute the same up to rounding.
    """
    for c in (16, 64, 256):
        times = _times(c, 3)
        print(
            f"{c:3} channels: Winograd is {times['direct'] / times['winograd']:.2f} times as fast"
        )
        x, weight = _layer(c)
        direct, other = (
            ops.conv2d.forward(x, weight, padding=1, impl=impl)[0]
            for impl in ("direct", "winograd")
        )
        apart = np.linalg.norm(direct - other) / np.linalg.norm(direct)
        course.claim("both compute the same", apart < 1e-5, apart)


def exercise_4() -> None:
    """By nothing at all: both give the same accuracy to the last digit. LeNet-5 has kernels of 5x5,
    and Winograd's F(4x4, 3x3) computes 3x3 only, so the variable changes nothing.
    """
    for shape, weight in (((32, 1, 28, 28), (6, 1, 5, 5)), ((32, 6, 12, 12), (16, 6, 5, 5))):
        algorithm = ops.conv2d.algorithm(shape, weight)
        course.claim("LeNet-5 has no Winograd", "winograd" not in algorithm, algorithm)
