"""The pages: links lead somewhere, commands are those of the program, and code blocks run.

The README's own network has a test of its own, tests/own/test_page.py; so have the lessons, and the
page on gradient checks.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import minicnn
from minicnn import models
from minicnn.cli import parser
from minicnn.testing import GradientError
from tests.arrays import trains

ROOT = Path(minicnn.__file__).parents[1]
PAGES = [
    page for folder in ("", "minicnn", "reference", "reference/bench", "examples", "tests/parity")
    for page in sorted((ROOT / folder).glob("*.md"))
] + [ROOT / "minicnn/testing/README.md", ROOT / "examples/bug_zoo/README.md"]  # fmt: skip
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[str]:
    """Return the lines that a page shows as commands, without what only the shell does."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    shown = re.findall(r"^(?:    |\$ )((?:pip|minicnn|python -m) .*)$", text, re.MULTILINE)
    shown += re.findall(r"`((?:minicnn|python -m) [^`]*)`", text)
    return [part.strip() for line in shown for part in re.sub(r" +#.*", "", line).split("&&")]


def subcommands() -> set[str]:
    (choices,) = [action.choices for action in parser()._actions if action.dest == "command"]
    return set(choices)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_read_in_some_minutes() -> None:
    assert len(README.split()) <= 1000


def test_its_picture_is_small() -> None:
    (picture,) = re.findall(r"!\[.+\]\((.+?)\)", README)
    assert 10_000 < (ROOT / picture).stat().st_size < 200_000


@pages
def test_links_lead_to_files_and_headings(page: Path) -> None:
    missing = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        if file.startswith(("http:", "https:")):
            continue
        target = (page.parent / file.replace("\\", "")).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


@pages
def test_commands_are_those_of_the_program(page: Path) -> None:
    for command in commands(page):
        words = shlex.split(command)
        if words[0] == "minicnn" and len(words) == 2:  # a name in a sentence
            assert words[1] in subcommands() or words[1].startswith("--"), command
        elif words[0] == "minicnn" and words[-1] != "--help" and "..." not in words:
            args = ["1" if word in ("S", "N") else word for word in words[1:]]
            parser().parse_args(args)  # exits where there is no such option
        elif words[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(words[2]), command


def test_every_part_of_the_readme_before_is_on_one_of_its_pages() -> None:
    """The pages that the README links to are those on which its tables and long parts went."""
    for page in ("minicnn", "reference", "reference/bench", "minicnn/testing", "minicnn/ops"):
        assert f"({page}/README.md" in README


def test_the_five_lines_of_the_readme_name_the_mistake() -> None:
    (code,) = [block for block in blocks(ROOT / "README.md") if "gradcheck" in block][:1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    with pytest.raises(GradientError) as caught:
        exec(compile(code, "README.md", "exec"), {})
    said = README[README.index(code) + len(code) :].split("```")[2].strip().split("...")[0]
    assert said.rstrip().removesuffix(" or") in str(caught.value)


@trains
@pytest.mark.slow
def test_the_code_of_the_library_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"images": np.zeros((1, 3, 64, 64), np.float32)}
    weights = models.resnet18(rng=np.random.default_rng(0)).state_dict()
    save_file(weights, "resnet18.safetensors")
    shown = {}
    for number, code in enumerate(blocks(ROOT / "minicnn" / "README.md")):
        exec(compile(code, f"minicnn/README.md, block {number}", "exec"), names)
        shown[number] = capsys.readouterr().out
    assert shown[0].strip()
    assert float(shown[0]) < 0.001
    assert names["logits"].shape == (64, 10)
    assert sorted(path.name for path in Path("runs").glob("*.png")) == [
        "forward_pass.png", "grad_cam.png",
    ]  # fmt: skip


def test_the_kernels_are_read_in_the_order_in_which_they_use_each_other() -> None:
    folder = ROOT / "minicnn/kernels"
    table = re.findall(
        r"^\| \[(\w+)\.py\]", (folder / "README.md").read_text(encoding="utf-8"), re.M
    )
    assert {*table} == {path.stem for path in folder.glob("*.py")} - {"__init__"}
    for place, name in enumerate(table):
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        used = {*re.findall(r"^from minicnn\.kernels\.(\w+) import", text, re.M)}
        for names in re.findall(r"^from minicnn\.kernels import (.+)$", text, re.M):
            used |= {word.split()[0] for word in names.strip("()").split(",")}
        assert used <= {*table[:place]}, name
