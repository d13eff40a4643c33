"""The work of ``minicnn gradcheck``: find the object, make its inputs, check, report."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minicnn import ops
from minicnn.objects import load, said
from minicnn.testing.checker import gradcheck
from minicnn.testing.conventions import autograd
from minicnn.testing.report import GradientError


def run(
    target: str,
    inputs: Sequence[str],
    options: Sequence[str],
    torch: str | None = None,
    training: bool = True,
    examples: int = 100,
    seed: int = 0,
    *,
    forward: str | None = None,
    backward: str | None = None,
    parameters: Sequence[str] = (),
    dtype: str | None = None,
    strict: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[int, str]:
    """Return the exit code and the report. Raises ValueError on bad input.

    The code is 0 if the gradients are right, 1 if not, 2 if they could not be checked. ``say`` is
    called with a text for each stage.
    """
    rng = np.random.default_rng(seed)
    try:
        say(f"loading {target}")
        thing = load(target, rng=rng)
        equivalent = load(torch, rng=rng) if torch else None
        say(f"checking {target}")
        if not inputs:
            if forward or backward or parameters:
                raise ValueError("--forward, --backward and --parameter need --input.")
            return _drawn(thing, target, options, equivalent, examples, seed, dtype, say)
        report = gradcheck(
            thing, *(array(text, rng) for text in inputs), options=_options(options),
            training=training, torch=equivalent, seed=seed, raises=False, strict=strict,
            forward=forward, backward=backward, parameters=_pairs(parameters), dtype=dtype,
        )  # fmt: skip
    except TypeError as error:
        raise ValueError(str(error).removeprefix("gradcheck: ")) from error
    except SystemExit as error:
        raise ValueError(
            f"{target} ended the process by exit({error.code}) before anything could be said. Take "
            "exit() and sys.exit() out of it."
        ) from error
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise ValueError(f"{target} raised {said(error)} before anything could be said.") from error
    if not report.checked or (report.ok and not report.compared):
        return 2, str(report)
    return (0 if report.ok else 1), str(report)


def _pairs(texts: Sequence[str]) -> dict[str, str] | None:
    """Return the values of --parameter, NAME=GRADIENT, as a dictionary."""
    found = {}
    for text in texts:
        name, equals, gradient = text.partition("=")
        if not equals or not name or not gradient:
            raise ValueError(
                f"--parameter {text!r}: write it as name=gradient, such as filters=g_filters."
            )
        found[name] = gradient
    return found or None


def array(text: str, rng: np.random.Generator) -> np.ndarray | None:
    """Return an array of the shape 2,3,6,5; 4:3 means 4 labels below 3."""
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
        except (RecursionError, MemoryError) as error:
            raise ValueError(
                f"--option {text[:40]}...: the value is nested too deeply. Write a number, a word "
                "or a short list."
            ) from error
        except (ValueError, SyntaxError):
            found[name] = value  # a word: padding=same
    return found


def _drawn(
    thing: Any, target: str, options: Sequence[str], equivalent: Any, examples: int, seed: int,
    dtype: str | None, say: Callable[[str], None],
) -> tuple[int, str]:  # fmt: skip
    """Check an operation of minicnn on calls drawn by its strategy."""
    name = next((n for n in ops.__all__ if getattr(ops, n) is thing), None)
    if name is None and (told := autograd.advice(thing)):
        raise ValueError(told)
    if name is None:
        raise ValueError(
            f"{target} needs --input: the shape of each array that forward takes, in their order, "
            "such as --input 2,3,6,5."
        )
    if options:
        raise ValueError("--option needs --input; without it options are drawn as well.")
    try:
        from minicnn.testing.decorators import check_op
        from minicnn.testing.strategies import OPERATIONS
    except ModuleNotFoundError as error:
        raise ValueError(
            f"without --input the inputs are drawn by {error.name}, which is not installed. "
            "Use pip install hypothesis, or give --input."
        ) from error
    from hypothesis import seed as hypothesis_seed

    calls = 0

    def operation() -> Any:
        nonlocal calls
        calls += 1
        if calls <= examples:
            say(f"checking {target}: call {calls} of {examples}")
        else:
            say(f"{target} is wrong; looking for a small call that shows it ({calls})")
        return thing

    # For our own operations, manners always count.
    how = {"torch": equivalent, "dtype": dtype, "strict": True}
    test = check_op(OPERATIONS[name](), examples=examples, **how)(operation)
    try:
        hypothesis_seed(seed)(test)()
    except GradientError as error:
        return 1, str(error)
    return 0, f"{name}: the gradients are right on {examples} drawn calls."
