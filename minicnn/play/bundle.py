"""One HTML file from the page's parts: styles and modules inlined, the content as JSON.

The modules are written into one module script, in the order of their imports, without the import
lines and the words ``export``. So they share one scope, and two modules must not use the same
top-level name for different things. Nothing else is changed: the page runs the code of ``page/``.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minicnn.files import write_whole

PAGE = Path(__file__).parent / "page"
STYLES = ("base.css", "network.css", "panels.css")
_IMPORT = re.compile(r'^import (?:\{[^}]*\} from )?"(\.[^"]+)";\n', re.MULTILINE)
_TOP = re.compile(r"^(?:async )?(?:function\*?|class|const|let) (\w+)", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const|let))", re.MULTILINE)


def page(content: Mapping[str, Any]) -> str:
    """Return the HTML file with ``content``, as ``minicnn.play.content`` gives it."""
    parts = {
        "title": html.escape(f"{content['model']} on {content['data']}"),
        "style": "\n".join((PAGE / name).read_text(encoding="utf-8") for name in STYLES),
        "content": _as_json(content),
        "script": script(PAGE / "main.js"),
    }
    template = (PAGE / "index.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def write(path: Path, text: str) -> None:
    """Write the page whole, or not at all. Raises OSError that names the file and the remedy."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as error:
        raise OSError(
            f"{path}: cannot be written ({error.strerror or error}). Make room, or choose another "
            "file with --out."
        ) from error


def script(main: Path) -> str:
    """Return ``main`` and all modules that it imports, each once, after those it needs."""
    done: dict[Path, str] = {}
    _collect(main.resolve(), done, [])
    owners: dict[str, str] = {}
    for path, text in done.items():
        for name in _TOP.findall(text):
            if name in owners:
                raise ImportError(f"{path.name} and {owners[name]} both have a {name}. Rename one.")
            owners[name] = path.name
    return "\n".join(done.values())


def _collect(path: Path, done: dict[Path, str], above: list[Path]) -> None:
    if path in above:
        raise ImportError(f"{path.name}: the modules import each other in a circle.")
    if path in done:
        return
    text = path.read_text(encoding="utf-8")
    for target in _IMPORT.findall(text):
        _collect((path.parent / target).resolve(), done, [*above, path])
    body = _EXPORT.sub("", _IMPORT.sub("", text))
    left = re.search(r"^(?:import|export)\b.*", body, re.MULTILINE)
    if left:
        raise ImportError(f"{path.name}: only named imports and exports are inlined, not {left[0]}")
    name = path.relative_to(PAGE.resolve()) if path.is_relative_to(PAGE.resolve()) else path.name
    done[path] = f"// ---- {name}\n\n{body.strip()}\n"


def _as_json(content: Mapping[str, Any]) -> str:
    """Return JSON that is safe inside a script element, with any content."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
