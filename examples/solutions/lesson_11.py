"""Solutions of lesson 11: style transfer."""

from __future__ import annotations

import course

from examples.solutions import changed

NOISE = (
    "pixels = nn.Param(np.random.default_rng(2).standard_normal(content.shape, dtype=np.float32))"
)
BEGIN = "    pixels = nn.Param(content.copy())"
ONCE = {
    "for weight in (3.0, 30.0):": "for weight in ():"
}  # the lesson's own pictures are not needed


def exercise_1() -> None:
    """The photograph comes back: the distance in content falls to a small part. But it comes back
    through a veil of noise, because two convolutions and a pool do not see the finest grain.
    """
    lesson = changed(11, {BEGIN: f"    {NOISE}", **ONCE}, until="# In `light.png`")
    _, kept, _ = lesson["paint"](0.0, 60)
    course.claim("the content comes back", kept[-1] < 0.2 * kept[0], (kept[0], kept[-1]))


def exercise_2() -> None:
    """Little of the distance in style is left. The colours of the petals come in streaks
    and specks, and nowhere a flower: a style has no positions. That is a texture.
    """
    without = {"        seen[of_content].inject(dy / scale)\n": ""}
    lesson = changed(11, {BEGIN: f"    {NOISE}", **ONCE, **without}, until="# In `light.png`")
    _, _, painted = lesson["paint"](1.0, 60)
    course.claim("the style comes close", painted[-1] < 0.4, painted[-1])
