"""The helper of the lessons: claims that are told or fail, pictures as files, options."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn import nn, viz
from tests.examples.lessons import EXAMPLES

sys.path.insert(0, str(EXAMPLES))
import course  # lies beside the lessons, which find it as scripts do

sys.path.remove(str(EXAMPLES))


def test_a_claim_that_fails_is_told_and_the_lesson_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    assert course.claim("it learns", True, "24.5 %")
    assert capsys.readouterr().out == ""
    assert not course.claim("over 97 % are right", np.bool_(False), "24.5 %")
    assert not course.claim("it learns", False)
    assert capsys.readouterr().out == (
        "This run does not show that over 97 % are right; it gave 24.5 %.\n"
        "This run does not show that it learns.\n"
    )


def test_in_tests_a_claim_that_fails_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_STRICT", "1")
    with pytest.raises(AssertionError, match=r"does not show that it learns; it gave 24\.5 %\."):
        course.claim("it learns", False, "24.5 %")


def test_pictures_are_files_outside_of_a_notebook(tmp_path: Path) -> None:
    course.show(viz.lines({"a": [1, 2]}), tmp_path / "lines.png")
    course.show(viz.diagram(nn.Sequential(nn.ReLU()), (3,)), tmp_path / "net.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lines.png", "net.svg"]


def test_options_are_those_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    monkeypatch.setattr(sys, "argv", ["lesson", "--quick"])
    assert course.arguments(parser).quick
    monkeypatch.setattr(course, "in_notebook", lambda: True)
    monkeypatch.delenv("COURSE_QUICK", raising=False)
    assert not course.arguments(parser).quick
    monkeypatch.setenv("COURSE_QUICK", "1")
    assert course.arguments(parser).quick
