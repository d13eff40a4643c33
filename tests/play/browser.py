"""A browser and node for the tests of the page, or the reason why they are missing."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minicnn.play.bundle import script

HERE = Path(__file__).parent
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]

Caller = Callable[[str, Any], Any]  # name of a function of a module, its argument -> its result


def chromium() -> str:
    """Return the path of Chromium; skip the test where there is none, or no Playwright."""
    pytest.importorskip("playwright", reason="Playwright is not installed: pip install .[browser]")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    return path


@contextmanager
def running_chromium() -> Iterator[Any]:
    """Yield a browser."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def in_node(module: Path) -> Caller:
    """Return what calls the functions that ``module`` exports, in node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")

    def call(name: str, argument: Any) -> Any:
        done = subprocess.run(
            [node, str(HERE / "node.mjs"), str(module), name],
            input=json.dumps(argument), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


def in_chromium(browser: Any, module: Path) -> Caller:
    """Return what calls the functions that ``module`` exports, in a browser, bundled."""
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    names = [
        line.split("(")[0].removeprefix("export function ")
        for line in module.read_text(encoding="utf-8").splitlines()
        if line.startswith("export function ")
    ]
    text = f"{script(module)}\nglobalThis.tested = {{ {', '.join(names)} }};"
    page.set_content(f'<!doctype html><script type="module">{text}</script>')

    def call(name: str, argument: Any) -> Any:
        result = page.evaluate("([name, argument]) => tested[name](argument)", [name, argument])
        assert not errors, errors
        return result

    return call
