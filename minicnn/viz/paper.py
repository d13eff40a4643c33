"""What the pictures share: the colours, the empty figure, the file.

The colours are of Okabe & Ito (2008), Color universal design: told apart with every kind of colour
blindness. Two do for most pictures, told apart in print by their different lightness; lines, of
which there may be more, differ in their strokes too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minicnn.files import write_whole
from minicnn.nn.diagram import Diagram

if TYPE_CHECKING:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

BLUE = "#0072B2"
VERMILION = "#D55E00"
INK = "#222222"
GREY = "#767676"
LINES = (BLUE, VERMILION, "#009E73", "#CC79A7", INK, "#E69F00", "#56B4E9")
DOTS_PER_INCH = 150


def empty(width: float, height: float) -> Figure:
    """Return a figure of so many inches, which gives every label the room it needs."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout=layout)


def shades(*colours: str) -> LinearSegmentedColormap:
    """Return a colour map that runs evenly through the colours."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("-".join(colours), colours)


def ink_on(colour: Sequence[float]) -> str:
    """Return dark or white for writing on (r, g, b, ...), whichever stands out more.

    Lightness and contrast as the Web Content Accessibility Guidelines define them.
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    dark = 0.016  # the lightness of INK
    return INK if (light + 0.05) / (dark + 0.05) > 1.05 / (light + 0.05) else "white"


def save(figure: Figure | Diagram, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG, or a diagram as SVG, and return the path.

    The file appears whole or not at all. A folder that is missing is made. Raises OSError where
    file or folder cannot be written, ValueError for another ending than ``.png`` (``.svg``).
    """
    path = Path(path)
    ending = ".svg" if isinstance(figure, Diagram) else ".png"
    if path.suffix.lower() != ending:
        raise ValueError(f"save: {path} must end in {ending}. Use {path.with_suffix(ending)}.")
    if isinstance(figure, Diagram):
        content = figure.svg.encode()
    else:
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        content = picture.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise OSError(
            f"save: {path.absolute()} cannot be written ({error.strerror or error}). Make room, or "
            "save where you may write: a relative path begins at the folder that you are in."
        ) from error
    return path
