"""Every lesson runs as a reader runs it, leaves its pictures, and has the form of the others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from tests.arrays import compiled
from tests.examples import lessons
from tests.examples.lessons import EXAMPLES, LESSONS, form_faults, picture_faults, run, takes

INDEX = EXAMPLES / "README.md"

each = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
unchecked = pytest.mark.skipif(
    numba.config.BOUNDSCHECK, reason="lessons measure times, which checked indices change"
)


@pytest.mark.slow
@each
@compiled
@unchecked
def test_a_lesson_runs_and_leaves_its_pictures(lesson: Path, tmp_path: Path) -> None:
    done = run(lesson, tmp_path)
    if done.returncode:
        pytest.fail(f"{lesson.name} ended with {done.returncode}:\n{done.stdout}", pytrace=False)
    assert picture_faults(lesson, tmp_path) == []


@each
def test_a_lesson_has_the_form_of_the_others(lesson: Path) -> None:
    assert form_faults(lesson) == []


def test_the_index_names_every_lesson_and_no_other() -> None:
    named = re.findall(r"\]\(([0-9]\w*\.py)\)", INDEX.read_text(encoding="utf-8"))
    assert len(LESSONS) > 0
    assert set(named) == {lesson.name for lesson in LESSONS}


def test_the_lesson_on_pytorch_says_so_where_there_is_none(tmp_path: Path) -> None:
    hide = "import sys, runpy; sys.modules['torch'] = None; runpy.run_path(sys.argv.pop(1))"
    done = subprocess.run(
        [sys.executable, "-c", hide, str(EXAMPLES / "13_beyond_one_machine.py")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == 'This lesson needs PyTorch. Use: pip install -e ".[reference]"\n'
    assert not any(tmp_path.iterdir())


# -------------------------------------------------------------------- that the tests can fail

FORM = """\
# %% [markdown]
# # A title
#
# Run it with `python examples/01_lesson.py` (a second).

# %%
"""
PARSE = f"parser.parse_args({lessons.ARGUMENTS})\n"
SAID = "# %% [markdown]\n# So it is.\n"


@pytest.fixture
def lesson(tmp_path: Path):
    """Return a function that writes a lesson of some code."""

    def write(code: str, form: str = FORM) -> Path:
        path = tmp_path / "01_lesson.py"
        path.write_text(form + code, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("print('so far')\nassert 1 > 2, 'one is not more'", "so far.*one is not more"),
        ("import warnings\nwarnings.warn('old', DeprecationWarning)", "DeprecationWarning: old"),
        ("import urllib.request\nurllib.request.urlopen('http://example.org')", "refused"),
        ("import os\nassert 'DISPLAY' in os.environ, 'no display'", "no display"),
        (
            "from minicnn import data\nimport pathlib\n"
            "assert any(data.data_root().iterdir()), 'no data'",
            "no data",
        ),
    ],
)
def test_a_lesson_that_fails_says_why(
    lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, output: str
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    (tmp_path / "no data").mkdir()
    done = run(lesson(code), tmp_path)
    assert done.returncode == 1
    assert re.search(output, done.stdout, re.DOTALL)


@pytest.mark.parametrize(
    ("code", "quick"), [('option = "--quick"\n', True), ("# --quick\n", False)]
)
def test_quick_is_asked_for_where_there_is_such_an_option(
    lesson, tmp_path: Path, code: str, quick: bool
) -> None:
    path = lesson(f"import sys\n{code}print(sys.argv[1:])")
    assert takes(path, "--quick") == quick
    assert run(path, tmp_path).stdout.strip() == ("['--quick']" if quick else "[]")


def test_a_lesson_that_does_not_end_shows_how_far_it_came(
    lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout, output=b"so far\n")

    monkeypatch.setattr(subprocess, "run", too_long)
    done = run(lesson("pass"), tmp_path)
    assert (done.returncode, done.stdout) == (124, f"so far\n\nno end after {lessons.PATIENCE} s")


PICTURE = """\
from pathlib import Path

from minicnn.viz import paper, save

figure = paper.empty(3, 2)
axes = figure.subplots()
axes.plot([1, 2])
folder = Path("runs/01_lesson")
"""
SAVE = 'save(figure, folder / "line.png")\n'


@pytest.mark.parametrize(
    ("code", "faults"),
    [
        (PICTURE + SAVE, []),
        ("", ["no picture was left under runs/01_lesson"]),
        (PICTURE + "axes.set_axis_off(); axes.lines[0].remove()\n" + SAVE,
         ["line.png is blank or cut off"]),
        (PICTURE + "figure.text(0.9, 0.5, 'too long a word')\n" + SAVE,
         ["line.png is blank or cut off"]),
        (PICTURE + SAVE + "# see two.png\n", ["the text names two.png, which is not left"]),
        (PICTURE + SAVE.replace('"line.png"', '"li" "ne.png".strip()') + "# see l*.png, ne.png\n",
         ["the text names ne.png, which is not left"]),
        (PICTURE + SAVE + "# see two.png\noption = '--quick'\n", []),
        (PICTURE + SAVE.replace('"line.png"', '"li" "ne.png"'),
         ["the text names ne.png, which is not left", "the text does not name line.png"]),
        (PICTURE + SAVE + 'Path("notes.txt").touch()\n', ["notes.txt is left beside runs"]),
    ],
    ids=["fit", "none", "blank", "cut off", "missing", "many", "quick", "unnamed", "beside"],
)  # fmt: skip
def test_faults_of_pictures_are_named(lesson, tmp_path: Path, code: str, faults) -> None:
    path = lesson(code)
    folder = tmp_path / "reader"
    folder.mkdir()
    assert run(path, folder).returncode == 0
    assert picture_faults(path, folder) == faults


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import minicnn.backend.hidden", "minicnn.backend.hidden is no public module"),
        ("from minicnn.ops.conv2d import direct", "minicnn.ops.conv2d is no public module"),
        ("from minicnn.ops import _conv", "minicnn.ops has no public _conv"),
        ("from minicnn.viz import empty", "minicnn.viz has no public empty"),
        ("model._layers", "it uses model._layers, which is private"),
        ("import matplotlib.pyplot", "it uses pyplot"),
        ("__file__", "it uses __file__, which a notebook has not"),
        ("x = 1\n" * 61, "a cell is longer than 60 lines: x = 1"),
        ("# %% [markdown]\nx = 1", "a markdown cell holds code: x = 1"),
    ],
)
def test_faults_of_form_are_named(lesson, code: str, fault: str) -> None:
    good = f"{PARSE}from minicnn import ops, viz\nassert self._mine\n{SAID}# %%\n"
    assert form_faults(lesson(good)) == []
    assert form_faults(lesson(good + code)) == [fault]


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ('"""A lesson."""\n' + FORM, "it does not begin with a markdown cell that has a title"),
        (FORM.replace("examples/", ""), "its head does not say how to run it"),
        (FORM.replace("a second", "soon"), "its head does not say how long it takes"),
    ],
)
def test_faults_of_the_head_are_named(lesson, form: str, fault: str) -> None:
    assert form_faults(lesson(f"{PARSE}assert True\n{SAID}", form)) == [fault]
    assert form_faults(lesson(PARSE)) == ["it says nothing after its head", "it asserts nothing"]


@pytest.mark.parametrize(
    "parse", ["", "parser.parse_args()\n", "parser.parse_args([])\n", PARSE + PARSE]
)
def test_arguments_that_a_notebook_has_not_are_named(lesson, parse: str) -> None:
    fault = f"it does not parse its arguments once, by parse_args({lessons.ARGUMENTS})"
    assert form_faults(lesson(f"{parse}assert True\n{SAID}")) == [fault]
