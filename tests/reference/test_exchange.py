"""Weights between PyTorch's files and safetensors: bit for bit, and what cannot be is said."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from minicnn import checkpoint, models, recipes
from minicnn.nn import StateDictError
from minicnn.recipes import Plan
from reference import presets
from reference.exchange import ExchangeError, exchange, main, read, write


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    """One of each type that weights come in, with numbers that are easily lost."""
    odd = torch.tensor([0.0, -0.0, 1e-45, 3.4e38, float("inf"), float("-inf"), 1 / 3])
    quiet = torch.tensor([0x7FC0_0001, -0x003F_FFFF], dtype=torch.int32).view(torch.float32)  # NaN
    return {
        "conv.weight": torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)),
        "odd": odd,
        "nan": quiet,
        "double": odd.double() / 3,
        "half": odd.half(),
        "bfloat16": odd.bfloat16(),
        "count": torch.tensor(12345678901, dtype=torch.int64),
        "mask": torch.tensor([True, False]),
        "none": torch.empty(0, 3),
    }


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        a.dtype == other[name].dtype
        and a.shape == other[name].shape
        and a.contiguous().numpy(force=True).tobytes()
        == other[name].contiguous().numpy(force=True).tobytes()
        if a.dtype != torch.bfloat16
        else torch.equal(a.view(torch.int16), other[name].view(torch.int16))
        for name, a in one.items()
    )


@pytest.mark.parametrize("ending", [".pth", ".pt"])
def test_there_and_back_every_bit_is_kept(tmp_path: Path, tensors, ending: str) -> None:
    source = tmp_path / f"a{ending}"
    torch.save(tensors, source)
    exchange(source, tmp_path / "b.safetensors")
    exchange(tmp_path / "b.safetensors", tmp_path / "c.pth")
    back = torch.load(tmp_path / "c.pth", weights_only=True)
    assert same_bits(tensors, back)
    assert same_bits(tensors, read(tmp_path / "b.safetensors"))


def test_from_safetensors_there_and_back(tmp_path: Path, tensors) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    exchange(tmp_path / "a.safetensors", tmp_path / "b.pth")
    exchange(tmp_path / "b.pth", tmp_path / "c.safetensors")
    content = [(tmp_path / f"{name}.safetensors").read_bytes() for name in "ac"]
    assert content[0] == content[1]


def test_tensors_that_share_memory_or_lie_in_any_way(tmp_path: Path) -> None:
    weight = torch.arange(12.0).reshape(3, 4)
    tied = {"a": weight, "b": weight, "turned": weight.T, "part": weight[:, ::2]}
    write(tmp_path / "a.safetensors", tied)
    assert same_bits(read(tmp_path / "a.safetensors"), tied)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_torchvisions_weights_give_the_same_logits_in_minicnn(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    network = getattr(torchvision.models, name)(num_classes=6).eval()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "a.safetensors")]) == 0
    model = models.create(name, 6, weights=tmp_path / "a.safetensors")
    x = np.random.default_rng(0).standard_normal((2, 3, 40, 40), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_minicnns_weights_move_to_torchvision(tmp_path: Path) -> None:
    model = models.create("resnet18", 6, rng=np.random.default_rng(0))
    checkpoint.save(tmp_path / "a.safetensors", model.state_dict())
    exchange(tmp_path / "a.safetensors", tmp_path / "a.pth")
    network = torchvision.models.resnet18(num_classes=6)
    network.load_state_dict(torch.load(tmp_path / "a.pth", weights_only=True))
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(network.state_dict()[key].numpy(), array)


def test_old_names_of_densenet_become_those_of_today(tmp_path: Path) -> None:
    old = {
        "features.denseblock1.denselayer1.norm.1.running_mean": torch.ones(2),
        "features.denseblock1.denselayer1.conv.2.weight": torch.ones(2),
        "features.norm5.weight": torch.ones(2),
    }
    torch.save(old, tmp_path / "a.pth")
    assert set(read(tmp_path / "a.pth")) == {
        "features.denseblock1.denselayer1.norm1.running_mean",
        "features.denseblock1.denselayer1.conv2.weight",
        "features.norm5.weight",
    }


def test_another_models_weights_are_named_on_loading(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(num_classes=6).state_dict(), tmp_path / "a.pth")
    exchange(tmp_path / "a.pth", tmp_path / "a.safetensors")
    with pytest.raises(StateDictError) as error:
        models.create("resnet18", 7, weights=tmp_path / "a.safetensors")
    assert "mis-shaped: fc.bias is (6,), this model needs (7,)" in str(error.value)
    with pytest.raises(StateDictError) as error:
        models.create("resnet34", 6, weights=tmp_path / "a.safetensors")
    assert "missing: layer1.2.conv1.weight (64, 64, 3, 3)" in str(error.value)


# -------------------------------------------------------------------------------------- errors


class Anything:
    pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Anything(), "{}: holds other things than tensors by name, or is damaged. Save the state "
         "dict alone, by torch.save(model.state_dict(), path)."),
        ({"model": {"a": torch.ones(1)}, "epoch": 3}, "{}: not all it holds are tensors: model, "
         "epoch. If a state dict is among them, save it alone."),
        (torch.ones(2), "{}: holds a Tensor, and a state dict is needed: tensors by name."),
        ({}, "{}: holds no tensors."),
        ({"a": torch.ones(1), 3: torch.ones(1)}, "{}: 3 is a int, and names are needed. Rename "
         "it."),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "{}: a is complex, and weights are dense "
         "real numbers. Convert it, or leave it out."),
        ({"a": torch.ones(2, device="meta")}, "{}: a is of the device meta, without numbers, and "
         "weights are dense real numbers. Convert it, or leave it out."),
        ({"denselayer1.norm.1.bias": torch.ones(1), "denselayer1.norm1.bias": torch.zeros(1)},
         "{}: denselayer1.norm1.bias is there twice, by its old name and by that of today. Remove "
         "one."),
    ],
)  # fmt: skip
def test_what_is_no_state_dict(tmp_path: Path, content, message: str) -> None:
    path = tmp_path / "a.pth"
    torch.save(content, path)
    with pytest.raises(ExchangeError) as error:
        read(path)
    assert str(error.value) == message.format(path)
    assert main([str(path), str(tmp_path / "a.safetensors")]) == 2


@pytest.mark.filterwarnings("ignore")  # torch's own, on making and loading these
@pytest.mark.parametrize("kind", ["sparse", "quantised"])
def test_tensors_that_are_not_dense_are_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.pth"
    ones = torch.ones(2)
    odd = (
        ones.to_sparse() if kind == "sparse" else torch.quantize_per_tensor(ones, 1, 0, torch.qint8)
    )
    torch.save({"a": odd}, path)
    with pytest.raises(ExchangeError, match=f"a is {kind}, and weights are dense real numbers"):
        read(path)


@pytest.mark.parametrize("size", [0, 10, 300, 1000])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_file_that_is_cut_off(tmp_path: Path, tensors, size: int, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    write(path, tensors)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ExchangeError, match=f"^{path}: "):
        read(path)


def test_the_command(tmp_path: Path, capsys) -> None:
    torch.save({"a": torch.ones(3, 4)}, tmp_path / "a.pth")
    source, target = str(tmp_path / "a.pth"), str(tmp_path / "a.safetensors")
    assert main([source, target]) == 0
    assert capsys.readouterr().out == f"{target}: 1 tensors, 12 numbers\n"
    wrong = [
        ([str(tmp_path / "b.pth"), target], f"{tmp_path / 'b.pth'}: cannot be read (No such file"),
        ([source, str(tmp_path / "b.pt")], "have the same form. One must end in .pth or .pt, the"),
        ([source, "a.bin"], "a.bin: must end in .pth, .pt or .safetensors."),
        ([source, str(tmp_path / "no" / "a.safetensors")], "cannot be written (No such file"),
    ]
    for arguments, message in wrong:
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("reference.exchange: ")
        assert message in error
        assert error.count("\n") == 1


def as_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reference.exchange", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_it_is_a_module_to_run() -> None:
    done = as_module("--help")
    assert done.returncode == 0
    assert "bit for bit" in done.stdout


def unfinished(folder: Path, recipe: Plan) -> Path:
    """A run of that recipe, with its configuration alone."""
    folder.mkdir()
    of_data = {"classes": ["a", "b"], "image": [1, 28, 28], "mean": [0.5], "std": [0.5]}
    content = {"recipe": recipe.as_json(), "minicnn": "0", "data_dir": None, "data": of_data}
    checkpoint.write_json(folder / "config.json", content)
    return folder


@pytest.mark.slow
def test_of_a_run_whose_weights_cannot_be_read_one_line_is_said(tmp_path: Path) -> None:
    """As a module too, where the errors of two modules of one content would be two classes."""
    run = unfinished(tmp_path / "run", presets.recipe_for("lenet5", "digits"))
    (run / "model.safetensors").write_bytes(b"x")
    done = as_module(str(run))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("reference.exchange: ")
    assert "model.safetensors: cannot be read as safetensors" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_without_a_finished_epoch(tmp_path: Path, capsys) -> None:
    run = unfinished(tmp_path / "run", presets.recipe_for("lenet5", "digits"))
    assert main([str(run)]) == 2
    assert capsys.readouterr().err.endswith(
        f"no epoch of this run is finished yet. Go on with it: python -m reference.train --resume "
        f"{run}\n"
    )
    assert sorted(path.name for path in run.iterdir()) == ["config.json"]


def test_a_run_of_minicnn_is_one_already(tmp_path: Path, capsys) -> None:
    run = unfinished(tmp_path / "run", recipes.recipe_for("lenet5", "digits"))
    assert main([str(run)]) == 2
    use = f"run of minicnn's already. Use: minicnn evaluate {run}"
    assert capsys.readouterr().err.endswith(f"{use}\n")
    (run / "last.safetensors").touch()
    assert main([str(run)]) == 2
    go_on = f", or to go on with it: minicnn train --resume {run}\n"
    assert capsys.readouterr().err.endswith(use + go_on)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth", "x.pt"])
def test_a_run_becomes_no_file(tmp_path: Path, capsys, name: str) -> None:
    run = unfinished(tmp_path / "run", presets.recipe_for("lenet5", "digits"))
    assert main([str(run), str(tmp_path / name)]) == 2
    assert capsys.readouterr().err == (
        f"reference.exchange: {tmp_path / name}: OUT of a run is a folder. For a file give "
        f"{run / 'model.safetensors'} as IN.\n"
    )
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_a_source_that_is_not_there(tmp_path: Path, capsys, options: list[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nothere"), *options])
    assert "nothere: there is no such file or folder\n" in capsys.readouterr().err


def test_a_view_that_repeats_its_numbers_is_not_written_out(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"wide": torch.zeros(1).expand(10**12)}, path)
    with pytest.raises(ExchangeError, match=r"wide is a view .* have 4,000\.0 GB"):
        read(path)


def test_a_file_whose_tuples_would_be_hashed_for_ever_is_refused(tmp_path: Path) -> None:
    nest = b")q\x00" + b"".join(
        b"h" + bytes([k]) + b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) for k in range(60)
    )
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}(" + nest + b"K\x01u.")
    with pytest.raises(ExchangeError, match="nests tuples more than 8 deep"):
        read(path)


def test_a_bit_that_flipped_in_weights_of_a_run_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, {"w": np.ones(3, np.float32)}, {"epoch": 1})
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ExchangeError, match=r"model\.safetensors: sha256: the content is not as it was"
    ):
        read(path)
