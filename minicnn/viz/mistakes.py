"""The images that a network got wrong, each with what it thought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from minicnn.viz.fonts import lettering
from minicnn.viz.grid import checked_images, sheet
from minicnn.viz.paper import BLUE, INK, VERMILION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 14  # letters of a class's name


def mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    most: int = 24,
) -> Figure:
    """Return the images that are predicted wrongly, the most certain mistakes first.

    ``images`` (n, h, w) or (n, h, w, c), true ``labels`` (n,), ``probabilities`` (n, k) with rows
    that sum to 1. Above each image stand the predicted and the true class with their probabilities,
    which the bars below it show too: vermilion the predicted, blue the true, as a key says. At most
    ``most`` are drawn; the title counts all. If nothing is wrong, the least certain right answers
    are shown.
    """
    from matplotlib.lines import Line2D

    pictures, labels, p = _checked(images, labels, probabilities, classes)
    if most < 1:
        raise ValueError(f"mistakes: most must be at least 1, got {most}.")
    n = len(labels)
    predicted, own = p.argmax(axis=1), p[np.arange(n), labels]
    best = p[np.arange(n), predicted]
    wrong = np.flatnonzero(predicted != labels)
    chosen = wrong[np.argsort(-best[wrong], kind="stable")][:most]
    title = f"{len(wrong):,} of {n:,} wrong"
    if len(wrong) > 1:
        title += ", the most certain first"
    if len(wrong) > most:
        title += f"; {most} shown"
    if not len(wrong):
        chosen = np.argsort(best, kind="stable")[:most]
        title = f"all {n:,} right; the least certain of them"
    drawn, _ = lettering(classes)
    names = [c if len(c) <= _LONGEST else c[: _LONGEST - 1] + "…" for c in drawn]
    titles = [
        f"{names[predicted[i]]}  {best[i]:.0%}\ntrue: {names[labels[i]]}  {own[i]:.0%}"
        for i in chosen
    ]
    page = sheet("mistakes", (len(chosen), *pictures.shape[1:]), titles, None, title, foot=0.12)
    for (left, top), i in zip(page.places, chosen, strict=True):
        page.draw(pictures[i], (left, top))
        foot = top + page.high + 0.035
        for share, colour in ((best[i], VERMILION), (own[i], BLUE)):
            page.axes.plot(
                [left, left + share * page.wide], [foot, foot], color=colour, linewidth=2.5,
                solid_capstyle="butt",
            )  # fmt: skip
            foot += 0.05
    bars = [Line2D([], [], color=colour, linewidth=2.5) for colour in (VERMILION, BLUE)]
    page.figure.legend(
        bars, ["probability of the predicted class", "of the true class"],
        loc="outside lower center", ncols=2, frameon=False, fontsize=8, labelcolor=INK,
    )  # fmt: skip
    return page.figure


def _checked(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pictures = checked_images("mistakes", images)
    labels, p = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    n, k = len(pictures), len(classes)
    if labels.shape != (n,) or p.shape != (n, k):
        raise ValueError(
            f"mistakes: {n} images and {k} classes need labels {(n,)} and probabilities {(n, k)}, "
            f"got {labels.shape} and {p.shape}."
        )
    if labels.dtype.kind not in "iu" or (labels < 0).any() or (labels >= k).any():
        raise ValueError(f"mistakes: labels must be integers from 0 to {k - 1}.")
    if not ((p >= 0).all() and np.allclose(p.sum(axis=1), 1, atol=1e-3)):
        raise ValueError(
            "mistakes: the rows of probabilities must sum to 1. Logits become probabilities by "
            "ops.softmax.forward(logits)[0]."
        )
    return pictures, labels, p
