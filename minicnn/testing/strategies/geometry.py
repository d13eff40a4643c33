"""Windows on images, valid by construction: the drawn windows determine the image's size.

Along each axis a kernel, a dilation, a stride and a number of windows are drawn. Then the number of
pixels left over at the end is drawn, and how many of all these pixels are padding.
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
        """The number of pixels that a window spans."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def starts(self) -> list[int]:
        """The start positions of the windows that fit; counted, not computed."""
        last = self.size + self.after - self.extent
        return [p for p in range(-self.before, last + 1) if (p + self.before) % self.stride == 0]

    @property
    def left_over(self) -> int:
        """Pixels at the end that no window reaches."""
        return self.size + self.after - self.extent - self.starts[-1]

    @property
    def starts_ceil(self) -> list[int]:
        """The same with ceil_mode: one more if pixels are left over and it starts in the image."""
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
        """Return an option for both axes: one integer if they are equal, otherwise two."""
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
        """The same, but a stride equal to the kernel's size is left out, as the default."""
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
    """Limits of sizes: counts as strategies, geometry as maxima."""

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
# Large enough for every path of vectorised and parallel code: batches of one, of few, and of more
# than the number of parallel pieces; channels within one vector of the processor, just past one,
# and past two with a rest.
WIDE = Sizes(
    batches=st.sampled_from([1, 2, 3, 9, 11]),
    channels=st.one_of(st.integers(1, 5), st.sampled_from([8, 15, 16, 17, 33, 40])),
    features=st.integers(1, 40),
    kernel=5, stride=6, dilation=3, windows=4,
)  # fmt: skip


ANY: Any = object()  # an argument that is not narrowed


def choices(given: Any, default: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for an argument: of a value, of the entries of a tuple or list, or itself.

    So ``padding=1`` is always 1, ``padding=(0, 1)`` is 0 or 1, and ``padding=[(0, 1)]`` is 0 along
    the height and 1 along the width.
    """
    if given is ANY:
        return default
    if isinstance(given, st.SearchStrategy):
        return given
    return st.sampled_from(list(given)) if isinstance(given, (tuple, list)) else st.just(given)


class Narrowed(NamedTuple):
    """The arguments of windows, for ``choices``; ``square`` means equal along both axes."""

    kernel_size: Any = ANY
    stride: Any = ANY
    padding: Any = ANY
    dilation: Any = ANY
    square: bool = False

    def two(self, draw: st.DrawFn, name: str, default: st.SearchStrategy[int]) -> tuple[Any, Any]:
        """Draw an argument for both axes."""
        strategy = choices(getattr(self, name), default)
        first = draw(strategy)
        if isinstance(first, (tuple, list)):
            return first[0], first[1]
        if self.square or isinstance(first, str):
            return first, first
        second = draw(strategy)
        return (first, first) if isinstance(second, (tuple, list, str)) else (first, second)

    def integers(self, name: str) -> list[int] | None:
        """Return the possible integers of an argument, or None if a strategy draws it."""
        given = getattr(self, name)
        if given is ANY or isinstance(given, st.SearchStrategy):
            return None
        values = given if isinstance(given, (tuple, list)) else [given]
        flat = [v for value in values for v in (value if isinstance(value, tuple) else (value,))]
        return [v for v in flat if isinstance(v, int)]


FREE = Narrowed()


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


def _both(draw: st.DrawFn, square: bool, axis: Callable[[int], Axis]) -> tuple[Axis, Axis]:
    high = axis(0)
    return (high, high) if square else (high, axis(1))


@st.composite
def conv_geometries(
    draw: st.DrawFn, sizes: Sizes = SMALL, named: bool = True, narrowed: Narrowed = FREE
) -> Geometry:
    """Draw windows of a convolution; with ``named``, padding may also be "same" or "valid"."""
    kernels = narrowed.two(draw, "kernel_size", st.integers(1, sizes.kernel))
    dilations = narrowed.two(draw, "dilation", st.integers(1, sizes.dilation))
    strides = narrowed.two(draw, "stride", st.integers(1, sizes.stride))
    extents = [d * (k - 1) + 1 for k, d in zip(kernels, dilations, strict=True)]
    usual = ["integers", "integers", "integers", "valid", "same", "same"] if named else ["integers"]
    if narrowed.padding is ANY:
        kind = draw(st.sampled_from(usual))
        if kind == "same" and narrowed.stride is not ANY and strides != (1, 1):
            kind = "valid"
        paddings: tuple[Any, Any] = (kind, kind)
        if kind == "integers":
            first = draw(st.integers(0, extents[0]))
            paddings = first, first if narrowed.square else draw(st.integers(0, extents[1]))
    else:
        paddings = narrowed.two(draw, "padding", st.just(0))
        if paddings[0] == "same" and narrowed.stride is not ANY and strides != (1, 1):
            raise ValueError('padding="same" needs stride=1, which the strategy does not allow.')
    if paddings[0] == "same":  # an odd pixel of padding comes after

        def same(k: int) -> Axis:
            total, size = extents[k] - 1, draw(st.integers(1, 7))
            return Axis(size, kernels[k], 1, dilations[k], total // 2, total - total // 2)

        return Geometry(*_both(draw, narrowed.square, same), "same")
    valid = paddings[0] == "valid"

    def axis(k: int) -> Axis:
        padding = 0 if valid else paddings[k]
        return _axis(draw, sizes, kernels[k], strides[k], dilations[k], padding)

    return Geometry(*_both(draw, narrowed.square, axis), "valid" if valid else None)


@st.composite
def pool_geometries(
    draw: st.DrawFn, sizes: Sizes = SMALL, dilated: bool = False, narrowed: Narrowed = FREE
) -> Geometry:
    """Draw windows of a pool, in a third of the cases with the default stride.

    Padding is up to half the kernel; every window holds a pixel.
    """
    needed = max(narrowed.integers("padding") or [0])  # the kernel is at least twice as large
    least = max(1, 2 * needed)
    kernels = narrowed.two(draw, "kernel_size", st.integers(least, max(sizes.kernel, least)))
    strides = narrowed.two(draw, "stride", st.integers(1, sizes.stride))
    dilations = narrowed.two(draw, "dilation", st.integers(1, sizes.dilation if dilated else 1))
    paddings = (
        narrowed.two(draw, "padding", st.just(0))
        if narrowed.padding is not ANY
        else tuple(draw(st.integers(0, k // 2)) for k in kernels)
    )
    if narrowed.square:
        paddings = paddings[0], paddings[0]
    for k, p in zip(kernels, paddings, strict=True):
        if 2 * p > k:
            raise ValueError(
                f"the padding of a pool is at most half the kernel: {p} > {k} / 2. Narrow "
                "kernel_size and padding so that they fit."
            )
    if narrowed.stride is None or (
        narrowed.stride is ANY and draw(st.sampled_from([False, False, True]))
    ):
        strides = kernels  # the stride's default is the kernel's size
    strides = tuple(k if s is None else s for k, s in zip(kernels, strides, strict=True))

    def axis(i: int) -> Axis:
        # The taps of a window lie `dilation` apart; of as many pixels, one tap hits at least one.
        d = dilations[i]
        return _axis(draw, sizes, kernels[i], strides[i], d, paddings[i], least=d)

    return Geometry(*_both(draw, narrowed.square, axis))


@st.composite
def convolutions(
    draw: st.DrawFn,
    sizes: Sizes = SMALL,
    named: bool = True,
    narrowed: Narrowed = FREE,
    groups_from: Any = ANY,
    bias: Any = ANY,
) -> Convolution:
    """Draw a geometry, a batch, groups, and channels that the groups divide."""
    geometry = draw(conv_geometries(sizes, named, narrowed))
    groups = draw(choices(groups_from, st.sampled_from([1, 1, 2, 3])))
    depthwise = groups > 1 and draw(st.booleans())
    inward = 1 if depthwise else draw(sizes.channels)
    outward = draw(sizes.channels)
    if groups > 1:  # many channels in each of many groups only cost time
        inward, outward = min(inward, 9), min(outward, 17)
    return Convolution(
        geometry, draw(sizes.batches), groups, inward, outward, draw(choices(bias, st.booleans()))
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
