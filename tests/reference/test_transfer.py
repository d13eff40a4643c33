"""Transfer learning: what is loaded, what is new, and what is left as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from minicnn import checkpoint
from minicnn.run_folder import TrainError
from reference import exchange
from reference.models import MODELS
from reference.presets import Recipe
from reference.train import network
from reference.train.command import main
from reference.train.machine import Machine
from reference.train.run import Run

CPU = Machine(torch.device("cpu"))


def recipe(model: str, **options) -> Recipe:
    return Recipe(**{"model": model, "data": "digits", **options})


@pytest.fixture
def weights(tmp_path: Path, tiny: str) -> Path:
    """Weights of the small network for three classes, with statistics that are not the first."""
    torch.manual_seed(5)
    model = MODELS["tiny"](3)
    for name, buffer in model.named_buffers():
        buffer.copy_(torch.full_like(buffer, 2) if "mean" in name else buffer)
    exchange.write(tmp_path / "tiny.pth", model.state_dict())
    return tmp_path / "tiny.pth"


@pytest.mark.parametrize("head", ["linear", "mlp-bn"])
def test_the_head_alone_learns(tmp_path: Path, weights: Path, head: str) -> None:
    chosen = recipe(
        "tiny", weights=str(weights), freeze="features", head=head, epochs=2, epoch_steps=3,
        batch_size=32, weight_decay=0.1, optimizer="adamw", ema=0.5,
    )  # fmt: skip
    (tmp_path / "run").mkdir()
    run = Run(chosen, tmp_path / "run", CPU, workers=0)
    given = exchange.read(weights)
    first = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    learn = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    assert learn == {id(p) for p in run.model.fc.parameters()}
    run.fit()
    best, _ = checkpoint.load(run.folder / "model.safetensors")
    for tensors in (run.model.state_dict(), {n: torch.from_numpy(a) for n, a in best.items()}):
        for name, tensor in tensors.items():
            if name.startswith("fc."):
                assert not torch.equal(tensor, first[name]), name
            else:  # weights, and the statistics of batch norm with their count
                assert torch.equal(tensor, given[name]), name
    if head == "mlp-bn":
        kinds = [type(module) for module in run.model.fc]
        assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
        assert (run.model.fc[0].out_features, run.model.fc[3].out_features) == (500, 10)


def test_without_freeze_all_learns(tmp_path: Path, weights: Path) -> None:
    chosen = recipe("tiny", weights=str(weights), head="linear", epochs=1, epoch_steps=2)
    run = Run(chosen, tmp_path, CPU, workers=0)
    assert torch.equal(run.model.conv.weight, exchange.read(weights)["conv.weight"])
    run.fit()
    assert not torch.equal(run.model.conv.weight, exchange.read(weights)["conv.weight"])
    assert run.model.bn.num_batches_tracked == 2


def test_a_frozen_run_goes_on_without_the_file(tmp_path: Path, weights: Path, capsys) -> None:
    options = ["tiny", "--data", "digits", "--epochs", "1", "--epoch-steps", "2", "--quiet",
               "--weights", str(weights), "--freeze", "features", "--head", "linear"]  # fmt: skip
    assert main([*options, "--out", str(tmp_path / "run")]) == 0
    assert "(94 parameters, 50 to train)" in capsys.readouterr().out
    weights.unlink()
    assert main(["--resume", str(tmp_path / "run"), "--quiet"]) == 0


def test_the_folder_of_a_run_gives_its_best_weights(tmp_path: Path, weights: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    exchange.exchange(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({}))
    read = network.read_weights(recipe("tiny", weights=str(folder)))
    assert torch.equal(read["fc.bias"], exchange.read(weights)["fc.bias"])


@pytest.mark.parametrize(
    ("model", "head"),
    [("resnet18", "fc"), ("vgg11", "classifier.6"), ("densenet121", "classifier"),
     ("googlenet", "fc"), ("lenet5", "fc3"), ("squeezenet1_1", "classifier.1"),
     ("mobilenet_v3_small", "classifier.3"), ("vit_b_16", "heads.head")],
)  # fmt: skip
def test_the_head_is_the_layer_that_gives_the_logits(model: str, head: str) -> None:
    with torch.device("meta"):
        built = network.build(recipe(model, head="linear"), 7)
        assert network.head_name(built) == head
        assert built.get_submodule(head).weight.shape[0] == 7


WRONG = [
    ({}, "mis-shaped: fc.weight is (3, 4), not (10, 4); mis-shaped: fc.bias is (3,), not (10,). "
     "For other classes than those it was trained on, give it a new head by --head linear."),
    ({"model": "lenet5"}, "these are not weights of lenet5 with this head. missing: conv1.weight"),
    ({"weights": "/no/such.pth"}, "/no/such.pth: cannot be read (No such file or directory)"),
    ({"weights": "NOTHING"}, "NOTHING is no file, and torchvision has no weights of that name for "
     "tiny. Give the path of a file."),
    ({"model": "resnet18", "weights": "V9"}, "Give the path of a file, or one of IMAGENET1K_V1, "),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_weights_that_do_not_fit(weights: Path, options, message) -> None:
    chosen = recipe(**{"model": "tiny", "weights": str(weights), **options})
    model = network.build(chosen, 10)
    with pytest.raises(TrainError) as error:
        network.load_weights(model, chosen, network.read_weights(chosen))
    assert message in str(error.value)


def test_weights_that_cannot_be_downloaded(monkeypatch) -> None:
    from urllib.error import URLError

    from torchvision.models import ResNet18_Weights

    def offline(self, **_):
        raise URLError("no network")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(TrainError, match=r"cannot be downloaded \(.*no network.*Fetch https://"):
        network.read_weights(recipe("resnet18", weights="IMAGENET1K_V1"))


def test_a_convolution_takes_no_mlp() -> None:
    with pytest.raises(TrainError, match="the last layer is a convolution, which mlp-bn cannot"):
        network.build(recipe("squeezenet1_1", head="mlp-bn"), 7)


@pytest.mark.parametrize("scheme", ["kaiming_normal", "kaiming_uniform", "xavier_normal"])
def test_a_scheme_draws_every_weight(tiny: str, scheme: str) -> None:
    model = network.build(recipe("lenet5", init=scheme), 10)
    weight = model.fc1.weight
    expected = (2 / 256) ** 0.5 if "kaiming" in scheme else (2 / (256 + 120)) ** 0.5
    assert abs(float(weight.detach().std()) / expected - 1) < 0.02
    assert not model.fc1.bias.any()
