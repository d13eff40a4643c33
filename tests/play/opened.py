"""The page, opened in a browser: what it asks for and what it complains about is written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self


class Opened:
    """One page; at the end it must have had no error, and made no request but for its file."""

    def __init__(
        self, browser: Any, file: Path, width: int = 1440, height: int = 900, scheme: str = "light"
    ) -> None:
        self.file = file
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._listen)

    def _listen(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def __enter__(self) -> Self:
        self.page.goto(self.file.as_uri())
        self.page.wait_for_selector("html[data-ready]")
        if self.page.is_visible("#hints"):
            self.click("#hints-close")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.page.close()
        if kind is None:
            assert self.errors == []
            asked = [url for url in self.requests if not url.startswith(("data:", "blob:"))]
            assert asked == [self.file.as_uri()]

    def evaluate(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.text_content().strip()

    def click(self, selector: str) -> None:
        self.page.locator(selector).first.click()

    def settle(self) -> None:
        """Wait until the network has run and everything is painted."""
        self.page.evaluate(
            "(async () => { do { await new Promise(requestAnimationFrame); "
            "await new Promise(r => setTimeout(r, 5)); } while (minicnn.state.running || "
            "minicnn.state.waiting || document.querySelector('[aria-busy]')); })()"
        )
