"""The README's own network is 25 lines, and does all that the README says."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import minicnn
from minicnn import data
from minicnn.cli import main
from tests.arrays import trains
from tests.export.runtime import session_of

PAGE = (Path(minicnn.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
(PROGRAM,) = re.findall(r"```python\n(# net\.py\n.*?)```", PAGE, re.DOTALL)
PART = PAGE[PAGE.index("## Your own network") :].split("\n## ")[0]
COMMANDS = re.findall(r"^    (minicnn .*?)(?:  +#.*)?$", PART, re.MULTILINE)


def test_it_is_25_lines() -> None:
    lines = [line for line in PROGRAM.splitlines()[1:] if line.strip()]
    assert len(lines) <= 25


@pytest.mark.slow
@trains
def test_the_program_and_the_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(PROGRAM, encoding="utf-8")
    test = data.load("digits").test
    Image.fromarray(test.images[0, ..., 0]).save("photo.png")
    runpy.run_path("net.py", run_name="__main__")
    shown = capsys.readouterr().out
    assert "epoch   5/5" in shown
    assert re.search(r"\[\[[\d. ]+\]\]$", shown.strip())
    assert [shlex.split(command)[1] for command in COMMANDS] == [
        "gradcheck", "train", "evaluate", "predict", "summary", "export",
    ]  # fmt: skip
    for command in COMMANDS:
        assert main(shlex.split(command)[1:]) == 0, command
    out = capsys.readouterr().out
    assert "net.py:Net on the test split of digits" in out
    assert re.search(r"Scale +8 x 24 x 24 +8", out)
    predicted = out[out.index("photo.png") :].split()[1]
    pixels = test.images[:1, None, :, :, 0].astype(np.float32)
    (scores,) = session_of(onnx.load("net.onnx")).run(None, {"pixels": pixels})
    assert str(scores.argmax()) == predicted
