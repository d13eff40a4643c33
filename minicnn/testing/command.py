"""What ``minicnn gradcheck`` does: find the object, make its inputs, check, report."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minicnn import ops
from minicnn.testing.checker import gradcheck
from minicnn.testing.report import GradientError


def run(
    target: str,
    inputs: Sequence[str],
    options: Sequence[str],
    torch: str | None = None,
    training: bool = True,
    examples: int = 100,
    seed: int = 0,
) -> tuple[int, str]:
    """Return the exit code and the report. Raises ValueError on bad input.

    The code is 0 if the gradients are right, 1 if not, 2 if nothing could be said.
    """
    rng = np.random.default_rng(seed)
    thing = load(target, rng)
    equivalent = load(torch, rng) if torch else None
    if not inputs:
        return _drawn(thing, target, options, equivalent, examples, seed)
    arrays = [array(text, rng) for text in inputs]
    try:
        report = gradcheck(
            thing, *arrays, options=_options(options), training=training, torch=equivalent,
            seed=seed, raises=False,
        )  # fmt: skip
    except TypeError as error:
        raise ValueError(str(error).removeprefix("gradcheck: ")) from error
    if not report.checked or (report.ok and not report.compared):
        return 2, str(report)
    return (0 if report.ok else 1), str(report)


def load(target: str, rng: np.random.Generator) -> Any:
    """Return what ``MODULE:OBJECT`` or ``FILE.py:OBJECT`` names. OBJECT may be an expression."""
    where, colon, expression = target.partition(":")
    if not colon or not where or not expression:
        raise ValueError(
            f"{target!r} is no MODULE:OBJECT, such as minicnn.ops:relu, mylayers.py:Scale(3) or "
            '"minicnn.nn:Conv2d(3, 4, 3, rng=rng)".'
        )
    module = _file(Path(where)) if where.endswith(".py") else _module(where)
    names = {"np": np, "rng": rng, **vars(module)}
    if expression not in names and expression.isidentifier():
        # A module within a package, which is an attribute only once it has been imported.
        spec = f"{where}.{expression}"
        if hasattr(module, "__path__") and importlib.util.find_spec(spec) is not None:
            return importlib.import_module(spec)
    try:
        return eval(expression, names)  # the user's own code, as if it stood in the module
    except NameError as error:
        public = [n for n in vars(module) if not n.startswith("_")]
        near = difflib.get_close_matches(str(error.name), public) or public[:12]
        raise ValueError(
            f"{where} has no {error.name}. Did you mean {', '.join(near) or 'another file'}?"
        ) from error
    except Exception as error:
        raise ValueError(f"{target}: {type(error).__name__}: {error}.") from error


def _module(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as python -m does: the current folder
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            hint = " (pip install torch)" if error.name == "torch" else ""
            raise ValueError(
                f"there is no module {error.name}{hint}. Give a module that Python finds from "
                "here, or a file with its path: layers.py:Scale(3)."
            ) from error
        raise ValueError(f"{name} cannot be imported: {error}.") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name} cannot be imported: {_said(error)}") from error


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file.")
    # A name of its own: a file inspect.py must not take the place of Python's.
    spec = importlib.util.spec_from_file_location(f"minicnn_gradcheck_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise ValueError(f"{path}: {_said(error)}") from error
    return module


def _said(error: BaseException) -> str:
    """Return an error as text, with the line of the file it comes from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    at = f" ({Path(last.filename).name}, line {last.lineno})"
    if isinstance(error, SyntaxError):
        at = ""  # its text says so
    return f"{type(error).__name__}: {error}{at}"


def array(text: str, rng: np.random.Generator) -> np.ndarray | None:
    """Return an array of the shape written as 2,3,6,5; of labels as 4:3, 4 of them below 3."""
    if text == "none":
        return None
    shape, colon, below = text.partition(":")
    try:
        sizes = () if shape == "scalar" else tuple(int(size) for size in shape.split(","))
        classes = int(below) if colon else 0
    except ValueError:
        sizes = ()
        classes = -1
    if classes < 0 or any(size < 0 for size in sizes) or (colon and not classes):
        raise ValueError(
            f"--input {text!r}: give a shape, such as 2,3,6,5, or for labels shape:classes, such "
            'as 4:3, "scalar" for one number, or "none" for an array that is not given.'
        )
    return rng.integers(0, classes, sizes) if colon else rng.standard_normal(sizes)


def _options(texts: Sequence[str]) -> dict[str, Any]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"--option {text!r}: write it as name=value, such as stride=2.")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value  # a word: padding=same
    return found


def _drawn(
    thing: Any, target: str, options: Sequence[str], equivalent: Any, examples: int, seed: int
) -> tuple[int, str]:
    """Check an operation of minicnn on calls drawn by its strategy."""
    name = next((n for n in ops.__all__ if getattr(ops, n) is thing), None)
    if name is None:
        raise ValueError(
            f"{target} needs --input: the shape of each array that forward takes, in their order, "
            "such as --input 2,3,6,5."
        )
    if options:
        raise ValueError("--option needs --input; without it options are drawn as well.")
    try:
        from minicnn.testing.decorators import check_op
        from minicnn.testing.strategies import CALLS
    except ModuleNotFoundError as error:
        raise ValueError(
            f"without --input the inputs are drawn by {error.name}, which is not installed. "
            "Use pip install hypothesis, or give --input."
        ) from error
    from hypothesis import seed as hypothesis_seed

    def operation() -> Any:
        return thing

    test = check_op(CALLS[name](), examples=examples, torch=equivalent)(operation)
    try:
        hypothesis_seed(seed)(test)()
    except GradientError as error:
        return 1, str(error)
    except TypeError as error:
        raise ValueError(str(error).removeprefix("gradcheck: ")) from error
    return 0, f"{name}: the gradients are right on {examples} drawn calls."
