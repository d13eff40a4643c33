"""Windows on images, valid by construction: the image's size follows from the windows drawn.

Along each axis a kernel, a dilation, a stride and a number of windows are drawn, then how many
pixels are left over at the end, and how many of all these are padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import event
from hypothesis import strategies as st


class Axis(NamedTuple):
    """One axis of an image and the windows along it."""

    size: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0

    @property
    def extent(self) -> int:
        """How many pixels a window spans."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def starts(self) -> list[int]:
        """Where the windows start that fit, as positions in the image; counted, not computed."""
        last = self.size + self.after - self.extent
        return [p for p in range(-self.before, last + 1) if (p + self.before) % self.stride == 0]

    @property
    def left_over(self) -> int:
        """Pixels at the end that no window reaches."""
        return self.size + self.after - self.extent - self.starts[-1]

    @property
    def starts_ceil(self) -> list[int]:
        """The same with ceil_mode: one more, if pixels are left over and it starts in the image."""
        more = self.starts[-1] + self.stride
        return self.starts + ([more] if self.left_over and more < self.size else [])


class Geometry(NamedTuple):
    high: Axis
    wide: Axis
    named_padding: str | None = None

    @property
    def image(self) -> tuple[int, int]:
        return self.high.size, self.wide.size

    @property
    def kernel(self) -> tuple[int, int]:
        return self.high.kernel, self.wide.kernel

    @property
    def windows(self) -> tuple[int, int]:
        return len(self.high.starts), len(self.wide.starts)

    def option(self, name: str) -> Any:
        """Return one option as functions take it: an integer where both axes agree, else two."""
        if name == "padding":
            if self.named_padding:
                return self.named_padding
            two = self.high.before, self.wide.before
        elif name == "kernel_size":
            two = self.kernel
        else:
            two = getattr(self.high, name), getattr(self.wide, name)
        return two[0] if two[0] == two[1] else two

    def options(self, *names: str) -> dict[str, Any]:
        return {name: self.option(name) for name in names}

    def pool_options(self, *names: str) -> dict[str, Any]:
        """The same, but a stride of the kernel's size is left to the default."""
        default = self.kernel == (self.high.stride, self.wide.stride)
        return self.options(*names) | ({"stride": None} if default else {})


class Convolution(NamedTuple):
    geometry: Geometry
    n: int
    groups: int
    in_per_group: int
    out_per_group: int
    bias: bool

    @property
    def x_shape(self) -> tuple[int, ...]:
        return self.n, self.groups * self.in_per_group, *self.geometry.image

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.groups * self.out_per_group, self.in_per_group, *self.geometry.kernel


# ------------------------------------------------------------------------------------- strategies


class Sizes(NamedTuple):
    """How large what is drawn may be: numbers of things as strategies, geometry as maxima."""

    batches: st.SearchStrategy[int]
    channels: st.SearchStrategy[int]
    features: st.SearchStrategy[int]
    kernel: int
    stride: int
    dilation: int
    windows: int


# Small enough to differentiate every element by differences.
SMALL = Sizes(
    batches=st.integers(1, 3), channels=st.integers(1, 3), features=st.integers(1, 5),
    kernel=3, stride=4, dilation=2, windows=3,
)  # fmt: skip
# Large enough that code for vectors and for several cores takes every path it has: batches of one,
# of few, and of more than are cut into parallel pieces; channels within one vector of the
# processor, just past one, and past two with a rest.
WIDE = Sizes(
    batches=st.sampled_from([1, 2, 3, 9, 11]),
    channels=st.one_of(st.integers(1, 5), st.sampled_from([8, 15, 16, 17, 33, 40])),
    features=st.integers(1, 40),
    kernel=5, stride=6, dilation=3, windows=4,
)  # fmt: skip


@st.composite
def conv_axes(draw: st.DrawFn, sizes: Sizes = SMALL, *, padded: bool) -> Axis:
    """Any padding up to the window's extent, so that a window may hold nothing else."""
    kernel, stride = draw(st.integers(1, sizes.kernel)), draw(st.integers(1, sizes.stride))
    dilation = draw(st.integers(1, sizes.dilation))
    extent = dilation * (kernel - 1) + 1
    padding = draw(st.integers(0, extent)) if padded else 0
    return _axis(draw, sizes, kernel, stride, dilation, padding)


@st.composite
def same_axes(draw: st.DrawFn, sizes: Sizes = SMALL) -> Axis:
    """padding="same": an odd pixel of padding comes after."""
    kernel, dilation = draw(st.integers(1, sizes.kernel)), draw(st.integers(1, sizes.dilation))
    total = dilation * (kernel - 1)
    return Axis(draw(st.integers(1, 7)), kernel, 1, dilation, total // 2, total - total // 2)


@st.composite
def pool_axes(draw: st.DrawFn, sizes: Sizes = SMALL, dilated: bool = False) -> Axis:
    """Padding up to half the kernel; every window holds a pixel."""
    kernel, stride = draw(st.integers(1, sizes.kernel)), draw(st.integers(1, sizes.stride))
    dilation = draw(st.integers(1, sizes.dilation)) if dilated else 1
    padding = draw(st.integers(0, kernel // 2))
    # The taps of a window lie `dilation` apart: as many pixels, and it cannot step over them all.
    return _axis(draw, sizes, kernel, stride, dilation, padding, least=dilation)


def _axis(
    draw: st.DrawFn,
    sizes: Sizes,
    kernel: int,
    stride: int,
    dilation: int,
    padding: int,
    least: int = 1,
) -> Axis:
    extent = dilation * (kernel - 1) + 1
    windows, left_over = draw(st.integers(1, sizes.windows)), draw(st.integers(0, stride - 1))
    size = extent + (windows - 1) * stride + left_over - 2 * padding
    return Axis(max(size, least), kernel, stride, dilation, padding, padding)


@st.composite
def conv_geometries(draw: st.DrawFn, sizes: Sizes = SMALL, named: bool = True) -> Geometry:
    """Draw windows of a convolution; with ``named``, padding may also be "same" or "valid"."""
    kinds = ["integers", "integers", "integers", "valid", "same"] if named else ["integers"]
    kind = draw(st.sampled_from(kinds))
    if kind == "same":
        return Geometry(draw(same_axes(sizes)), draw(same_axes(sizes)), kind)
    axes = conv_axes(sizes, padded=kind == "integers")
    return Geometry(draw(axes), draw(axes), None if kind == "integers" else kind)


@st.composite
def pool_geometries(draw: st.DrawFn, sizes: Sizes = SMALL, dilated: bool = False) -> Geometry:
    """Draw windows of a pool, in a third of the cases with the stride's default."""
    axes = pool_axes(sizes, dilated)
    geometry = Geometry(draw(axes), draw(axes))
    if draw(st.sampled_from([False, False, True])):  # the stride's default is the kernel's size
        high, wide = geometry.high, geometry.wide
        return Geometry(high._replace(stride=high.kernel), wide._replace(stride=wide.kernel))
    return geometry


@st.composite
def convolutions(draw: st.DrawFn, sizes: Sizes = SMALL, named: bool = True) -> Convolution:
    """Draw a geometry, a batch, groups, and channels that the groups divide."""
    geometry = draw(conv_geometries(sizes, named))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    depthwise = groups > 1 and draw(st.booleans())
    inward = 1 if depthwise else draw(sizes.channels)
    outward = draw(sizes.channels)
    if groups > 1:  # many channels in each of many groups only cost time
        inward, outward = min(inward, 9), min(outward, 17)
    return Convolution(
        geometry, draw(sizes.batches), groups, inward, outward, draw(st.booleans())
    )  # fmt: skip


# -------------------------------------------------------------------------- what has been covered

TRAITS: dict[str, Callable[[Geometry], bool]] = {
    "image not square": lambda g: g.high.size != g.wide.size,
    "kernel not square": lambda g: g.high.kernel != g.wide.kernel,
    "windows overlap": lambda g: any(a.stride < a.extent and len(a.starts) > 1 for a in g[:2]),
    "stride beyond the kernel": lambda g: any(a.stride > a.extent for a in g[:2]),
    "pixels left over": lambda g: any(a.left_over for a in g[:2]),
    "padded": lambda g: any(a.before + a.after for a in g[:2]),
    "padding differs along the axes": lambda g: g.high.before != g.wide.before,
    "padding differs before and after": lambda g: any(a.before != a.after for a in g[:2]),
    "dilated": lambda g: any(a.dilation > 1 and a.kernel > 1 for a in g[:2]),
    "one window": lambda g: g.windows == (1, 1),
}

CONV_TRAITS: dict[str, Callable[[Convolution], bool]] = {
    'padding="same"': lambda c: c.geometry.named_padding == "same",
    'padding="valid"': lambda c: c.geometry.named_padding == "valid",
    "batch of one": lambda c: c.n == 1,
    "batch of more than eight": lambda c: c.n > 8,
    "grouped": lambda c: c.groups > 1,
    "depthwise": lambda c: c.groups > 1 and c.in_per_group == 1,
    "more than two vectors of channels": lambda c: max(c.in_per_group, c.out_per_group) > 32,
    "bias": lambda c: c.bias,
}


def traits(drawn: Geometry | Convolution) -> set[str]:
    """Return what is remarkable about it."""
    if isinstance(drawn, Convolution):
        own = {name for name, has in CONV_TRAITS.items() if has(drawn)}
        return own | traits(drawn.geometry)
    return {name for name, has in TRAITS.items() if has(drawn)}


def note(drawn: Geometry | Convolution) -> None:
    """Tell hypothesis, for ``--hypothesis-show-statistics``, what was drawn."""
    for trait in traits(drawn):
        event(trait)
