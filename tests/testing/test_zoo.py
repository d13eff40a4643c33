"""The bug zoo: the sound version passes, the broken one is caught, and its cause is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.bug_zoo import ANIMALS
from examples.bug_zoo.animal import Catch, catch

every_animal = pytest.mark.parametrize("name", ANIMALS)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def caught() -> dict[str, Catch | None]:
    return {name: catch(animal, examples=200) for name, animal in ANIMALS.items()}


@every_animal
def test_the_broken_one_is_caught(name: str, caught: dict[str, Catch | None]) -> None:
    assert caught[name] is not None


@every_animal
def test_the_counterexample_is_small(name: str, caught: dict[str, Catch | None]) -> None:
    found = caught[name]
    assert found is not None
    for array in found.arrays:
        if array is not None and array.ndim == 4:
            assert max(array.shape[2:]) <= 4


@every_animal
def test_the_sound_one_passes(name: str) -> None:
    assert catch(ANIMALS[name], examples=100, broken=False) is None


def test_the_causes_named_are_right(caught: dict[str, Catch | None]) -> None:
    named = 0
    for name, animal in ANIMALS.items():
        found = caught[name]
        assert found is not None
        said = found.report.causes[:1]
        if animal.cause is None:
            assert not said, f"{name}: {said}"
        else:
            assert said, f"{name}: no cause is named"
            assert animal.cause in said[0], f"{name}: {said[0]}"
            named += 1
    assert named >= 0.95 * len(ANIMALS)


@every_animal
def test_an_animal_says_why_one_falls_for_it(name: str) -> None:
    assert len(ANIMALS[name].why.split()) > 20


def test_the_tour_of_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.bug_zoo", "ties given to all"],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "NUMBA_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Likely cause: at ties the gradient is given to all equals" in done.stdout
    assert "1 animals, 0 not caught" in done.stdout
