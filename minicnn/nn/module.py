"""The base of every layer and network: parameters, a forward and a backward.

``forward`` returns ``(y, cache)``, and ``backward`` takes that cache; the module itself stores
nothing of a pass. So a module can be used twice in one pass, and two passes can interleave.
Backward adds into ``Param.grad``, because a parameter that is used twice receives both gradients.

A cache holds the arrays of its pass, not copies of them. Between forward and backward, do not
change the input or the output, and do not let the optimiser step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from minicnn.backend import IMPLS, Impl
from minicnn.shapes import ShapeError, check_choice

Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # kernel, stride, dilation


class StateDictError(ValueError):
    """The state dict does not fit this module; the text names each wrong key."""


class Unknown(ValueError):
    """Something that cannot be found by running a layer; the layer must define it."""


# What torch's modules have and ours lack: what to write instead.
_INSTEAD = {
    "train": "training is an argument: forward(x, training=True)",
    "eval": "inference is an argument: forward(x, training=False), or model(x)",
    "to": "minicnn computes on the CPU; for another precision use astype(np.float64)",
    "cuda": "minicnn computes on the CPU",
    "cpu": "minicnn computes on the CPU",
    "double": "use astype(np.float64)",
    "float": "use astype(np.float32)",
    "half": "float32 and float64 are supported",
    "requires_grad_": "use freeze(), or freeze(False)",
    "children": "use named_children()",
    "modules": "use named_modules()",
    "buffers": "use named_buffers()",
    "register_forward_hook": "use minicnn.insight.watching",
    "register_parameter": "set an attribute: self.weight = Param(array)",
    "register_buffer": "set an attribute: an array is a buffer",
    "add_module": "set an attribute: a Module is a child",
}


class Param:
    """An array that is learned, and the gradient that backward adds into."""

    __slots__ = ("data", "grad", "trainable")

    def __init__(self, data: np.ndarray) -> None:
        self.data = data
        self.grad = np.zeros(data.shape, data.dtype)  # uses no memory before the first gradient
        self.trainable = True

    def add_grad(self, grad: np.ndarray | None) -> None:
        """Add into ``grad``, unless the parameter is frozen."""
        if self.trainable and grad is not None:
            self.grad += grad

    def __repr__(self) -> str:
        frozen = "" if self.trainable else ", frozen"
        return f"Param{self.data.shape}({self.data.dtype}{frozen})"


class Module:
    """Base of layers and networks.

    The type of an attribute says what it is. A ``Param`` is a parameter, and a ``Module`` a child.
    An array is a buffer: it is in the state dict and is not learned. A ``numpy.random.Generator``
    is a source of random numbers.
    """

    impl: Impl = "fast"

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Module) and getattr(self, "_fused", None):
            raise AttributeError(
                f"{type(self).__name__}: a fused network runs the layers that it was made from. "
                f"Set {name} in the original network, then fuse it again."
            )
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # else every name would seem to be there

        def __getattr__(self, name: str) -> Any:
            """Say what to write instead of a name that only torch's modules have."""
            if any(name in kind.__dict__ for kind in type(self).__mro__):  # a property that failed
                return object.__getattribute__(self, name)  # raises what it raised
            instead = f" ({_INSTEAD[name]})" if name in _INSTEAD else ""
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}{instead}",
                name=name, obj=self,
            )  # fmt: skip

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, Any]:
        """Return ``(y, cache)``."""
        raise NotImplementedError(f"{type(self).__name__} has no forward.")

    def backward(self, dy: np.ndarray, cache: Any, *, input_grad: bool = True) -> np.ndarray | None:
        """Add into the parameters' gradients; return ``dx``, or None without ``input_grad``."""
        raise NotImplementedError(f"{type(self).__name__} has no backward.")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the output in inference: ``forward`` without training and without the cache."""
        return self.forward(x, training=False)[0]

    # ---- for the summary: shapes without the batch axis, found by running or defined by the layer

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the output for an input of ``shape``; both are without the batch."""
        from minicnn.nn import probe

        return probe.output_shape(self, shape)

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        """Return the number of multiply-adds in convolutions and matrix products, for one image.

        Raises Unknown if it cannot be found by running.
        """
        from minicnn.nn import probe

        return probe.multiply_adds(self, shape)

    def window(self, shape: tuple[int, ...]) -> Window | None:
        """Return the window of input pixels that one output depends on; None means all pixels.

        Raises Unknown if these pixels are not a window.
        """
        from minicnn.nn import probe

        return probe.window(self, shape)

    def __init_subclass__(cls, **options: Any) -> None:
        """Drop the shape methods of a base class if the subclass has another forward."""
        super().__init_subclass__(**options)
        for name in ("output_shape", "multiply_adds", "window"):
            says = next(base for base in cls.__mro__ if name in vars(base))
            # They describe the forward of that base, or the first one below it.
            below = [base for base in reversed(cls.__mro__) if issubclass(base, says)]
            forwards = [getattr(base, "forward", None) for base in below]
            first = next((forward for forward in forwards if forward is not Module.forward), None)
            if says is not Module and first not in (None, cls.forward):
                setattr(cls, name, vars(Module)[name])

    # ---- the tree

    def named_children(self) -> Iterator[tuple[str, Module]]:
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it, each under the path that leads to it."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def below(self) -> Iterator[Module]:
        """Yield all modules below this one."""
        for value in vars(self).values():
            if isinstance(value, Module):
                yield value
                yield from value.below()

    def _named(self, kind: type | tuple[type, ...]) -> Iterator[tuple[str, Any]]:
        """Yield the attributes of a kind; each object only once, even if it is used twice."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, kind) and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self) -> Iterator[tuple[str, Param]]:
        return self._named(Param)

    def parameters(self) -> list[Param]:
        return [param for _, param in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, np.ndarray]]:
        return self._named(np.ndarray)

    def named_generators(self) -> Iterator[tuple[str, np.random.Generator]]:
        return self._named(np.random.Generator)

    @property
    def learns(self) -> bool:
        """True if any parameter is trainable."""
        return any(
            (isinstance(value, Param) and value.trainable)
            or (isinstance(value, Module) and value.learns)
            for value in vars(self).values()
        )

    # ---- settings

    def zero_grad(self) -> None:
        for param in self.parameters():
            param.grad[...] = 0

    def freeze(self, frozen: bool = True) -> Self:
        """Keep optimisers from changing the parameters; ``freeze(False)`` allows it again."""
        for param in self.parameters():
            param.trainable = not frozen
        return self

    def set_impl(self, impl: Impl) -> Self:
        """Run every operation below as ``"fast"`` or ``"textbook"``."""
        check_choice(type(self).__name__, "impl", impl, IMPLS)
        for _, module in self.named_modules():
            module.impl = impl
        return self

    def astype(self, dtype: Any) -> Self:
        """Turn parameters and floating buffers into float32 or float64, in place."""
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"astype: float32 or float64 is needed, got {np.dtype(dtype)}.")
        for _, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Param):
                    value.data, value.grad = value.data.astype(dtype), value.grad.astype(dtype)
                elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    setattr(module, name, value.astype(dtype))
        return self

    # ---- state

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return all parameters and buffers by name, module by module, as torch lists them."""
        arrays = self._named((Param, np.ndarray))
        return {name: value.data if isinstance(value, Param) else value for name, value in arrays}

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of all parameters and buffers by name."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray], strict: bool = True) -> None:
        """Copy ``state`` into the parameters and buffers.

        The precision may differ, but parameters take only floats, and counts only integers that are
        not too large. Raises StateDictError before anything is changed; it names each key that is
        missing, unexpected, mis-shaped or of another type. Without ``strict``, missing and
        unexpected keys are ignored.
        """
        own, faults = self._arrays(), []
        if strict:
            faults += [f"missing: {name} {own[name].shape}" for name in own if name not in state]
            faults += [f"unexpected: {name}" for name in state if name not in own]
        for name in own.keys() & state.keys():
            if own[name].shape != state[name].shape:
                faults.append(
                    f"mis-shaped: {name} is {state[name].shape}, this model needs {own[name].shape}"
                )
            elif not _of_one_kind(state[name].dtype, own[name].dtype):
                faults.append(
                    f"mistyped: {name} is {state[name].dtype}, this model needs {own[name].dtype}"
                )
            elif not _holds(own[name].dtype, state[name]):
                faults.append(f"too large: {name} has numbers out of range for {own[name].dtype}")
        if faults:
            raise StateDictError(
                f"{type(self).__name__}: the state dict does not fit. {'; '.join(sorted(faults))}. "
                "Is it of another model, or for other classes?"
            )
        for name in own.keys() & state.keys():
            own[name][...] = state[name]

    # ---- text

    def _options(self) -> str:
        """Return the text between the parentheses of ``repr``."""
        return ""

    def __repr__(self) -> str:
        children = [f"  ({n}): " + repr(m).replace("\n", "\n  ") for n, m in self.named_children()]
        inside = "\n" + "\n".join(children) + "\n" if children else self._options()
        return f"{type(self).__name__}({inside})"

    def _repr_html_(self) -> str:
        """Return the drawing that a notebook shows; ``viz.diagram`` adds the shapes."""
        from minicnn.nn.diagram import diagram

        return diagram(self).svg


class NoProducts(Module):
    """Base of layers that are neither convolutions nor matrices."""

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        return 0


class Elementwise(NoProducts):
    """Base of layers whose output at a pixel depends only on the input at this pixel."""

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def window(self, shape: tuple[int, ...]) -> Window | None:
        return (1, 1), (1, 1), (1, 1)


def _of_one_kind(one: np.dtype, other: np.dtype) -> bool:
    """True if both are floats, or both integers."""
    return one == other or any(
        np.issubdtype(one, kind) and np.issubdtype(other, kind)
        for kind in (np.floating, np.integer)
    )


def _holds(dtype: np.dtype, array: np.ndarray) -> bool:
    """True if no number of ``array`` is too large for ``dtype``."""
    if np.can_cast(array.dtype, dtype):
        return True
    finite = array[np.isfinite(array)]
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return bool(((finite >= limits.min) & (finite <= limits.max)).all())


def rule_of(rule: Any, module: Module) -> Any:
    """Return the function that ``rule``, a singledispatch function, has for the type of ``module``.

    The function of a base class is not used if the subclass has another forward.
    """
    kind = next(base for base in type(module).__mro__ if base in rule.registry)
    known = kind is not object and type(module).forward is getattr(kind, "forward", None)
    return rule.dispatch(kind if known else object)


def needs_image(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (c, h, w), or raise if ``shape`` is not the shape of an image."""
    if len(shape) != 3:
        raise ShapeError(f"{name}: an image (channels, height, width) is needed, got {shape}.")
    return shape
