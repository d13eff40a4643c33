"""Objects with forward and backward, as in many courses: state and parameters on self.

Each forward runs on its own copy, and backward is called on the same copy. So two passes do not
disturb each other. An object whose forward returns a cache can be checked too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minicnn.testing.conventions import isolation, slots
from minicnn.testing.conventions.calls import (
    Pass,
    arguments,
    named,
    names_of,
    value_and_cache,
)
from minicnn.testing.conventions.functions import loss_and_gradients
from minicnn.testing.conventions.names import INPUT_GRADIENTS, assigned
from minicnn.testing.conventions.subject import (
    Arrays,
    ContractError,
    Subject,
    is_geometry,
    with_option,
)


class ObjectSubject(Subject):
    """An object; ``backward`` is None if forward returns ``(loss, gradients)``."""

    def __init__(
        self, thing: Any, arrays: Arrays, options: Mapping[str, Any],
        methods: tuple[str, str | None], parameters: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._pristine, self._methods, self._explicit = isolation.copied(thing), methods, parameters
        names = names_of(self._method(thing, methods[0]), len(arrays))
        super().__init__(named(thing), names, arrays, options)
        self._slots: list[slots.Slot] = []
        self._dtypes: dict[str, Any] = {}
        self.takes_dy = methods[1] is not None
        self.network = sum(1 for _ in slots.objects(thing)) > 0
        self._scale: float | None = None
        self.begin()
        self._find()

    @staticmethod
    def _method(thing: Any, name: str | None) -> Callable:
        return thing if name == "__call__" else getattr(thing, str(name))

    # ---- parameters

    def _find(self) -> None:
        """Run both once, and find the parameters and their gradients."""
        before = isolation.copied(self._pristine)
        kept = {path: (value, np.array(value)) for path, value in slots.walk(before)}
        seeded = np.random.default_rng(0)
        try:
            y, cache = self._run(before, self.arrays)
            settled = {}
            for path, (value, numbers) in kept.items():
                now = slots.found_at(before, path)
                if (now is value or type(value) is float) and np.array_equal(now, numbers):
                    settled[path] = value
            returned = self._back(cache, np.asarray(seeded.standard_normal(y.shape)))
        except TypeError as error:
            if str(error).startswith("gradcheck:"):
                raise
            return  # the check itself will report it, with its place
        except KeyboardInterrupt:
            raise
        except BaseException:
            return
        # Attributes that backward writes to, such as optimiser state, are not parameters.
        found, rest = slots.slots_of(self._pristine, before, settled, self._explicit)
        extra = self._returned(returned, [*found, *rest])
        own = found + [slot for slot in rest if slot in extra]
        if extra:
            own.sort(key=lambda s: [*found, *rest].index(s) if s not in extra else
                     extra.index(s))  # fmt: skip
        self._slots = own
        for slot in own:
            self.names += (slot.name,)
            value = slot.get(self._pristine)
            self.arrays += (np.asarray(value, dtype=np.result_type(np.asarray(value), np.float32)),)
        self.unchecked = [
            slot.name for slot in rest if slot not in own and self._moves(slot, y)
        ]  # fmt: skip

    def _returned(self, returned: Any, candidates: list[slots.Slot]) -> list[slots.Slot]:
        """Return the parameters whose gradients backward returns after dx, in this order."""
        parts = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        parts = [q for p in parts for q in (p if isinstance(p, (tuple, list)) else (p,))]
        if any(isinstance(part, Mapping) for part in parts):
            keys = [key for part in parts if isinstance(part, Mapping) for key in part]
            return [slot for slot in candidates if any(_is_of(key, slot.name) for key in keys)]
        count = len(parts) - 1
        alone = self._methods[1] is None  # (loss, gradients): there may be no dx
        if (count < 1 and not alone) or (len(parts) <= self.inputs and not alone):
            return []
        shapes = [np.shape(part) for part in parts]
        usable = (
            [slot for slot in candidates if np.ndim(slot.get(self._pristine)) > 0]
            if len(candidates) > len(parts) - 1
            else candidates
        )
        if self._methods[1] is None and len(usable) >= len(parts):  # (loss, (dW, db))
            own = [np.shape(slot.get(self._pristine)) for slot in usable]
            chosen = [usable[own.index(s)] for s in shapes if s in own]
            if len(chosen) == len(parts) and shapes[0] != _shape(self.arrays[0]):
                return chosen
        rest = shapes[1:]
        if len(usable) == len(rest):
            return usable
        chosen = []
        for shape in rest:
            fits = [s for s in usable if s not in chosen
                    and np.shape(s.get(self._pristine)) == shape]  # fmt: skip
            if not fits:
                return []
            chosen.append(fits[0])
        return chosen

    def _moves(self, slot: slots.Slot, y: np.ndarray) -> bool:
        """Return whether y depends on an array."""
        thing = isolation.copied(self._pristine)
        value = np.asarray(slot.get(thing))
        if not value.size:
            return False
        try:
            slot.put(thing, value * value.dtype.type(1.25) + value.dtype.type(0.5))
            return not np.array_equal(self._run(thing, self.arrays[: self.inputs])[0], y)
        except KeyboardInterrupt:
            raise
        except BaseException:
            return True

    # ---- passes

    def begin(self) -> None:
        self._now = copy.deepcopy(self.options)
        self._shared: Any = None

    def _run(self, thing: Any, inputs: Arrays) -> tuple[np.ndarray, Pass]:
        isolation.seed()
        result = self._method(thing, self._methods[0])(*inputs, **self._now)
        if self._methods[1] is None:
            loss, gradients = loss_and_gradients(result, self.name)
            return loss, Pass(gradients, True, loss, inputs, thing)
        return value_and_cache(result, inputs, getattr(thing, self._methods[1]), thing)

    def forward(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        # If forward returns a cache, one object is enough for all passes.
        thing = self._shared
        if thing is None:
            thing = isolation.copied(self._pristine, self._spared())
        for slot, array in zip(self._slots, arrays[self.inputs :], strict=True):
            assert array is not None
            slot.put(thing, array)
        y, kept = self._run(thing, arrays[: self.inputs])
        self._shared = thing if kept.has_cache and self._methods[1] is not None else None
        return y, kept

    def _spared(self) -> dict[int, Any]:
        """Return the parameters' arrays, which need no copy, because forward sets them."""
        arrays = [slot.get(self._pristine) for slot in self._slots]
        return {id(a): a for a in arrays if isinstance(a, np.ndarray)}

    def _back(self, kept: Pass, dy: np.ndarray) -> Any:
        if self._methods[1] is None:
            return kept.cache
        backward = getattr(kept.owner, self._methods[1])
        values, self.takes_dy = arguments(backward, self.names[: self.inputs], kept, dy)
        returned = backward(*values)
        if returned is None:  # dx is left on self, or there is none on purpose
            returned = next(
                (getattr(kept.owner, n) for n in INPUT_GRADIENTS if hasattr(kept.owner, n)), None
            )
        return returned

    def backward(self, dy: np.ndarray, cache: Pass) -> Arrays:
        for slot in self._slots:  # many layers add into the old array
            gradient = slots.found_at(cache.owner, slot.gradient)
            if isinstance(gradient, np.ndarray) and gradient.dtype.kind == "f":
                slot._replace(paths=(slot.gradient or (),)).put(
                    cache.owner, np.zeros(gradient.shape, gradient.dtype)
                )
        returned = self._back(cache, dy)
        try:
            found, self.answered = assigned(returned, self.names, self.inputs, self.arrays)
        except ContractError:
            if not isinstance(returned, (tuple, list)) or not self.inputs:
                raise
            found, self.answered = assigned(returned[0], self.names, self.inputs, self.arrays)
            self.notes_of_surplus(len(returned))
        for k, slot in enumerate(self._slots, start=self.inputs):
            if found[k] is None:
                found[k] = slots.found_at(cache.owner, slot.gradient)
        if self._methods[1] is None:
            found = [None if g is None else g * dy for g in found]
        return tuple(None if g is None else np.asarray(g) for g in found)

    def notes_of_surplus(self, count: int) -> None:
        """Report that backward returned more gradients than could be assigned."""
        text = f"{count - 1} gradients that backward returned beside dx"
        if text not in self.unchecked:
            self.unchecked.append(text)

    # ---- options on self

    def integers(self) -> dict[str, Any]:
        own = {k: v for k, v in vars(self._pristine).items() if is_geometry(v)} \
            if hasattr(self._pristine, "__dict__") else {}  # fmt: skip
        return {**own, **super().integers()}

    def varied(self, name: str, value: Any) -> Subject | None:
        thing = isolation.copied(self._pristine)
        options = with_option(self.options, name, value)
        if options is not None:
            pass
        elif name in getattr(thing, "__dict__", {}):
            setattr(thing, name, value)
            options = self.options
        else:
            return None
        return ObjectSubject(
            thing, self.arrays[: self.inputs], options, self._methods, self._explicit
        )


def _is_of(key: Any, name: str) -> bool:
    from minicnn.testing.conventions.names import is_gradient_of, plain

    last = name.rpartition(".")[2]
    return plain(key) in (plain(name), plain(last)) or is_gradient_of(str(key), last)


def _shape(array: np.ndarray | None) -> tuple[int, ...]:
    return () if array is None else array.shape
