"""What the lessons share: their options, their pictures, their claims and their clock.

    options = course.arguments(parser)
    course.show(figure, folder / "curves.png")
    course.claim("over 97 % of the test images are right", accuracy > 0.97, f"{accuracy:.1%}")

A notebook shows the pictures where they are drawn, whether it runs in Jupyter, VS Code or Colab; a
script writes files only. A claim that fails is told, and the lesson goes on: a reader who changes
something sees what no longer holds. Two variables of the environment are for tests:
``COURSE_STRICT=1`` makes a failed claim an error, and ``COURSE_QUICK=1`` asks for ``--quick`` in a
notebook, which has no command line.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minicnn import viz


def in_notebook() -> bool:
    """Return whether an IPython kernel runs this, as in Jupyter, VS Code and Colab."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the options of the command line; in a notebook those are the defaults."""
    if not in_notebook():
        return parser.parse_args()
    options = parser.parse_args([])
    if os.environ.get("COURSE_QUICK") == "1" and hasattr(options, "quick"):
        options.quick = True
    return options


def show(picture: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG file, a diagram as SVG; a notebook shows it below its file's name."""
    path = viz.save(picture, Path(path))
    if in_notebook():
        from IPython.display import SVG, Image, Markdown, display

        if path.suffix == ".svg":
            inline = SVG(path)
        else:  # 100 pixels to the inch, and at most the width of a notebook's column
            inline = Image(path, width=min(round(100 * picture.get_figwidth()), 960))
        display(Markdown(f"`{path.name}`"), inline)


def seconds(ways: dict[str, Callable[[], Any]], rounds: int = 9) -> dict[str, float]:
    """Return the least seconds of some calls of each; they take turns and share the noise."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - begin)
    return {name: min(times[1:]) for name, times in taken.items()}  # the first call compiles


def claim(sentence: str, holds: object, got: object = "") -> bool:
    """Check one sentence of the lesson; return whether it holds.

    ``sentence`` goes on after "this run does not show that", and ``got`` after "it gave".
    """
    if holds:
        return True
    text = f"This run does not show that {sentence}"
    text += f"; it gave {got}." if str(got) else "."
    if os.environ.get("COURSE_STRICT") == "1":
        raise AssertionError(text)
    print(text)
    return False
