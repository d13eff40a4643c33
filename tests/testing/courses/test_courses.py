"""The checker is right about layers written in the conventions of courses, without a wrapper."""

from __future__ import annotations

import re

import pytest

from minicnn.testing import gradcheck
from tests.testing.courses import functional, objects
from tests.testing.courses.case import Case

CASES = functional.CASES + objects.CASES


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_verdict_and_the_cause(case: Case) -> None:
    report = gradcheck(case.thing, *case.arrays, raises=False, **case.how)
    assert report.checked, str(report)
    assert report.compared, str(report)
    assert report.ok == case.right, str(report)
    assert not any("Not checked" in note for note in report.notes), str(report)
    for fault in report.faults:
        if fault.cause and case.cause:
            assert re.search(case.cause, fault.cause), str(report)
    if case.cause:
        assert any(fault.cause for fault in report.faults), str(report)


def test_there_are_forty_half_of_them_wrong_and_hardly_any_needs_a_line_of_its_own() -> None:
    assert len(CASES) >= 40
    assert abs(2 * sum(case.right for case in CASES) - len(CASES)) <= 5
    assert sum(case.adapter == 0 for case in CASES) >= 0.9 * len(CASES)
