"""``minicnn gradcheck``."""

from __future__ import annotations

from pathlib import Path

import pytest

from minicnn import cli
from tests.pytorch import torch

LAYERS = """
import numpy as np
from minicnn import nn

class Scale(nn.Module):
    def __init__(self, channels):
        self.weight = nn.Param(np.ones((channels, 1, 1), np.float32))
    def forward(self, x, *, training):
        return x * self.weight.data, x
    def backward(self, dy, x, *, input_grad=True):
        self.weight.add_grad((dy * x).sum(axis=(0, 2, 3))[:, None, None])
        return dy * self.weight.data

class OnlyInference(nn.Module):
    def forward(self, x, *, training):
        return 2 * x, training
    def backward(self, dy, training, *, input_grad=True):
        return (3 if training else 2) * dy

def double(x):
    return 2 * x, None

def half(dy, cache):
    return dy / 2

wrong = double, half
"""


@pytest.fixture(autouse=True)
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_layers.py").write_text(LAYERS, encoding="utf-8")
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n", encoding="utf-8")
    (tmp_path / "syntax.py").write_text("def f(:\n", encoding="utf-8")
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(3)\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    if "--torch" in args:
        _ = torch.nn  # skips where there is none
    code = cli.main(["gradcheck", *args])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


RIGHT = [
    ("some_layers.py:Scale(3)", "--input", "2,3,4,4"),
    ("some_layers:Scale(3)", "--input", "2,3,4,4"),
    ("some_layers.py:OnlyInference()", "--input", "5", "--inference"),
    ("minicnn.nn:Conv2d(3, 4, 3, rng=rng)", "--input", "2,3,6,5",
     "--torch", "torch.nn:Conv2d(3, 4, 3)"),
    ("minicnn.nn:BatchNorm2d(3)", "--input", "4,3,2,2"),
    ("minicnn.ops:relu",  "--examples", "5"),
    ("minicnn.ops:relu",  "--examples", "5", "--torch", "torch.nn.functional:relu"),
    ("minicnn.ops.relu:forward, backward", "--input", "3,4"),
    ("minicnn.ops:cross_entropy", "--input", "4,3", "--input", "4:3", "--option", "reduction=sum",
     "--torch", "torch.nn.functional:cross_entropy"),
    ("minicnn.ops:conv2d", "--input", "1,2,5,4", "--input", "3,2,3,2", "--input", "none",
     "--option", "stride=(2, 1)", "--option", "padding=valid" , "--seed", "3"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("args", RIGHT, ids=lambda args: " ".join(args))
def test_gradients_that_are_right(args, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, *args)
    assert code == 0, text
    assert "the gradients are right" in text


WRONG = [
    (("some_layers.py:wrong", "--input", "5"), "it is 0.25 times what it should be"),
    (("some_layers.py:OnlyInference()", "--input", "5"), "it is 1.5 times what it should be"),
    (("minicnn.ops:relu", "--input", "6", "--torch", "torch:sigmoid"), "y differs from that of"),
    (("minicnn.ops:tanh", "--torch", "torch:sigmoid"), "y differs from that of torch"),
]


@pytest.mark.parametrize(("args", "text"), WRONG, ids=lambda args: " ".join(args))
def test_gradients_that_are_wrong(args, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = run(capsys, *args)
    assert code == 1
    assert "WRONG" in output
    assert text in output


BAD = [
    (("some_layers.py",), "is not MODULE:OBJECT"),
    (("some_layers.py:Nothing", "--input", "3"), "has no Nothing. Did you mean"),
    (("some_layers.py:Scale", "--input", "3"), "Scale is a class; give an instance"),
    (("minicnn.ops:relu", "--input="), "give a shape"),
    (("minicnn.ops:relu", "--input", "2,,3"), "give a shape"),
    (("minicnn.ops:relu", "--seed", "-1"), "--seed must be at least 0"),
    (
        ("minicnn.ops:relu", "--input", "3", "--torch", "torch.nn.functional:sofplus"),
        "Did you mean softplus",
    ),
    (("minicnn.ops:relu", "--input", "3", "--torch", "torch.nn:ReLU()"), "equivalent of a layer"),
    (("minicnn.ops:relu", "--torch", "torch.nn:ReLU()"), "equivalent of a layer"),
    (
        ("minicnn.nn:Linear(4, 2, rng=rng)", "--input", "3,4", "--torch", "torch.nn:Linear(4, 3)"),
        "torch, the equivalent, raised RuntimeError",
    ),
    (("syntax.py:f", "--input", "3"), "syntax.py: SyntaxError"),
    (("syntax:f", "--input", "3"), "syntax cannot be imported: SyntaxError"),
    (("exits.py:f", "--input", "3"), "exits.py: SystemExit: 3 (exits.py, line 2)"),
    (("some_layers.py:Scale()", "--input", "3"), "missing 1 required positional argument"),
    (("some_layers.py:Scale(3)",), "needs --input"),
    (("missing.py:Scale(3)",), "there is no such file"),
    (("broken.py:Scale(3)",), "broken.py: ModuleNotFoundError"),
    (("broken:Scale(3)",), "broken cannot be imported: No module named 'nowhere_to_be_found'"),
    (("nowhere_to_be_found:Scale(3)",), "there is no module nowhere_to_be_found"),
    (("minicnn.ops:relu", "--input", "a"), "give a shape"),
    (("minicnn.ops:relu", "--input", "2,-1"), "give a shape"),
    (("minicnn.ops:relu", "--input", "2:0"), "give a shape"),
    (("minicnn.ops:relu", "--input", "2:x"), "give a shape"),
    (("minicnn.ops:relu", "--input", "2", "--option", "stride"), "write it as name=value"),
    (("minicnn.ops:relu", "--option", "stride=2"), "--option needs --input"),
    (("minicnn.ops:relu", "--examples", "0"), "--examples must be at least 1"),
]


@pytest.mark.parametrize(("args", "text"), BAD, ids=lambda args: " ".join(args))
def test_bad_input_is_told(args, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = run(capsys, *args)
    assert code == 2
    assert output.startswith("minicnn gradcheck: ")
    assert text in output
    assert "Traceback" not in output


NOT_CHECKED = [
    (("some_layers.py:double", "--input", "3"), "double has no backward and did not return (loss"),
    (("some_layers.py:Scale(2)", "--input", "2,3,4,4"), "(some_layers.py, line 9, in forward)"),
    (("minicnn.ops:relu", "--input", "0,3"), "nothing was compared"),
    (("minicnn.ops:conv2d", "--input", "2,3,4,4"), "it raised TypeError"),
    (("minicnn.ops:relu", "--input", "3", "--option", "stride=1"), "unexpected keyword argument"),
    (("some_layers.py:(half, half)", "--input", "3"), "missing 1 required positional argument"),
]


@pytest.mark.parametrize(("args", "text"), NOT_CHECKED, ids=lambda args: " ".join(args))
def test_what_cannot_be_checked(args, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = run(capsys, *args)
    assert code == 2
    assert "could not be checked" in output or "nothing was compared" in output
    assert text in output


def test_without_hypothesis(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    import minicnn.testing

    monkeypatch.setitem(sys.modules, "hypothesis", None)
    for name in [n for n in sys.modules if n.startswith("minicnn.testing.")]:
        if "strategies" in name or "decorators" in name:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(minicnn.testing, "decorators", raising=False)
    monkeypatch.delattr(minicnn.testing, "strategies", raising=False)
    code, output = run(capsys, "minicnn.ops:relu")
    assert code == 2
    assert "pip install hypothesis" in output
    assert run(capsys, "minicnn.ops:relu", "--input", "3")[0] == 0
    with pytest.raises(ModuleNotFoundError, match=r"minicnn\.testing\.check_op needs hypothesis"):
        _ = minicnn.testing.check_op
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = minicnn.testing.nothing


ODD = """
import numpy as np

class Odd(BaseException):
    pass

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")

class Doubles:
    def forward(self, x):
        return 2 * x, None

    def backward(self, dy, cache):
        return 2 * dy

class Exits(Doubles):
    def forward(self, x):
        exit(0)

class ExitsLater(Doubles):
    calls = []

    def forward(self, x):
        self.calls.append(x)
        if len(self.calls) > 1:
            raise SystemExit(0)
        return 2 * x, None

class Backward(Doubles):
    def backward(self, dy, cache):
        raise Odd("mine")

class Silent(Doubles):
    def forward(self, x):
        raise Mute

class Asked(Doubles):
    def __getattr__(self, name):
        raise RuntimeError(f"no {name}")

class AskedEnds(Doubles):
    def __getattr__(self, name):
        raise SystemExit(0)

class Endless(Doubles):
    def __getattr__(self, name):
        return getattr(self.inner, name)

class Copied(Doubles):
    def __deepcopy__(self, memo):
        raise Odd("mine")

class Real(Doubles):
    def forward(self, x):
        if np.iscomplexobj(x):
            raise SystemExit(0)
        return 2 * x, None
"""


@pytest.mark.parametrize(
    ("thing", "code", "text"),
    [
        ("Exits()", 2, "forward: it raised SystemExit: 0"),
        ("ExitsLater()", 2, "it raised SystemExit: 0"),
        ("Backward()", 1, "backward: it raised Odd: mine"),
        ("Silent()", 2, "it raised Mute: its message cannot be shown"),
        ("Asked()", 2, "cannot be copied (RuntimeError: no __deepcopy__)"),
        ("AskedEnds()", 2, "cannot be copied (SystemExit: 0)"),
        ("Endless()", 2, "cannot be copied (RecursionError"),
        ("Copied()", 2, "cannot be copied (Odd: mine)"),
        ("exit(0)", 2, "odd.py:exit(0): SystemExit: 0"),
        ("Real()", 0, "the gradients are right"),
    ],
)
def test_whatever_the_users_code_raises_is_told_as_theirs(
    thing: str, code: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.py").write_text(ODD, encoding="utf-8")
    got, output = run(capsys, f"{tmp_path / 'odd.py'}:{thing}", "--input", "3")
    assert text in output
    assert got == code


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("exit(0)", "SystemExit: 0"),
        ("class Odd(BaseException): pass\nraise Odd('mine')", "Odd: mine (ends.py, line 2)"),
        ("def __getattr__(name): raise RuntimeError(name)", "ends.py has no f."),
    ],
)
def test_a_file_that_would_end_python(
    source: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ends.py").write_text(source, encoding="utf-8")
    code, output = run(capsys, f"{tmp_path / 'ends.py'}:f", "--input", "3")
    assert code == 2
    assert text in output
