"""The lessons as notebooks: ``python -m examples.notebooks DIR [--run] [--quick] [LESSON ...]``.

    make       one lesson's file -> a notebook, by jupytext
    execute    the notebook, run from its first cell to its last, by nbclient
    pictures   how many pictures a notebook shows
    failed_claims   what it claims and does not show

A notebook needs nothing but minicnn: its first cell of code writes the helper that lessons import,
``examples/course.py``, beside it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LESSONS = sorted(Path(__file__).parents[1].glob("[0-9]*.py"))
HELPER = Path(__file__).parents[1] / "course.py"
NEEDED = ("jupytext", "nbclient", "nbformat", "ipykernel")
PATIENCE = 1200  # seconds of one cell; the longest takes a minute

_NOTE = """\
%%writefile course.py
# What the lessons share: options, pictures and claims. Run this cell; there is no need to read it.
"""


def make(lesson: Path) -> Any:
    """Return the notebook of a lesson, not executed."""
    import jupytext
    from nbformat.v4 import new_code_cell

    notebook = jupytext.read(lesson)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    helper = new_code_cell(_NOTE + HELPER.read_text(encoding="utf-8").rstrip())
    helper.metadata = {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    notebook.cells.insert(first, helper)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"  # the same in every run, so that files can be compared
        cell.metadata.pop("lines_to_next_cell", None)
    return notebook


def execute(
    notebook: Any, folder: Path, environment: Mapping[str, str] | None = None, kernel: Any = None
) -> Any:
    """Run a notebook's cells in ``folder``; their outputs are added in place.

    A kernel of its own runs them, or ``kernel``, a jupyter_client KernelManager whose kernel is
    running and keeps its environment; its variables are forgotten first. Raises nbclient's
    CellExecutionError where a cell raises.
    """
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell

    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "timeout": PATIENCE, "resources": {"metadata": {"path": str(folder)}},
        "extra_arguments": ["--IPKernelApp.log_level=ERROR"],
    }  # fmt: skip
    if kernel is None:
        client = NotebookClient(notebook, **options)
        return client.execute(env={**os.environ, **(environment or {})})
    notebook.cells.insert(0, new_code_cell(f"%reset -f\nimport os\nos.chdir({str(folder)!r})"))
    client = NotebookClient(notebook, km=kernel, **options)
    try:
        return client.execute()
    finally:
        del notebook.cells[0]
        if client.kc is not None:
            client.kc.stop_channels()  # nbclient leaves a kernel that is not its own as it is


def pictures(notebook: Any) -> int:
    """Return how many pictures the cells' outputs hold."""
    return sum(
        not {"image/png", "image/svg+xml"}.isdisjoint(output.get("data", {}))
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.get("outputs", [])
    )


def failed_claims(notebook: Any) -> list[str]:
    """Return the claims that did not hold, as the reader sees them."""
    text = "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.get("outputs", [])
    )
    return re.findall(r"^This run does not show that .*$", text, re.MULTILINE)
