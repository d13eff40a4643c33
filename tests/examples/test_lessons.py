"""Every lesson runs as a reader runs it, leaves its pictures, and has the form of the others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numba
import pytest

from tests.arrays import compiled
from tests.examples.lessons import (
    EXAMPLES,
    LESSONS,
    PATIENCE,
    bare,
    form_faults,
    picture_faults,
    run,
    takes,
)

pytest.importorskip("jupytext", reason='notebooks need pip install -e ".[notebooks]"')
pytest.importorskip("nbclient", reason='notebooks need pip install -e ".[notebooks]"')

from examples import notebooks  # after what it needs
from examples.notebooks.__main__ import main

INDEX = EXAMPLES / "README.md"
AS_SCRIPT = EXAMPLES / "04_cross_entropy.py"
PROCESSES = EXAMPLES / "13_beyond_one_machine.py"  # .ci/run has it: five processes import PyTorch

each = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
unchecked = pytest.mark.skipif(
    numba.config.BOUNDSCHECK, reason="lessons measure times, which checked indices change"
)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Start the kernel that the lessons of this process share."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager()
    manager.start_kernel(
        env=bare(tmp_path_factory.mktemp("kernel")),
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        stderr=subprocess.DEVNULL,
    )
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "lesson",
    [one for one in LESSONS if one not in (AS_SCRIPT, PROCESSES)],
    ids=lambda one: one.stem,
)
@compiled
@unchecked
def test_a_lesson_runs_as_a_notebook_and_shows_its_pictures(
    lesson: Path, tmp_path: Path, kernel: object
) -> None:
    notebook = notebooks.execute(notebooks.make(lesson), tmp_path, kernel=kernel)
    assert picture_faults(lesson, tmp_path) == []
    left = [path for path in (tmp_path / "runs" / lesson.stem).iterdir() if path.is_file()]
    assert notebooks.pictures(notebook) == len(left) > 0
    assert notebooks.failed_claims(notebook) == []


@pytest.mark.slow
@compiled
@unchecked
def test_a_lesson_runs_as_a_script_and_leaves_its_pictures(tmp_path: Path) -> None:
    done = run(AS_SCRIPT, tmp_path)
    if done.returncode:
        pytest.fail(f"it ended with {done.returncode}:\n{done.stdout}", pytrace=False)
    assert picture_faults(AS_SCRIPT, tmp_path) == []


@each
def test_a_notebook_holds_the_helper_and_formulas_and_is_the_same_each_time(lesson: Path) -> None:
    import nbformat

    notebook = notebooks.make(lesson)
    nbformat.validate(notebook)
    first = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    helper = (EXAMPLES / "course.py").read_text(encoding="utf-8")
    assert first.startswith("%%writefile course.py\n")
    assert helper.strip() in first
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert not any(line.startswith("#  ") for text in texts for line in text.splitlines())
    assert notebook == notebooks.make(lesson)


def test_notebooks_are_written_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "1", "12"]) == 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["01_a_convolution_by_hand.ipynb", "12_how_fast_and_why.ipynb"]
    assert capsys.readouterr().out.count(".ipynb") == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["99"], "LESSON must be a number from 1 to 13, got ['99']"),
        (["one"], "LESSON must be a number from 1 to 13, got ['one']"),
        (["--quick"], "--quick shortens the run: give it together with --run."),
    ],
)
def test_notebooks_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), *arguments])
    assert text in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


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
        [sys.executable, "-c", hide, str(PROCESSES)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), str(EXAMPLES)])},
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
PARSE = "course.arguments(parser)\n"
CLAIM = "course.claim('it is so', True)\n"
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
        (
            "import course\nprint('so far')\ncourse.claim('one is more', 1 > 2, 'one')",
            "so far.*This run does not show that one is more; it gave one",
        ),
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
    assert (done.returncode, done.stdout) == (124, f"so far\n\nno end after {PATIENCE} s")


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
        ("assert True", "it asserts: what it states is a course.claim"),
        (
            "viz.save(figure, path)",
            "it saves a picture that a notebook does not show: course.show does both",
        ),
        ("# %% [markdown]\n# half of $x", "line 15 has half a formula: a $ without another"),
        ("y = 1\ndef f():\n    return y\n# %%\ny = 2", "f reads y, which a later cell rebinds"),
    ],
)
def test_faults_of_form_are_named(lesson, code: str, fault: str) -> None:
    good = f"{PARSE}{CLAIM}from minicnn import ops, viz\nself._mine\n{SAID}# %%\n"
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
    assert form_faults(lesson(f"{PARSE}{CLAIM}{SAID}", form)) == [fault]
    assert form_faults(lesson(PARSE)) == ["it says nothing after its head", "it claims nothing"]


@pytest.mark.parametrize(
    "parse", ["", "parser.parse_args()\n", PARSE + "parser.parse_args([])\n", PARSE + PARSE]
)
def test_arguments_that_a_notebook_has_not_are_named(lesson, parse: str) -> None:
    fault = "it does not take its arguments once, by course.arguments(parser)"
    assert form_faults(lesson(f"{parse}{CLAIM}{SAID}")) == [fault]


def test_a_function_may_read_what_is_bound_once_or_is_its_own(lesson) -> None:
    code = "y, z = 1, [y for y in 'ab']\ndef f(x):\n    y = x\n    return y, z\n# %%\ny, x = 2, 3"
    assert form_faults(lesson(f"{PARSE}{CLAIM}{SAID}# %%\n{code}")) == []
