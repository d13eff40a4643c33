"""Solutions of the exercises: ``python -m examples.solutions LESSON[.EXERCISE]``.

A file for each lesson, ``lesson_05.py``, and in it a function for each exercise, ``exercise_2``:
its docstring is the answer in words, its code the answer that runs, and its claims are checked.

Many exercises change a line of the lesson. ``changed`` does what the reader does: it edits the
lesson and runs its cells.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1]
if str(EXAMPLES) not in sys.path:
    sys.path.insert(0, str(EXAMPLES))  # where the lessons find course.py

import course  # noqa: E402

LESSONS = sorted(EXAMPLES.glob("[0-9]*.py"))


def exercises(number: int) -> dict[int, Callable[[], None]]:
    """Return the solutions of a lesson by the numbers of their exercises."""
    module = importlib.import_module(f"examples.solutions.lesson_{number:02}")
    found = {name: value for name, value in vars(module).items() if name.startswith("exercise_")}
    return {int(name.removeprefix("exercise_")): value for name, value in found.items()}


def asked(number: int) -> dict[int, str]:
    """Return the exercises as the lesson asks them, by their numbers."""
    text = LESSONS[number - 1].read_text(encoding="utf-8").rpartition("# ## Exercises")[2]
    lines = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    parts = re.split(r"(?:^|\n)(\d+)\. ", "\n".join(lines))
    return {int(n): part.strip() for n, part in zip(parts[1::2], parts[2::2], strict=True)}


def changed(
    number: int,
    edits: Mapping[str, str] | None = None,
    *,
    until: str = "## Exercises",
    without: tuple[str, ...] = (),
    quick: bool = True,
    names: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run the cells of a lesson up to the text ``until``; return its variables.

    ``edits`` replace text of the lesson, which must have it exactly once. ``without`` are headings
    whose cells are left out. ``names`` are variables that exist beforehand. Pictures are not drawn,
    nothing is printed, and claims that the change breaks are passed over, as they are for a reader.
    """
    text = LESSONS[number - 1].read_text(encoding="utf-8")
    for old, new in (edits or {}).items():
        if text.count(old) != 1:
            raise ValueError(f"lesson {number} has {old!r} {text.count(old)} times, not once.")
        text = text.replace(old, new)
    variables: dict[str, Any] = {"__name__": "__main__", **(names or {})}
    skipped = False
    with _aside(quick and '"--quick"' in text):
        for kind, cell in _cells(text):
            heading = re.search(r"^# (##? .*)$", cell, re.MULTILINE)
            if kind and until in cell:
                break
            if kind and heading:
                skipped = any(heading[1].startswith(left) for left in without)
            if not kind and not skipped:
                exec(compile(cell, LESSONS[number - 1].name, "exec"), variables)
    return variables


def _cells(text: str) -> Iterator[tuple[bool, str]]:
    """Yield whether a cell is text, and the cell."""
    parts = re.split(r"^# %%(.*)\n", text, flags=re.MULTILINE)
    for head, cell in zip(parts[1::2], parts[2::2], strict=True):
        yield "[markdown]" in head, cell


@contextlib.contextmanager
def _aside(quick: bool) -> Iterator[None]:
    """Run a lesson's cells in an empty folder, without its command line, pictures and output."""
    before = os.getcwd(), sys.argv, course.show, os.environ.pop("COURSE_STRICT", None)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(folder)
        sys.argv, course.show = ["lesson", *["--quick"] * quick], lambda picture, path: None
        try:
            yield
        finally:
            os.chdir(before[0])
            sys.argv, course.show = before[1:3]
            if before[3] is not None:
                os.environ["COURSE_STRICT"] = before[3]
