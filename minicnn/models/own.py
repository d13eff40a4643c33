"""Networks of the user's own, named as ``FILE.py:OBJECT``.

OBJECT is a class or a function that makes a network, with options if it has any: ``net.py:Net`` or
``net.py:Net(width=8)``. It is given ``rng`` (a ``numpy.random.Generator``), ``classes`` and
``num_classes``, if it takes them and they are not given as options.

A run keeps the name, and a digest of the file. It makes the network again only from a plain name
and plain options. So opening somebody else's run never evaluates an expression from it.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn import objects
from minicnn.files import expanded
from minicnn.models.weights import load_weights
from minicnn.nn import Module

GIVEN = ("rng", "classes", "num_classes")


class NetworkChanged(UserWarning):
    """The file of a run's own network has changed since the run began."""


class Own(NamedTuple):
    """What a run keeps of a network of the user's own."""

    file: str | None  # its absolute path; None: it was not written in a file
    object: str
    options: dict[str, Any] | None  # None: they are not known, or part of ``object``
    digest: str | None  # of the file

    @property
    def name(self) -> str:
        """The name in the form that a recipe uses."""
        options = "(...)" if self.options is None and self.object.isidentifier() else ""
        if self.options:
            options = f"({', '.join(f'{k}={v!r}' for k, v in self.options.items())})"
        return f"{self.file or 'python'}:{self.object}{options}"

    def as_json(self) -> dict[str, Any]:
        return self._asdict()


def is_own(name: str) -> bool:
    """True if a model's name is of the form FILE.py:OBJECT."""
    return ":" in name


def short(name: str) -> str:
    """Return a model's name without the folder of its file."""
    if not is_own(name):
        return name
    where, expression = objects.split(name)
    return f"{Path(where).name}:{expression}"


def describe(name: str) -> Own:
    """Load the file of ``FILE.py:OBJECT``, and return what a run keeps of it.

    Raises ValueError if the file or the object is missing, or the name has another form.
    """
    where, expression = _split(name)
    path = expanded(where).absolute()
    module = objects.load_file(path)
    found = _plain(expression)
    if found is None:
        return Own(str(path), expression, None, objects.digest(path))
    made, positional, options = found
    if positional:
        build = objects.evaluate(f"{path}:{made}", module)
        named = _named(build, len(positional))
        if named is None:  # such as those of *widths: they have no names
            return Own(str(path), expression, None, objects.digest(path))
        options = dict(zip(named, positional, strict=True)) | options
    return Own(str(path), made, options, objects.digest(path))


def describe_object(thing: Any) -> Own:
    """Return what a run keeps of a class, a function or a network object.

    A class or function at the top of a file can be used again from there. A network object cannot
    be made again, because its options are not known.
    """
    options: dict[str, Any] | None = {}
    build = thing
    if isinstance(build, functools.partial):
        options = None if build.args else _literal(build.keywords)
        build = build.func
    if isinstance(thing, Module):
        build, options = type(thing), None
    build = inspect.unwrap(build)
    name = getattr(build, "__qualname__", type(build).__name__)
    try:
        file = inspect.getsourcefile(build)
    except (TypeError, OSError):  # for code typed into Python or a notebook
        file = None
    if isinstance(thing, Module) and build.__module__.startswith("minicnn."):
        file = None  # a Sequential does not say what is in it
    path = Path(file).absolute() if file and Path(file).is_file() else None
    if path is None or not name.isidentifier() or name == "<lambda>":
        name = name.rpartition(".")[2]
        return Own(None, name if name.isidentifier() else "network", None, None)
    return Own(str(path), name, options, objects.digest(path))


def build(
    name: str,
    num_classes: int | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    rng: np.random.Generator | None = None,
) -> Module:
    """Return a new network of ``FILE.py:OBJECT``; without ``num_classes`` it has 10."""
    where, expression = _split(name)
    module = objects.load_file(Path(where))
    given = _given(num_classes, rng)
    found = _plain(expression)
    positional: tuple[Any, ...] = ()
    options: dict[str, Any] = {}
    if found is None:
        made = objects.evaluate(name, module, **given)
    else:
        what, positional, options = found
        made = objects.evaluate(f"{where}:{what}", module)
    model = make(made, num_classes, *positional, name=name, rng=given["rng"], **options)
    if weights is not None:
        load_weights(model, weights)
    return model


def make(
    thing: Any,
    num_classes: int | None,
    *positional: Any,
    name: str,
    rng: np.random.Generator | None = None,
    **options: Any,
) -> Module:
    """Return the network that a class or function makes, or a copy of a network object.

    Raises ValueError, with ``name``, if there is no network.
    """
    if isinstance(thing, Module) and not (positional or options):
        return copy.deepcopy(thing).astype(np.float32)
    if not callable(thing) or isinstance(thing, Module):
        raise ValueError(
            f"{name}: is of type {type(thing).__name__}. It must be a class or a function that "
            "makes a network, a minicnn.nn.Module."
        )
    try:
        takes = inspect.signature(thing)
        bound = takes.bind_partial(*positional, **options).arguments
        given = {
            key: value
            for key, value in _given(num_classes, rng).items()
            if key in takes.parameters and key not in bound
        }
        model = thing(*positional, **options, **given)
    except Exception as error:
        raise ValueError(f"{name}: {objects.said(error, line=True)}.") from error
    if not isinstance(model, Module):
        raise ValueError(
            f"{name}: made a {type(model).__name__}, which is not a network. Make it a "
            "minicnn.nn.Module, with forward(x, *, training) and backward(dy, cache, *, "
            "input_grad=True)."
        )
    return model.astype(np.float32)  # as images are; NumPy makes float64 by default


def check_again(own: Own, run: str) -> None:
    """Raise ValueError if a run cannot make its network again; warn if its file has changed."""
    now = own._replace(file="FILE.py").name.removesuffix("(...)")
    now = now if now == f"FILE.py:{own.object}" and "(" not in now else f'"{now}"'
    other = (
        f"minicnn train {now} --resume {run}; for other commands by --model {now}, and in Python "
        "by model="
    )
    if own.file is None or own.options is None:
        raise ValueError(
            f"{run}: its network, {own.name}, cannot be made again from the run alone: only the "
            f"name of a class or function at the top of a file can, with plain options. To go on: "
            f"{other}."
        )
    path = Path(own.file)
    if not own.file.endswith(".py") or not own.object.isidentifier():
        raise ValueError(f"{run}: {own.name} is not of the form FILE.py:OBJECT.")
    if not path.is_file():
        raise ValueError(
            f"{run}: its network is {own.object} of {own.file}, and there is no such file. Put "
            f"it back, or name it where it is now. To go on: {other}."
        )
    if objects.digest(path) != own.digest:
        warnings.warn(
            f"{own.file} has changed since the run {run} began; {own.object} is used as it is now.",
            NetworkChanged,
            stacklevel=3,
        )
    if not _uses_minicnn(path):
        raise ValueError(f"{run}: {own.file} does not import minicnn, so it cannot make a network.")


def _uses_minicnn(path: Path) -> bool:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return True  # loading it gives a better message
    imported = [
        alias.name if isinstance(node, ast.Import) else node.module or ""
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    return any(name.partition(".")[0] == "minicnn" for name in imported)


def _given(num_classes: int | None, rng: np.random.Generator | None) -> dict[str, Any]:
    classes = 10 if num_classes is None else num_classes
    return {
        "rng": rng or np.random.default_rng(), "classes": classes, "num_classes": classes,
    }  # fmt: skip


def _split(name: str) -> tuple[str, str]:
    where, expression = objects.split(name)
    if not where.endswith(".py"):
        raise ValueError(
            f"{name!r} is no network: one of your own is named by its file, net.py:{expression}."
        )
    return where, expression


def _plain(expression: str) -> tuple[str, tuple[Any, ...], dict[str, Any]] | None:
    """Return (name, arguments, options) of ``Net`` or ``Net(3, width=8)``, or None.

    Arguments that ``make`` gives anyway, such as ``rng=rng``, are left out.
    """
    try:
        node = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{expression!r} is no name of an object: {error.msg}.") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"{expression[:40]}...: is nested too deeply. Give a name.") from error
    if isinstance(node, ast.Name):
        return node.id, (), {}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    options = {}
    try:
        positional = tuple(ast.literal_eval(argument) for argument in node.args)
        for keyword in node.keywords:
            if keyword.arg is None:
                return None
            if not (isinstance(keyword.value, ast.Name) and keyword.value.id in GIVEN):
                options[keyword.arg] = ast.literal_eval(keyword.value)
            elif keyword.value.id != keyword.arg:
                return None
    except (ValueError, RecursionError, MemoryError):
        return None
    if ... in (*positional, *options.values()):
        return None
    return node.func.id, positional, options


def _named(build: Any, count: int) -> list[str] | None:
    """Return the names of so many arguments; None if some can only be given by position."""
    parameters = list(inspect.signature(build).parameters.values())[:count]
    by_name = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    return [p.name for p in parameters] if by_name and len(parameters) == count else None


def _literal(options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the options if they can be written to a file and read again, else None."""
    try:
        return options if ast.literal_eval(repr(options)) == options else None
    except (ValueError, SyntaxError):
        return None
