"""Solutions of lesson 1: a convolution by hand."""

from __future__ import annotations

import course
import numpy as np

from examples.solutions import changed


def exercise_1() -> None:
    """The kernel has its 1 in the middle of the left column. Each output then reads the pixel to
    its left, so the image moves to the right. NumPy turns kernels around, so np.convolve needs the
    1 on the right.
    """
    lesson = changed(1, until="## Stride")
    conv, spot = lesson["conv"], lesson["spot"]
    kernel = np.zeros((3, 3))
    kernel[1, 0] = 1
    moved = (conv(spot, kernel)[:, 1:] == spot[1:-1, 1:-2]).all()
    course.claim("the spot moves to the right by one", moved)
    row = spot[16]
    by_numpy = np.convolve(row, [0, 0, 1], mode="valid")
    course.claim("np.convolve needs it on the right", (by_numpy[1:] == row[1:-2]).all())


def exercise_2() -> None:
    """Pad one pixel before the image in one layer and one pixel after it in the next. Each pair of
    layers moves the spot by half a pixel to one side and then by half a pixel to the other.
    """
    lesson = changed(1)  # the whole lesson: `centre` must work at its end too
    image = lesson["spot"]
    for layer in range(8):
        before, after = (1, 0) if layer % 2 == 0 else (0, 1)
        padded = np.pad(image, ((before, after), (before, after)))
        image = lesson["conv"](padded, np.full((2, 2), 1 / 4), padding=0)
    centre = lesson["centre"](image)
    course.claim("the spot stands still", np.allclose(centre, (16, 16)), centre)


def exercise_3() -> None:
    """Sobel's kernel is the column (1, 2, 1) times the row (-1, 0, 1): it blurs along one axis and
    takes the difference along the other. Two kernels of 3 numbers take 6 products for each pixel.
    """
    lesson = changed(1, until="## One product")
    column, row = np.array([[1.0], [2.0], [1.0]]), np.array([[-1.0, 0.0, 1.0]])
    course.claim("the product is Sobel's kernel", (column * row == lesson["sobel"]).all())
    twice = lesson["conv"](lesson["conv"](lesson["grey"][0, 0], column), row)
    apart = np.abs(twice - lesson["across"]).max()
    course.claim("both give the same edges", apart < 1e-12, apart)
    course.claim("they take 6 products", column.size + row.size == 6)
