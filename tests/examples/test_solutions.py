"""Every exercise has a solution, and every solution runs."""

from __future__ import annotations

import importlib.util
import inspect

import numba
import pytest

from examples import solutions
from examples.solutions.__main__ import main
from tests.arrays import compiled

NUMBERS = range(1, len(solutions.LESSONS) + 1)
EACH = [(number, exercise) for number in NUMBERS for exercise in solutions.exercises(number)]
WORDS = (13, 3)  # commands for a terminal
unchecked = pytest.mark.skipif(
    numba.config.BOUNDSCHECK, reason="lessons measure times, which checked indices change"
)


@pytest.mark.parametrize("number", NUMBERS)
def test_each_exercise_has_a_solution_with_an_answer(number: int) -> None:
    found = solutions.exercises(number)
    assert found.keys() == solutions.asked(number).keys()
    assert all(inspect.getdoc(solution) for solution in found.values())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "exercise"), [one for one in EACH if one != WORDS])
@compiled
@unchecked
def test_a_solution_runs(
    number: int, exercise: int, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    if number == 13 and importlib.util.find_spec("torch") is None:
        pytest.skip("lesson 13 needs PyTorch")
    monkeypatch.setenv("COURSE_STRICT", "1")
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path))
    solutions.exercises(number)[exercise]()


def test_a_solution_is_shown_when_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["8"]) == 0
    listed = capsys.readouterr().out
    assert "8.1  In the network of lesson 7" in listed
    assert "360 m" not in listed
    assert main(["8.1"]) == 0
    shown = capsys.readouterr().out
    assert "360 m weights" in shown
    assert "def exercise_1" in shown
    assert main([]) == 0
    assert "13  3 exercises  13_beyond_one_machine.py" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["99", "x", "8.9", "8.x"])
def test_what_there_is_not_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name])
    assert "lesson" in capsys.readouterr().err.lower()


def test_an_edit_must_fit_the_lesson() -> None:
    with pytest.raises(ValueError, match="lesson 1 has 'not there' 0 times, not once"):
        solutions.changed(1, {"not there": ""})
