"""Objects of the user's own code, named as ``MODULE:OBJECT`` or ``FILE.py:OBJECT``."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from minicnn.files import expanded

_files: dict[Path, tuple[str, ModuleType]] = {}  # the content of each file when it was loaded
_loading: list[Path] = []
_helpers: dict[Path, dict[str, ModuleType]] = {}  # by folder: the modules imported from it


def load(target: str, **names: Any) -> Any:
    """Return the object that ``target`` names. OBJECT may be an expression.

    The expression may use ``names`` and ``np``. Raises ValueError; its text says what is missing
    or wrong.
    """
    where, expression = split(target)
    module = load_file(Path(where)) if where.endswith(".py") else _module(where)
    if expression not in vars(module) and expression.isidentifier():
        # A module of a package becomes an attribute only when it is imported.
        spec = f"{where}.{expression}"
        if "__path__" in vars(module) and importlib.util.find_spec(spec) is not None:
            return importlib.import_module(spec)
    return evaluate(target, module, **names)


def split(target: str) -> tuple[str, str]:
    """Split ``where:object`` into two. Raises ValueError if it has another form."""
    where, _, expression = target.partition(":")
    if len(where) == 1 and expression[:1] in ("\\", "/"):  # the drive letter of a Windows path
        drive, (where, _, expression) = where, expression.partition(":")
        where = f"{drive}:{where}"
    if not where or not expression:
        raise ValueError(
            f"{target!r} is not MODULE:OBJECT, such as minicnn.ops:relu, mylayers.py:Scale(3) or "
            '"minicnn.nn:Conv2d(3, 4, 3, rng=rng)".'
        )
    return where, expression


def evaluate(target: str, module: ModuleType, **names: Any) -> Any:
    """Evaluate the object of ``target`` as an expression within ``module``."""
    import numpy as np

    where, expression = split(target)
    try:
        return eval(expression, {"np": np, **names, **vars(module)})  # the user's own code
    except NameError as error:
        public = [n for n in vars(module) if not n.startswith("_")]
        near = difflib.get_close_matches(str(error.name), public) or public[:12]
        raise ValueError(
            f"{where} has no {error.name}. Did you mean {', '.join(near) or 'another file'}?"
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{target}: {said(error)}.") from error


def load_file(path: Path) -> ModuleType:
    """Load a file as a module. A file that has not changed is loaded only once.

    A file inside a package is imported as part of that package; its folder or its relative imports
    show this. Raises ValueError if the file is missing or raises an error.
    """
    path = expanded(path).absolute()
    now = digest(path)
    known = _files.get(path)
    if _root(path) == path.parent:
        _use_helpers_of(path.parent)
    if known and known[0] == now:
        return known[1]
    # A special name for a single file: inspect.py must not replace Python's module.
    root = _root(path)
    if root != path.parent:
        module = _of_package(path, root)
        _files[path] = now, module
        return module
    spec = importlib.util.spec_from_file_location(f"minicnn_own_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    _loading.append(path)
    try:
        # Compiled here: Python's cache of compiled files does not see two edits within a second.
        exec(compile(path.read_bytes(), path, "exec"), vars(module))
    except KeyboardInterrupt:
        del sys.modules[spec.name]
        raise
    except BaseException as error:
        del sys.modules[spec.name]
        shown = _root_shown_by(error, path)
        if shown is None:
            raise ValueError(f"{path}: {said(error, line=True)}") from error
        module = _of_package(path, shown)
    finally:
        _loading.pop()
    _files[path] = now, module
    return module


def _use_helpers_of(folder: Path) -> None:
    """Let ``import lay`` find the file in ``folder``, even if another folder has a ``lay`` too.

    Modules that imported the other file keep it. Only the name in sys.modules changes, until the
    other folder is used again.
    """
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    others = {path.parent for path in _files} | ({Path(main).absolute().parent} if main else set())
    others.discard(folder)
    try:
        names = {p.stem for p in folder.glob("*.py")}
        names |= {p.parent.name for p in folder.glob("*/__init__.py")}
    except OSError:
        return
    for name in names & sys.modules.keys():
        place = _folder_of(sys.modules[name])
        if place in others:
            inside = [n for n in sys.modules if n == name or n.startswith(f"{name}.")]
            _helpers.setdefault(place, {}).update({n: sys.modules.pop(n) for n in inside})
            importlib.invalidate_caches()
    for name, module in _helpers.get(folder, {}).items():
        sys.modules.setdefault(name, module)
    if str(folder) in sys.path:  # first, before the folders of other files
        sys.path.remove(str(folder))
        sys.path.insert(0, str(folder))


def _folder_of(module: ModuleType) -> Path | None:
    """Return the folder that a module was imported from."""
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    path = Path(file).absolute()
    return path.parent.parent if path.name == "__init__.py" else path.parent


def _root(path: Path) -> Path:
    """Return the folder that a file is imported from: the first one above that is not a package."""
    root = path.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    return root


def _root_shown_by(error: BaseException, path: Path) -> Path | None:
    """Return the folder to import from after ``from .x`` or ``from common.x`` has failed.

    A folder needs no ``__init__.py`` to be a package.
    """
    if not isinstance(error, ImportError):
        return None
    if "attempted relative import" in str(error):
        return path.parent.parent
    top = (error.name or "").partition(".")[0]
    return next((folder.parent for folder in path.parents if top and folder.name == top), None)


def _of_package(path: Path, root: Path) -> ModuleType:
    """Import a file as a module of its package; ``root`` is the folder that holds the package."""
    name = ".".join([*path.parent.relative_to(root).parts, path.stem])
    top = name.partition(".")[0]
    known = getattr(sys.modules.get(top), "__path__", None)
    if top in sys.modules and root / top not in [Path(place).absolute() for place in known or []]:
        raise ValueError(
            f"{path}: the package {top} cannot be imported from {root}, because another module of "
            "that name is in use. Rename the folder."
        )
    sys.modules.pop(name, None)  # the file may have changed
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{path}: {said(error, line=True)}") from error


def loading() -> Path | None:
    """Return the file that is being loaded at the moment, or None."""
    return _loading[-1] if _loading else None


def digest(path: Path) -> str:
    """Return "sha256:..." of a file. Raises ValueError where it cannot be read."""
    try:
        return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error


def _module(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current folder, as for python -m
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
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{name} cannot be imported: {said(error, line=True)}") from error


def said(error: BaseException, *, line: bool = False) -> str:
    """Return an error as text; with ``line``, also the file and the line that it comes from.

    The error may be of the user's own class, whose ``__str__`` may itself fail.
    """
    at = ""
    if line and not isinstance(error, SyntaxError):  # its text already says where
        frames = traceback.extract_tb(error.__traceback__)
        last = [f for f in frames if not f.filename.startswith("<frozen")][-1]  # not in exit()
        at = f" ({Path(last.filename).name}, line {last.lineno})"
    try:
        text = str(error)
    except Exception:
        text = "its message cannot be shown"
    return f"{type(error).__name__}: {text}{at}"
