"""How a lesson is run as a reader runs it, and what is wrong with it: for the tests.

As a notebook, with claims that must hold, by a kernel that the lessons of one process share: each
begins without variables, and the imports, which take longer than some lessons, are done once.
"""

from __future__ import annotations

import ast
import fnmatch
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import minicnn

EXAMPLES = Path(__file__).parents[2] / "examples"
LESSONS = sorted(EXAMPLES.glob("[0-9]*.py"))
DEEPER = {"minicnn.viz.paper", "minicnn.testing.strategies"}  # public, though not of the first rank
FORMULA = re.compile(r"(?<!\\)\$")  # begins and ends mathematics
LINES = 60  # of a cell of code; more than a screen is no cell
PATIENCE = 600  # seconds; a quick lesson takes 15, and minutes on a busy machine that compiles


# --------------------------------------------------------------------------------------- running


def run(lesson: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a lesson as a script in ``folder``: quick where it can be, in a bare environment.

    Warnings are errors. What is printed, on stdout and stderr, is ``stdout`` of the result; the
    exit code of one that does not end in time is 124.
    """
    quick = ["--quick"] if takes(lesson, "--quick") else []
    command = [sys.executable, "-W", "error", str(lesson), *quick]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**bare(folder), **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        so_far = error.stdout or b""
        text = so_far.decode(errors="replace") if isinstance(so_far, bytes) else so_far
        return subprocess.CompletedProcess(command, 124, f"{text}\nno end after {PATIENCE} s")


def bare(folder: Path) -> dict[str, str]:
    """Return an environment without display, network and data sets, in which claims must hold.

    Beside other processes of tests it computes on one thread.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND", "NO_PROXY", "no_proxy")
    }
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "ftp_proxy"), "http://127.0.0.1:9")
    home = str(Path(minicnn.__file__).parents[1])
    return {
        **inherited,
        **nowhere,
        **({"NUMBA_NUM_THREADS": "1"} if "PYTEST_XDIST_WORKER" in os.environ else {}),
        "MINICNN_DATA": str(folder / "no data"),
        "PYTHONPATH": os.pathsep.join(
            [home, str(Path(home) / "examples"), os.environ.get("PYTHONPATH", "")]
        ),
        "COURSE_STRICT": "1",
        "COURSE_QUICK": "1",
    }


def takes(lesson: Path, option: str) -> bool:
    """Return whether the lesson has the option: whether it names it as a string of its own."""
    nodes = ast.walk(ast.parse(lesson.read_text(encoding="utf-8")))
    return any(isinstance(node, ast.Constant) and node.value == option for node in nodes)


def picture_faults(lesson: Path, folder: Path) -> list[str]:
    """Return what is wrong with the pictures that a lesson has left under ``folder``/runs.

    The text tells of all of them, of several by a name with *; a quick run may leave some out.
    """
    place = folder / "runs" / lesson.stem
    pictures = sorted([*place.glob("*.png"), *place.glob("*.svg")])
    faults = [] if pictures else [f"no picture was left under {place.relative_to(folder)}"]
    faults += [f"{name} is blank or cut off" for name in map(_unfit, pictures) if name]
    text = lesson.read_text(encoding="utf-8")
    named, left = set(re.findall(r"[\w*-]+\.(?:png|svg)", text)), [path.name for path in pictures]
    if not takes(lesson, "--quick"):
        missing = (name for name in sorted(named) if not fnmatch.filter(left, name))
        faults += [f"the text names {name}, which is not left" for name in missing]
    faults += [
        f"the text does not name {name}"
        for name in left
        if not any(fnmatch.fnmatch(name, pattern) for pattern in named)
    ]
    usual = "runs", "no data", "__pycache__", "course.py"
    others = [p for p in folder.iterdir() if p.name not in usual]
    return faults + [f"{path.name} is left beside runs" for path in others]


def _unfit(path: Path) -> str:
    """Return the name of a picture that shows nothing, or whose ink reaches its edge."""
    if path.suffix == ".svg":
        return "" if "<rect" in path.read_text(encoding="utf-8") else path.name
    pixels = np.asarray(Image.open(path).convert("L")).astype(int)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ink = (np.abs(pixels - edge[0]) > 16).mean()
    return path.name if ink < 0.005 or np.ptp(edge) > 16 else ""


# ------------------------------------------------------------------------------------------ form


def form_faults(lesson: Path) -> list[str]:
    """Return in what a lesson has not the form that the others have."""
    text = lesson.read_text(encoding="utf-8")
    faults = []
    kinds, cells = _cells(text)
    if not kinds or not text.startswith("# %% [markdown]\n# # "):
        faults.append("it does not begin with a markdown cell that has a title")
        return faults
    if f"python examples/{lesson.name}" not in cells[0]:
        faults.append("its head does not say how to run it")
    if not re.search(r"\b(second|minute)s?\b", cells[0]):
        faults.append("its head does not say how long it takes")
    for kind, cell in zip(kinds, cells, strict=True):
        lines = cell.strip().splitlines()
        if kind == "markdown" and not all(line.startswith("#") for line in lines):
            faults.append(f"a markdown cell holds code: {lines[0]}")
        if len(lines) > LINES:
            faults.append(f"a cell is longer than {LINES} lines: {lines[0]}")
    if "markdown" not in kinds[1:]:
        faults.append("it says nothing after its head")
    if "pyplot" in text:
        faults.append("it uses pyplot")
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") and len(FORMULA.findall(line)) % 2:
            faults.append(f"line {number} has half a formula: a $ without another")
    tree = ast.parse(text)
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if "course.claim" not in calls:
        faults.append("it claims nothing")
    if any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        faults.append("it asserts: what it states is a course.claim")
    if calls.count("course.arguments") != 1 or any(c.endswith("parse_args") for c in calls):
        faults.append("it does not take its arguments once, by course.arguments(parser)")
    if "viz.save" in calls:
        faults.append("it saves a picture that a notebook does not show: course.show does both")
    if any(isinstance(node, ast.Name) and node.id == "__file__" for node in ast.walk(tree)):
        faults.append("it uses __file__, which a notebook has not")
    faults += _rebound(kinds, cells)
    return faults + [fault for node in ast.walk(tree) for fault in _private(node)]


def _cells(text: str) -> tuple[list[str], list[str]]:
    """Return the kind of each cell, "code" or "markdown", and its text."""
    parts = re.split(r"^# %%(.*)\n", text, flags=re.MULTILINE)
    kinds = ["markdown" if "[markdown]" in head else "code" for head in parts[1::2]]
    return kinds, parts[2::2]


def _rebound(kinds: list[str], cells: list[str]) -> list[str]:
    """Return the functions that read a variable which a later cell gives another value.

    A reader who calls such a function in an exercise, at the end, gets something else.
    """
    codes = [cell for kind, cell in zip(kinds, cells, strict=True) if kind == "code"]
    trees = [ast.parse(code) for code in codes]
    faults = []
    for at, tree in enumerate(trees):
        assigned = _assigned(tree)
        known = set().union(*map(_assigned, trees[:at]), assigned)
        later = set().union(*map(_assigned, trees[at + 1 :]))
        for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            own = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
            names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
            own |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
            read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
            changed = sorted((read - own) & known & later)
            faults += [f"{function.name} reads {x}, which a later cell rebinds" for x in changed]
    return faults


def _assigned(tree: ast.Module) -> set[str]:
    """Return the variables that a cell assigns, outside functions and comprehensions."""
    found, todo = set(), list(tree.body)
    inner = ast.FunctionDef | ast.ClassDef | ast.Lambda
    while todo:
        node = todo.pop()
        if isinstance(node, inner | ast.ListComp | ast.DictComp | ast.SetComp | ast.GeneratorExp):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        todo += ast.iter_child_nodes(node)
    return found


def _private(node: ast.AST) -> list[str]:
    """Return what a node of the syntax tree takes that is not public."""
    if isinstance(node, ast.Import):
        return [f for alias in node.names for f in _private_module(alias.name)]
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        faults = _private_module(module)
        if not faults and module.partition(".")[0] == "minicnn":
            public = _public(module)
            faults = [
                f"{module} has no public {alias.name}"
                for alias in node.names
                if alias.name not in public
            ]
        return faults
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        dunder = node.attr.endswith("__")
        return [] if own or dunder else [f"it uses {ast.unparse(node)}, which is private"]
    return []


def _private_module(name: str) -> list[str]:
    parts = name.split(".")
    if parts[0] != "minicnn":
        return []
    hidden = any(part.startswith("_") for part in parts)
    deep = len(parts) > 2 and name not in DEEPER
    return [f"{name} is no public module"] if hidden or deep else []


def _public(name: str) -> set[str]:
    """Return the public names of a module: its __all__, or all of its own, and its modules."""
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None)
    if names is None:
        names = [key for key in vars(module) if not key.startswith("_")]
    inner = pkgutil.iter_modules(getattr(module, "__path__", []))
    return {*names, *(entry.name for entry in inner if not entry.name.startswith("_"))}
