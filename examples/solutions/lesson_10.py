"""Solutions of lesson 10: what it looks at."""

from __future__ import annotations

import course
import numpy as np

from examples.solutions import changed


def exercise_1() -> None:
    """By far less: some tenths in place of more than 2, for saliency as for Grad-CAM."""
    edits = {"patch.argmax(), patch.shape": "patch.argmin(), patch.shape"}
    falls = changed(10, edits, until="## Why not the other digit")["falls"]
    for name in ("saliency", "Grad-CAM"):
        course.claim(f"the score falls by little for {name}", falls[name] < 1, f"{falls[name]:.2f}")


def exercise_2() -> None:
    """Yes: the correlation is near 0. Two networks have nothing in common but the image."""
    lesson = changed(10, until="## Why not the other digit")
    insight, x = lesson["insight"], lesson["x"]
    target = lesson["test"].labels[lesson["right"]]
    maps = [
        insight.saliency(net, x, target).ravel() for net in (lesson["model"], lesson["untrained"])
    ]
    alike = float(np.corrcoef(*maps)[0, 1])
    course.claim("the maps have little in common", abs(alike) < 0.4, f"{alike:.2f}")
