"""The picture: by what of each other side's time minicnn gets along, and how near to the roof.

Colours are those of Okabe & Ito (2008), told apart with every kind of colour blindness; each side
has a mark of its own as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from minicnn.viz import save
from minicnn.viz.paper import BLUE, GREY, INK, VERMILION, empty

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from reference.bench.machine import Peak
    from reference.bench.report import Result

STYLES: dict[str, tuple[str, str]] = {  # colour and mark
    "minicnn": (BLUE, "o"),
    "torch contiguous": (VERMILION, "s"),
    "torch channels_last": ("#E69F00", "D"),
    "torch frozen": ("#009E73", "^"),
    "torch frozen, cl": ("#009E73", "v"),
    "torch folded": ("#CC79A7", "<"),
    "torch folded, cl": ("#CC79A7", ">"),
    "torch compiled": (INK, "X"),
    "NumPy im2col": ("#56B4E9", "P"),
    "DeZero": (GREY, "*"),
}


def draw(results: list[Result], peaks: list[Peak], path: Path) -> None:
    """Write the picture of all results to ``path``, a PNG."""
    figure = empty(11, 1.6 + 0.55 * len(results))
    ratios, rates = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    for i, result in enumerate(results):
        for k, side in enumerate(result.sides):
            row = i + 0.5 * (k / (len(result.sides) - 1) - 0.5)  # beside each other
            colour, mark = STYLES[side]
            dot = {"color": colour, "marker": mark, "markersize": 6, "linestyle": "none"}
            if result.work.flops:
                rates.plot(result.flops(side) / 1e9, row, **dot)
            if side != result.ours:
                ratio = result.timing.ratio(result.ours, side)
                ratios.plot([ratio.lower, ratio.upper], [row, row], color=colour, linewidth=1.5)
                ratios.plot(ratio.median, row, **dot)
    titles = [f"{result.name}\nbatch {result.batch}, {result.threads} thr." for result in results]
    ratios.set_yticks(range(len(results)), titles, fontsize=7)
    ratios.set_ylim(len(results) - 0.5, -0.5)  # the first on top
    ratios.set_xscale("log")
    ratios.axvline(1, color=INK, linewidth=1)
    ratios.set_xlabel("time of minicnn / time of the other; left of the line minicnn is faster")
    ratios.set_title("Time, with quartiles", fontsize=10)
    for peak in peaks:
        rates.axvline(peak.fma / 1e9, color=GREY, linewidth=1, linestyle="--")
        rates.annotate(
            f"peak on {peak.threads}", (peak.fma / 1e9, 1), xycoords=("data", "axes fraction"),
            rotation=90, ha="right", va="top", fontsize=7, color=GREY,
        )  # fmt: skip
    rates.set_xscale("log")
    rates.set_xlabel("GFLOP/s, counting every product of the definition")
    rates.set_title("Effective rate", fontsize=10)
    for axes in (ratios, rates):
        _plain_numbers(axes)
        axes.grid(axis="x", which="both", linewidth=0.3)
        axes.tick_params(axis="y", length=0)
    present = [side for side in STYLES if any(side in result.sides for result in results)]
    handles = [
        ratios.plot([], [], color=STYLES[s][0], marker=STYLES[s][1], linestyle="none", label=s)[0]
        for s in present
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=5, frameon=False, fontsize=8
    )  # fmt: skip
    save(figure, path)


def _plain_numbers(axes: Axes) -> None:
    """Label a logarithmic axis 0.2, 0.5, 1, 2 rather than by powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
