"""Solutions of lesson 7: Inception."""

from __future__ import annotations

import course
import numpy as np

from minicnn import ops


def exercise_1() -> None:
    """c r + 25 r d < 25 c d, so r < 25 c d / (c + 25 d). For c = 10 and d = 24 that is at most 9:
    16 was too many. For GoogLeNet's c = 192 and d = 32 it is at most 154.
    """
    for c, d, most in ((10, 24, 9), (192, 32, 154)):
        fits = [r for r in range(1, 400) if c * r + 25 * r * d < 25 * c * d]
        course.claim(f"for {c} and {d} channels r is at most {most}", fits[-1] == most, fits[-1])


def exercise_2() -> None:
    """Yes, at the edges too: the 5x5 pads the image with zeros in both forms, and nothing is padded
    after the first bias. The weights are the product, and the bias is W2 b1 + b2.
    """
    rng = np.random.default_rng(0)
    x, first = rng.standard_normal((2, 10, 12, 12)), rng.standard_normal((16, 10, 5, 5))
    second, b1, b2 = rng.standard_normal((24, 16)), rng.standard_normal(16), rng.standard_normal(24)
    inner, _ = ops.conv2d.forward(x, first, b1, padding=2)
    two_steps, _ = ops.conv2d.forward(inner, second[:, :, None, None], b2)
    merged = np.einsum("om,mcij->ocij", second, first)
    one_step, _ = ops.conv2d.forward(x, merged, second @ b1 + b2, padding=2)
    apart = np.abs(two_steps - one_step).max()
    course.claim("both are equal everywhere", apart < 1e-9, apart)
