"""The strategies themselves: what they draw is valid, and nothing of interest is left undrawn.

``pytest -s tests/test_geometry.py`` prints how often each case occurs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from minicnn.testing.strategies import WIDE, arrays, calls
from minicnn.testing.strategies import geometry as geo
from minicnn.testing.strategies.geometry import CONV_TRAITS, TRAITS
from minicnn.windows import conv_windows, pool_windows

EXAMPLES = 300
AT_LEAST = 0.04  # of the examples

POOL_TRAITS = TRAITS.keys() - {"padding differs before and after"}


def census(
    title: str, strategy: st.SearchStrategy, traits: dict[str, Callable[..., bool]]
) -> dict[str, float]:
    """Draw the same EXAMPLES each time, print and return which part of them has each trait."""
    counts: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(drawn: object) -> None:
        counts["drawn"] += 1
        counts.update(name for name, has in traits.items() if has(drawn))

    draw()
    shares = {name: counts[name] / counts["drawn"] for name in traits}
    print(f"\n{title}: {counts['drawn']} examples")
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"  {share:6.1%}  {name}")
    return shares


def options(*names: str) -> dict[str, Callable[[calls.Call], bool]]:
    """Traits of a call: this option is not off."""
    return {name: lambda call, name=name: bool(call.options[name]) for name in names}


NOT_SMALL = {
    "padding differs before and after", "batch of more than eight",
    "more than two vectors of channels",
}  # fmt: skip


def remarkable(names: set[str]) -> dict[str, Callable[..., bool]]:
    return {name: lambda drawn, name=name: name in geo.traits(drawn) for name in names}


CENSUSES = {
    "conv2d": (geo.convolutions(WIDE), remarkable({*TRAITS, *CONV_TRAITS})),
    "unfold and fold": (geo.conv_geometries(WIDE, named=False), remarkable(POOL_TRAITS)),
    "max_pool2d": (geo.pool_geometries(WIDE, dilated=True), remarkable(POOL_TRAITS)),
    "avg_pool2d": (geo.pool_geometries(WIDE), remarkable(POOL_TRAITS - {"dilated"})),
    "small ones": (
        geo.convolutions(),
        remarkable({*TRAITS, *CONV_TRAITS} - NOT_SMALL),
    ),
    "calls of max_pool2d": (
        calls.max_pool2d(WIDE),
        options("ceil_mode")
        | {
            "stride by default": lambda call: call.options["stride"] is None,
            "NaN": lambda call: bool(np.isnan(call.arrays[0]).any()),
            "minus infinity": lambda call: bool(np.isneginf(call.arrays[0]).any()),
            "infinity": lambda call: bool(np.isposinf(call.arrays[0]).any()),
            "ties": lambda call: call.fill.kind == "ties",
        },
    ),
    "calls of avg_pool2d": (
        calls.avg_pool2d(WIDE),
        options("ceil_mode", "count_include_pad", "divisor_override")
        | {"padding not counted": lambda call: not call.options["count_include_pad"]},
    ),
    "calls of cross_entropy": (
        calls.cross_entropy(WIDE),
        options("label_smoothing")
        | {
            "probabilities": lambda call: call.arrays[1].dtype.kind == "f",
            "class weights": lambda call: call.arrays[2] is not None,
            "a class of weight 0": lambda call: call.arrays[2] is not None and 0 in call.arrays[2],
            "spatial axes": lambda call: call.arrays[0].ndim > 2,
            "some ignored": lambda call: (ignored := _ignored(call)).any() and not ignored.all(),
            "all ignored": lambda call: bool(_ignored(call).all()),
            "ignore_index is a class": lambda call: 0 <= call.options.get("ignore_index", 255) < 17,
            "mean": lambda call: call.options["reduction"] == "mean",
            "sum": lambda call: call.options["reduction"] == "sum",
            "none": lambda call: call.options["reduction"] == "none",
        },
    ),
    "arrays": (
        arrays.fills(),
        {
            "read-only": lambda fill: fill.frozen,
            "not contiguous": lambda fill: "sliced" in fill.layouts,
            **{kind: lambda fill, kind=kind: fill.kind == kind for kind in arrays.KINDS},
            "float32": lambda fill: fill.dtype is np.float32,
            "float64": lambda fill: fill.dtype is np.float64,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "signs"), [("infinite", {-np.inf, np.inf}), ("zeros", {-0.0, 0.0}), ("nan", {np.nan})]
)
def test_numbers_hold_what_they_are_named_for_and_others(kind: str, signs: set[float]) -> None:
    drawn = arrays.numbers(kind, (200,), np.random.default_rng(0))
    named = np.isnan(drawn) if kind == "nan" else np.isin(drawn, list(signs))
    assert 10 < named.sum() < 190
    assert np.isfinite(drawn[~named]).all()
    if kind != "nan":  # both signs are there
        assert 5 < np.signbit(drawn[named]).sum() < named.sum() - 5


def test_numbers_of_no_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"numbers: 'no' is none of normal, ties"):
        arrays.numbers("no", (2,), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"arranged: 'no' is none of contiguous, unaligned"):
        arrays.arranged(np.zeros(2), "no")


def _ignored(call: calls.Call) -> np.ndarray:
    return call.arrays[1] == call.options.get("ignore_index", -1)


@pytest.mark.slow
@pytest.mark.parametrize("title", CENSUSES)
def test_every_case_of_interest_is_drawn(title: str) -> None:
    shares = census(title, *CENSUSES[title])
    rare = {name: share for name, share in shares.items() if share < AT_LEAST}
    assert not rare


@pytest.mark.slow
def test_the_census_counts_what_is_not_drawn() -> None:
    unpadded = calls.conv2d(WIDE, padding=0)
    shares = census("no padding", unpadded, {"padded": lambda c: c.options["padding"] != 0})
    assert shares == {"padded": 0}


@given(convolution=geo.convolutions(WIDE))
def test_convolutions_are_valid(convolution: geo.Convolution) -> None:
    g = convolution.geometry
    options = g.options("kernel_size", "stride", "padding", "dilation")
    windows = conv_windows("conv2d", g.image, **options)
    assert (windows.oh, windows.ow) == g.windows


@given(g=geo.pool_geometries(WIDE, dilated=True), ceil_mode=st.booleans())
def test_pools_are_valid_and_every_window_holds_a_pixel(g: geo.Geometry, ceil_mode: bool) -> None:
    options = g.pool_options("kernel_size", "stride", "padding", "dilation")
    windows = pool_windows("max_pool2d", g.image, **options, ceil_mode=ceil_mode)
    starts = [axis.starts_ceil if ceil_mode else axis.starts for axis in g[:2]]
    assert (windows.oh, windows.ow) == tuple(map(len, starts))
    for axis, firsts in zip(g[:2], starts, strict=True):
        for first in firsts:
            taps = range(first, first + axis.extent, axis.dilation)
            assert any(0 <= p < axis.size for p in taps)


NARROWED = {
    "as the page has it": (
        calls.conv2d(dilation=1, groups=1, square=True, padding=(0, 1)),
        lambda o: o["dilation"] == 1 and o["groups"] == 1 and o["padding"] in (0, 1),
    ),
    "one along each axis": (calls.conv2d(padding=[(0, 1)]), lambda o: o["padding"] == (0, 1)),
    "same": (calls.conv2d(padding="same"), lambda o: o["padding"] == "same"),
    "a strategy": (
        calls.conv2d(stride=st.integers(2, 3)), lambda o: 1 not in np.ravel(o["stride"]),
    ),
    "unfold": (calls.unfold(kernel_size=2), lambda o: o["kernel_size"] == 2),
    "a pool's padding": (calls.max_pool2d(padding=2), lambda o: o["padding"] == 2),
    "ceil_mode": (calls.avg_pool2d(ceil_mode=True), lambda o: o["ceil_mode"]),
    "output_size": (calls.adaptive_avg_pool2d(output_size=3), lambda o: o["output_size"] == 3),
    "dim": (calls.softmax(dim=2), lambda o: o["dim"] == 2),
    "negative_slope": (calls.leaky_relu(negative_slope=0.2), lambda o: o["negative_slope"] == 0.2),
    "p": (calls.dropout(p=(0.2, 0.4)), lambda o: o["p"] in (0.2, 0.4)),
    "training": (calls.batch_norm(training=False), lambda o: not o["training"]),
    "size": (calls.local_response_norm(size=5), lambda o: o["size"] == 5),
    "reduction": (calls.nll_loss(reduction="sum"), lambda o: o["reduction"] == "sum"),
    "label_smoothing": (
        calls.cross_entropy(label_smoothing=0.0, probabilities=False),
        lambda o: o["label_smoothing"] == 0 and "ignore_index" in o,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NARROWED)
def test_what_is_narrowed_is_valid_by_construction(name: str) -> None:
    strategy, holds = NARROWED[name]

    @settings(max_examples=40, derandomize=True, database=None, deadline=None,
              suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
    @given(strategy)
    def draw(call: calls.Call) -> None:
        assert holds(call.options), call
        call.forward("textbook")

    draw()


def test_square_windows_are_alike_on_both_axes() -> None:
    @settings(max_examples=40, derandomize=True, database=None, deadline=None)
    @given(calls.conv2d(square=True))
    def draw(call: calls.Call) -> None:
        x, weight, _ = call.arrays
        assert x is not None
        assert weight is not None
        assert x.shape[2] == x.shape[3]
        assert weight.shape[2] == weight.shape[3]

    draw()


def test_arguments_that_cannot_fit_are_told() -> None:
    with pytest.raises(ValueError, match="at most half the kernel"):
        _first(calls.max_pool2d(padding=2, kernel_size=3))
    with pytest.raises(TypeError, match="relu takes no dim"):
        _first(calls.relu(dim=1))


def _first(strategy: st.SearchStrategy) -> None:
    @settings(max_examples=1, database=None, phases=[Phase.generate])
    @given(strategy)
    def draw(call: calls.Call) -> None:
        pass

    draw()
