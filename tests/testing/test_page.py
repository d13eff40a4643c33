"""The page "Checking gradients" says nothing that does not run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from minicnn import cli, testing

PAGE = (Path(testing.__file__).parent / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SESSION = re.search(r"```\n\$ (minicnn gradcheck .*?)\n(.*?)```", PAGE, re.DOTALL)
SCALE = next(block for block in CODE if "class Scale" in block)
SLIP = "(dy * x).sum(axis=(2, 3))[0]"


@pytest.mark.slow
def test_the_code_of_the_page_runs_and_its_tests_pass() -> None:
    assert len(CODE) == 5
    for block in CODE:  # each stands alone
        names: dict = {"__name__": "page"}
        exec(compile(block, "README.md", "exec"), names)
        if "def test_" not in block:
            continue  # gradcheck raises where something is wrong
        (test,) = [value for name, value in names.items() if name.startswith("test_")]
        test()


def test_the_wrong_layer_of_the_page_gives_the_output_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert SESSION
    assert SLIP in PAGE
    wrong = SCALE.replace("(dy * x).sum(axis=(0, 2, 3))", SLIP)
    assert wrong != SCALE
    (tmp_path / "test_scale.py").write_text(wrong, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    command, shown = SESSION.groups()
    assert cli.main(shlex.split(command)[1:]) == 1
    assert _rounded(capsys.readouterr().out) == _rounded(shown)


def _rounded(text: str) -> str:
    """Errors of 1e-12 and below are noise, and differ between machines."""
    return re.sub(r"\s+", " ", re.sub(r"\d\.\de-1\d", "tiny", text.replace("0.0e+00", "tiny")))


def test_checking_the_layer_takes_ten_lines_at_most() -> None:
    (layer,) = re.findall(r"class Scale.*?(?=@check_layer)", SCALE, re.DOTALL)
    rest = SCALE.replace(layer, "")
    assert len([line for line in rest.splitlines() if line.strip()]) <= 10
