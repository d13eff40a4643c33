"""What the tests of the page share: a browser, and node beside it."""

from __future__ import annotations

import pytest

from tests.play import browser as browsers


@pytest.fixture(scope="session")
def chromium():
    with browsers.running_chromium() as browser:
        yield browser
