"""The bug zoo: the sound version passes, the broken one is caught, and its cause is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.bug_zoo import ANIMALS
from examples.bug_zoo.animal import catch

pytestmark = pytest.mark.slow
every_animal = pytest.mark.parametrize("name", ANIMALS)
ROOT = Path(__file__).parents[2]


@every_animal
def test_the_sound_one_passes(name: str) -> None:
    assert catch(ANIMALS[name], examples=20, broken=False) is None


@every_animal
def test_the_broken_one_is_caught_by_a_small_example_and_its_cause_is_named(name: str) -> None:
    found = catch(ANIMALS[name], examples=200)
    assert found is not None
    for array in found.arrays:
        if array is not None and array.ndim == 4:
            assert max(array.shape[2:]) <= 4
    cause, said = ANIMALS[name].cause, found.report.causes[:1]
    if cause is None:
        assert not said
    else:
        assert said, "no cause is named"
        assert cause in said[0]


def test_a_cause_is_named_of_nearly_all() -> None:
    named = [animal.cause is not None for animal in ANIMALS.values()]
    assert sum(named) >= 0.95 * len(named)


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
