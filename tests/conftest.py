"""What holds for every test: how many examples, which oracle, and annotations that are enforced.

HYPOTHESIS_PROFILE chooses ``dev`` (few examples, other ones each time), ``ci`` (the same ones each
time; the default where CI is set), ``brief`` (few, for slow ways to run) or ``thorough``.
"""

from __future__ import annotations

import os

from hypothesis import settings

from tests import annotations, oracle

# No deadlines: the first call of a kernel compiles it.
settings.register_profile("dev", max_examples=25, deadline=None)
settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("brief", max_examples=10, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=1000, deadline=None)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
settings.load_profile(PROFILE)


def pytest_configure() -> None:
    oracle.prepare()
    annotations.enforce()


def pytest_report_header() -> list[str]:
    return [f"oracle: {oracle.description()}", f"hypothesis examples: {PROFILE}"]
