"""Find what ``MODULE:OBJECT`` or ``FILE.py:OBJECT`` names, also in a file inside a package."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


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
    except (Exception, SystemExit) as error:
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
    """Return a file as a module; one inside a package is imported as that package's."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file.")
    path = path.resolve()
    root = path.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    try:
        if root != path.parent:
            return _of_package(path, root)
        return _alone(path)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{_shown(path)}: {_said(error)}") from error


def _shown(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _alone(path: Path) -> ModuleType:
    """Run a file that lies in no package that says so; its imports may show one all the same."""
    # A name of its own: a file inspect.py must not take the place of Python's.
    spec = importlib.util.spec_from_file_location(f"minicnn_gradcheck_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    _first_on_path(path.parent)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        del sys.modules[spec.name]
        root = _root_of(path, error)
        if root is None:
            raise
        return _of_package(path, root)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _root_of(path: Path, error: ImportError) -> Path | None:
    """Return the folder to import from: ``from .x`` or ``from common.x`` in common/layers.py."""
    if "attempted relative import" in str(error):
        return path.parent.parent
    top = (error.name or "").partition(".")[0]
    return next((p.parent for p in path.parents if top and p.name == top), None)


def _of_package(path: Path, root: Path) -> ModuleType:
    name = ".".join([*path.parent.relative_to(root).parts, path.stem])
    top = name.partition(".")[0]
    known = sys.modules.get(top)
    places = [Path(p).resolve() for p in getattr(known, "__path__", [])]
    if known is not None and (root / top).resolve() not in places:
        raise ImportError(
            f"the package {top} cannot be imported from {root}, because another module of that "
            "name is in use. Rename the folder."
        )
    _first_on_path(root)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _first_on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _said(error: BaseException) -> str:
    """Return an error as text, with the line of the file it comes from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    at = f" ({Path(last.filename).name}, line {last.lineno})"
    if isinstance(error, SyntaxError):
        at = ""  # its text says so
    return f"{type(error).__name__}: {error}{at}"
