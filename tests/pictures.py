"""Fixtures that leave out the pictures of a run, which take longer than the run of a test.

A folder takes them by an import in its conftest.
"""

from __future__ import annotations

import pytest


@pytest.fixture
def pictures() -> None:
    """Ask for the pictures to be drawn, which most tests can do without."""


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pictures" not in request.fixturenames:
        for name in ("curves", "confusion", "filters"):
            monkeypatch.setattr(f"minicnn.viz.{name}", lambda *_, **__: None)
        monkeypatch.setattr("minicnn.viz.save", lambda figure, path: path)
