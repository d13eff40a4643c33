"""A fixed sample of the campaign."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.arrays import trains
from tests.faults import campaign
from tests.faults.outcomes import Count, Told, judge

pytestmark = [trains, pytest.mark.slow]


def times(number: int) -> Callable[[], bool]:
    """Return what is true so many times."""
    left = iter(range(number))
    return lambda: next(left, None) is not None


@pytest.mark.parametrize(
    ("part", "number", "more"),
    [
        (campaign.damaged_files, 100, {}),
        (campaign.failing_writes, 6, {"every": 5}),
        (campaign.kills, 1, {"each": 5}),
        (campaign.resumes_at_once, 1, {}),
    ],
    ids=["damaged files", "failing writes", "kills", "two resumes at once"],
)
def test_no_fault_is_silent(tmp_path: Path, part, number: int, more: dict) -> None:
    count = Count(tmp_path / "kept")
    part(count, tmp_path / "work", random.Random(0), times(number), **more)
    assert not count.bad, f"{count.table()}\n" + "\n".join(count.reports)
    assert count.of


@pytest.mark.parametrize(
    ("read", "checked", "outcome"),
    [
        (lambda: 1, True, "same"),
        (lambda: 2, True, "SILENT"),
        (lambda: 2, False, "unseen"),
        (lambda: [][0], True, "TRACEBACK"),
    ],
)
def test_the_campaign_itself_tells_good_from_bad(read, checked: bool, outcome: str) -> None:
    assert judge(read, 1, "file", checked)[0] == outcome


@pytest.mark.parametrize(("text", "outcome"), [("file: why", "told"), ("why", "TRACEBACK")])
def test_a_message_must_name_the_file(text: str, outcome: str) -> None:
    def read() -> None:
        raise Told(text)

    assert judge(read, 1, "file", True)[0] == outcome
