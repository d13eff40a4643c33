"""The index of operations: ``python -m tests.ops.page`` writes ``minicnn/ops/README.md``.

Everything in it is taken from the modules: their docstrings, signatures and textbook code.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from textwrap import dedent
from types import FunctionType, ModuleType

from minicnn import ops

PAGE = Path(ops.__file__).with_name("README.md")

HEAD = """\
# Operations

Written by `python -m tests.ops.page` from the docstrings of the modules.

Each operation is a module with `forward(...) -> (y, cache)` and `backward(dy, cache)`, which \
returns the gradients. Names, defaults and meaning are those of `torch.nn.functional`. \
`impl="textbook"` runs the formula that is shown below each derivation, in NumPy; without it the \
fast code runs. Property tests hold the two equal, and both equal to PyTorch: \
[the table](../../tests/parity/README.md).
"""


def title(module: ModuleType) -> str:
    """Return the first sentence of the docstring, which says what the operation is."""
    return (module.__doc__ or "").splitlines()[0].rstrip(".")


def signature(function: FunctionType) -> str:
    """Return the arguments of a function as one writes them, without ``impl``."""
    parts, keyword = [], False
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "impl":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword:
            keyword = True
            parts.append("*")
        unset = parameter.default is parameter.empty
        parts.append(name if unset else f"{name}={parameter.default!r}")
    return f"({', '.join(parts)})"


def gradients(module: ModuleType) -> str:
    """Return what the docstring of ``backward`` says that it returns."""
    told = re.match(r"Return (``.*?``)", inspect.getdoc(module.backward) or "")
    if told is None:
        raise ValueError(
            f"{module.__name__}.backward: the docstring must begin with Return ``...``."
        )
    return told[1].replace("``", "`")


def textbook_file(module: ModuleType) -> Path:
    """Return the file that holds the textbook implementation."""
    here = Path(str(module.__file__))
    beside = here.with_name("textbook.py")
    return beside if here.name == "__init__.py" and beside.exists() else here


def textbook(path: Path) -> str:
    """Return the code that ``impl="textbook"`` runs: whole functions, or branches of them."""
    lines, functions, branches = path.read_text(encoding="utf-8").splitlines(), [], []
    for function in ast.parse("\n".join(lines)).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        if path.name == "textbook.py" or "textbook" in function.name:
            functions.append("\n".join(lines[function.lineno - 1 : function.end_lineno]))
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "impl == 'textbook'":
                branch = "\n".join(lines[node.body[0].lineno - 1 : node.body[-1].end_lineno])
                if "_textbook(" not in branch:  # else that function says it
                    branches.append(f"# {function.name}\n{dedent(branch)}")
    return "\n\n\n".join(functions + (["\n\n".join(branches)] if branches else []))


def link(path: Path) -> str:
    where = path.relative_to(PAGE.parent)
    return f"[{where}]({where})"


def page() -> str:
    """Return the whole page, as Markdown."""
    modules = {name: getattr(ops, name) for name in ops.__all__}
    table = ["| operation | what it is | forward | gradients |", "| --- | --- | --- | --- |"]
    sections = []
    for name, module in modules.items():
        what = title(module).replace("|", "\\|")
        row = (f"[{name}](#{name})", what, f"`{signature(module.forward)}`", gradients(module))
        table.append("| " + " | ".join(row) + " |")
        code, body = textbook_file(module), (module.__doc__ or "").partition("\n")[2].strip("\n")
        files = dict.fromkeys((link(Path(str(module.__file__))), link(code)))
        sections.append(
            f"## {name}\n\n{title(module)}. {', '.join(files)}\n\n"
            f"```text\n{body}\n```\n\nTextbook:\n\n```python\n{textbook(code)}\n```\n"
        )
    return "\n".join([HEAD, *table, "", *sections])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
