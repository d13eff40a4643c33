"""Solutions of lesson 8: receptive fields."""

from __future__ import annotations

import course
import numpy as np

from minicnn import insight, nn


def exercise_1() -> None:
    """With m channels between them: 9 * 16 m + 9 * 24 m = 360 m weights. That is fewer than 9,600
    for m up to 26. 24 channels leave 8,640 weights, and 16 leave 5,760.
    """

    def weights(m: int) -> int:
        return 9 * 16 * m + 9 * 24 * m

    course.claim("up to 26 channels save weights", weights(26) < 9600 <= weights(27), weights(27))
    course.claim("24 and 16 give 8,640 and 5,760", (weights(24), weights(16)) == (8640, 5760))


def exercise_2() -> None:
    """15 pixels both. But the units lie 8 pixels apart with the strides, and 1 pixel with the
    dilations: dilation sees far without dropping positions.
    """
    rng = np.random.default_rng(0)

    def row(strides: tuple[int, ...], dilations: tuple[int, ...]) -> nn.Sequential:
        return nn.Sequential(
            *(
                nn.Conv2d(1, 1, 3, stride=s, padding=d, dilation=d, rng=rng)
                for s, d in zip(strides, dilations, strict=True)
            )
        )

    strided = insight.receptive_field(row((2, 2, 2), (1, 1, 1)), (1, 64, 64))[""]
    dilated = insight.receptive_field(row((1, 1, 1), (1, 2, 4)), (1, 64, 64))[""]
    course.claim("both see 15 pixels", strided.size == dilated.size == (15, 15), strided.size)
    jumps = strided.jump[0], dilated.jump[0]
    course.claim("units are 8 and 1 pixels apart", jumps == (8, 1), jumps)
