"""Finding the parameters of an object and their gradients.

The search goes through an object: its attributes, dictionaries and lists in them, and inner
objects. An array that exists before forward and that forward does not change may be a parameter.
Its gradient is an array beside it with a usual name, or at the same key of a neighbouring
container.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from minicnn.nn.module import Param
from minicnn.testing.conventions.isolation import is_object
from minicnn.testing.conventions.names import DICTS, is_gradient_of, plain

Step = tuple[str, Any]  # ("attribute", name) or ("item", key)
Path = tuple[Step, ...]
DEPTH = 8


class Slot(NamedTuple):
    """One array of an object: all its paths, and the path of its gradient."""

    name: str
    paths: tuple[Path, ...]
    gradient: Path | None

    def get(self, root: Any) -> Any:
        return resolve(root, self.paths[0])

    def put(self, root: Any, array: np.ndarray) -> None:
        """Put an array at all paths of the parameter."""
        for path in self.paths:
            owner = resolve(root, path[:-1])
            kind, key = path[-1]
            if kind == "attribute":
                setattr(owner, key, array)
            elif isinstance(owner, tuple):
                continue  # it has another path, or cannot be changed
            else:
                owner[key] = array


def resolve(root: Any, path: Path) -> Any:
    """Return the value at a path; raises AttributeError, KeyError, IndexError."""
    for kind, key in path:
        root = getattr(root, key) if kind == "attribute" else root[key]
    return root


def found_at(root: Any, path: Path | None) -> Any:
    """Return the value at a path, or None."""
    if path is None:
        return None
    try:
        return resolve(root, path)
    except (AttributeError, KeyError, IndexError, TypeError):
        return None


def walk(root: Any, path: Path = (), seen: set[int] | None = None) -> Iterator[tuple[Path, Any]]:
    """Yield each array of floats and each float inside an object, with its path."""
    seen = set() if seen is None else seen
    for step, value in _inside(root):
        here = (*path, step)
        if _is_floats(value) or type(value) in (float, np.float64, np.float32):
            yield here, value
        elif len(here) < DEPTH and id(value) not in seen and _has_inside(value):
            seen.add(id(value))
            yield from walk(value, here, seen)


def objects(root: Any, seen: set[int] | None = None, depth: int = 0) -> Iterator[Any]:
    """Yield the inner objects with their own forward: the layers."""
    seen = set() if seen is None else seen
    for _, value in _inside(root):
        if depth < DEPTH and id(value) not in seen and _has_inside(value):
            seen.add(id(value))
            if is_object(value) and callable(getattr(value, "backward", None)):
                yield value
            yield from objects(value, seen, depth + 1)


def _is_floats(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _has_inside(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple, Param)) or (
        is_object(value) and not type(value).__module__.startswith(("numpy", "random"))
    )


def _inside(root: Any) -> list[tuple[Step, Any]]:
    if isinstance(root, Mapping):
        return [(("item", key), value) for key, value in root.items()]
    if isinstance(root, (list, tuple)):
        return [(("item", k), value) for k, value in enumerate(root)]
    if isinstance(root, Param):
        return [(("attribute", "data"), root.data), (("attribute", "grad"), root.grad)]
    names = dict(getattr(root, "__dict__", {}))
    for kind in type(root).__mro__:
        slots = getattr(kind, "__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(root, name):
                names.setdefault(name, getattr(root, name))
    return [(("attribute", name), value) for name, value in names.items()]


def text(path: Path) -> str:
    """Return a path as text: layers.0.W."""
    return ".".join(str(key) for _, key in path)


def gradient_path(after: Any, path: Path, arrays: Mapping[Path, Any]) -> Path | None:
    """Return the path of the gradient of the array at ``path``."""
    *parent, (_, key) = path
    for other in arrays:  # beside it, under a usual name
        if other[:-1] == tuple(parent) and other != path and _names(other[-1][1], key):
            return other
    if parent:  # at the same key of a neighbouring container: params["W"], grads["W"] or ["dW"]
        (kind, container), above = parent[-1], tuple(parent[:-1])
        for other in arrays:
            if len(other) != len(path) or other[: len(above)] != above:
                continue
            beside = other[len(above)]
            if beside[0] != kind or beside[1] == container or not isinstance(container, str):
                continue
            usual = plain(beside[1]) in DICTS.get(plain(container), ())
            if (usual or is_gradient_of(beside[1], container)) and (
                other[-1][1] == key or _names(other[-1][1], key)
            ):
                return other
    return None


def _names(candidate: Any, name: Any) -> bool:
    return isinstance(candidate, str) and isinstance(name, str) and is_gradient_of(candidate, name)


def written_path(root: Any, name: str) -> Path:
    """Return the path that a user wrote with dots; raises AttributeError if there is none."""
    path: Path = ()
    for part in name.split("."):
        owner = resolve(root, path)
        if isinstance(owner, Mapping) and part in owner:
            path = (*path, ("item", part))
        elif isinstance(owner, (list, tuple)) and part.isdigit():
            path = (*path, ("item", int(part)))
        elif hasattr(owner, part):
            path = (*path, ("attribute", part))
        else:
            raise AttributeError(name)
    return path


def slots_of(
    before: Any, after: Any, settled: Mapping[Path, Any], explicit: Mapping[str, str] | None
) -> tuple[list[Slot], list[Slot]]:
    """Return the parameters with a gradient, and the other arrays that forward does not change.

    ``before`` is the object before the passes, ``after`` the same after forward and backward.
    ``settled`` are the arrays of ``before`` that forward neither replaced nor wrote to.
    """
    arrays = {path: value for path, value in walk(after) if _is_floats(value)
              or type(value) in (float, np.float64, np.float32)}  # fmt: skip
    written = {}
    for name, named in (explicit or {}).items():
        written[_checked(before, name)] = _checked(after, named)
    groups: dict[int, list[Path]] = {}
    for path, value in settled.items():
        groups.setdefault(id(value) if _is_floats(value) else id(path), []).append(path)
    pairs: list[tuple[list[Path], Path | None]] = []
    for paths in groups.values():
        paths.sort(key=len)
        own = next((written[p] for p in paths if p in written), None)
        pairs.append((paths, own or next(
            filter(None, (gradient_path(after, p, arrays) for p in paths)), None
        )))  # fmt: skip
    gradients = {gradient for _, gradient in pairs if gradient}
    with_gradient, without = [], []
    for paths, gradient in pairs:
        if any(p in gradients for p in paths):
            continue  # it is a gradient itself, made earlier
        slot = Slot(text(paths[0]), tuple(paths), gradient)
        if gradient:
            with_gradient.append(slot)
        elif _is_floats(settled[paths[0]]):
            without.append(slot)
    return with_gradient, without


def _checked(root: Any, name: str) -> Path:
    try:
        return written_path(root, name)
    except AttributeError:
        near = ", ".join(text(path) for path, _ in walk(root)) or "nothing of floats"
        raise TypeError(
            f"gradcheck: parameters names {name!r}, which is not on the object after a pass. "
            f"There are: {near}."
        ) from None
