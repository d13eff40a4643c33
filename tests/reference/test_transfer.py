"""Transfer learning: what is loaded, what is new, and what is left as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from minicnn import checkpoint
from minicnn.data import Normalization
from minicnn.run_folder import TrainError
from reference import exchange
from reference.data import load as load_data
from reference.data import normalized
from reference.models import MODELS
from reference.presets import Recipe, recipe_for
from reference.train import network
from reference.train import weights as weights_of
from reference.train.command import main
from reference.train.loop import fit
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
    fit(run)
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
    fit(run)
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
    (folder / "config.json").write_text(json.dumps({}), encoding="utf-8")
    read = weights_of.read(recipe("tiny", weights=str(folder)))
    assert torch.equal(read.tensors["fc.bias"], exchange.read(weights)["fc.bias"])
    assert read[1:] == (None, None)


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
     "For other classes give it a new head by --head linear."),
    ({"model": "lenet5"}, "these are not weights of lenet5. missing: conv1.weight"),
    ({"head": "mlp-bn", "model": "lenet5"}, "not weights of lenet5 with the head mlp-bn. missing"),
    ({"weights": "/no/such.pth"}, "/no/such.pth: cannot be read (No such file or directory)"),
    ({"weights": "NOTHING"}, "NOTHING is no file, and torchvision has no weights of that name for "
     "tiny. Give the path of a file."),
    ({"model": "resnet18", "weights": "V9"}, "Give the path of a file, or one of IMAGENET1K_V1."),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_weights_that_do_not_fit(weights: Path, options, message) -> None:
    chosen = recipe(**{"model": "tiny", "weights": str(weights), **options})
    model = network.build(chosen, 10)
    with pytest.raises(TrainError) as error:
        weights_of.load(model, chosen, weights_of.read(chosen))
    assert message in str(error.value)
    of_head = chosen.model == "tiny" and chosen.weights == str(weights)
    assert ("give it a new head" in str(error.value)) == of_head


def test_weights_of_another_network_are_named(tmp_path: Path, weights: Path) -> None:
    folder = begun(tmp_path / "run", weights, head="mlp-bn").folder
    for given in (folder, folder / "model.safetensors"):
        chosen = recipe("lenet5", weights=str(given))
        with pytest.raises(TrainError, match="of tiny with the head mlp-bn, the run is of lenet5"):
            weights_of.load(network.build(chosen, 10), chosen, weights_of.read(chosen))


def test_of_weights_of_the_same_network_only_what_differs_is_named(
    tmp_path: Path, weights: Path
) -> None:
    folder = begun(tmp_path / "run", weights, head="linear").folder
    chosen = recipe("tiny", weights=str(folder))
    with pytest.raises(TrainError) as error:
        weights_of.load(network.build(chosen, 7), chosen, weights_of.read(chosen))
    assert str(error.value).startswith(f"{folder}: mis-shaped: fc.weight is (10, 4), not (7, 4);")


def test_a_checkpoint_is_no_weights(tmp_path: Path, weights: Path) -> None:
    run = begun(tmp_path / "run", weights, head="linear")
    last = run.folder / "last.safetensors"
    assert last.exists()
    with pytest.raises(TrainError) as error:
        weights_of.read(recipe("tiny", weights=str(last)))
    assert str(error.value) == (
        f"{last}: is a checkpoint. Give {run.folder / 'model.safetensors'}, or the folder "
        f"{run.folder}: the weights of the best epoch."
    )


# ------------------------------------------------------------------- what the weights have seen


def begun(folder: Path, weights: Path, **options) -> Run:
    """A short run that began with weights, and is done."""
    folder.mkdir()
    run = Run(recipe("tiny", weights=str(weights), epochs=1, epoch_steps=2, **options), folder, CPU)
    checkpoint.write_json(folder / "config.json", run.config())
    fit(run)
    return run


def test_images_are_normalised_as_those_of_the_run_were(tmp_path: Path, weights, capsys) -> None:
    """Also when the run goes on, where the weights may be gone."""
    first = begun(tmp_path / "first", weights, head="linear")
    own = load_data("digits", None, channels=1).normalization
    assert first.parts.normalization == own
    assert "with a new head; images are normalised by" in first.begun
    assert first.begun.endswith("those of the training images")
    config = tmp_path / "first/config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["data"] |= {"mean": [0.25], "std": [2.0]}
    checkpoint.write_json(config, content)
    second = begun(tmp_path / "second", tmp_path / "first")
    assert second.parts.normalization == Normalization((0.25,), (2.0,))
    assert second.begun == (
        "with their own head; images are normalised by mean 0.25 and std 2, as the weights demand"
    )
    shutil.rmtree(tmp_path / "first")
    assert main(["--resume", str(tmp_path / "second"), "--quiet"]) == 0
    assert "all epochs are done" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "ResNet18_Weights.DEFAULT", "file"])
def test_torchvisions_weights_demand_imagenets_normalisation(tmp_path, monkeypatch, name) -> None:
    given = MODELS["resnet18"]().state_dict()
    monkeypatch.setattr(
        torchvision.models.ResNet18_Weights, "get_state_dict", lambda self, **_: given
    )
    if name == "file":
        name = str(tmp_path / "resnet18-f37072fd.pth")
        exchange.write(Path(name), given)
    read = weights_of.read(recipe("resnet18", weights=name))
    assert read.network == "ResNet18_Weights.IMAGENET1K_V1"
    assert read.normalization == Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_googlenets_weights_get_what_torchvision_turns_its_images_into(monkeypatch) -> None:
    weights = torchvision.models.GoogLeNet_Weights
    monkeypatch.setattr(weights, "get_state_dict", lambda self, **_: {})
    read = weights_of.read(recipe("googlenet", weights="IMAGENET1K_V1"))
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    x = weights.IMAGENET1K_V1.transforms(crop_size=4, resize_size=4)(images)
    with torch.device("meta"):
        theirs = torchvision.models.googlenet(init_weights=False, transform_input=True)
    mine = normalized(images, read.normalization, torch.device("cpu"), False)
    square = x.shape[-1]
    left = round((5 - square) / 2)
    torch.testing.assert_close(mine[..., left : left + square], theirs._transform_input(x))


# --------------------------------------------------------------------------------- other heads


def test_training_goes_on_with_a_head_that_the_weights_have(tmp_path: Path, weights: Path) -> None:
    first = begun(tmp_path / "first", weights, head="mlp-bn", freeze="features")
    best, _ = checkpoint.load(tmp_path / "first/model.safetensors")
    chosen = recipe("tiny", weights=str(first.folder), head="mlp-bn")
    given = weights_of.read(chosen)
    model = network.build(chosen, 10)
    assert weights_of.load(model, chosen, given) == "with their own head"
    assert all((best[n] == a.numpy()).all() for n, a in model.state_dict().items())
    model = network.build(chosen, 7)
    assert weights_of.load(model, chosen, given) == "with a new head"
    assert (best["conv.weight"] == model.conv.weight.detach().numpy()).all()
    new = recipe("tiny", weights=str(first.folder), head="linear")
    assert weights_of.load(network.build(new, 10), new, given) == "with a new head"


@pytest.mark.parametrize("head", ["linear", "mlp-bn", None])
@pytest.mark.parametrize("theirs", [True, False])
def test_auxiliary_heads_are_new_with_the_head(head: str | None, theirs: bool) -> None:
    """Of torchvision's weights, for 1000 classes and without a trained auxiliary head."""
    given = torchvision.models.googlenet(init_weights=False, aux_logits=theirs).state_dict()
    chosen = recipe("googlenet", weights="x.pth", head=head, aux_weight=0.3)
    model = network.build(chosen, 7 if head else 1000)
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights_of.load(model, chosen, weights_of.Weights(given))
    for name, tensor in model.state_dict().items():
        is_new = (name.startswith("aux") and not (theirs and head is None)) or (
            name.startswith("fc.") and head is not None
        )
        assert torch.equal(tensor, first[name] if is_new else given[name]), name


def test_frozen_features_have_no_auxiliary_heads() -> None:
    few = {"weights": "IMAGENET1K_V1", "freeze": "features", "head": "linear"}
    assert recipe_for("googlenet-imagenet", "digits", **few).aux_weight is None
    with pytest.raises(ValueError, match="aux_weight has no effect where freeze"):
        recipe_for("googlenet-imagenet", "digits", aux_weight=0.3, **few)


def test_weights_that_cannot_be_downloaded(monkeypatch) -> None:
    from urllib.error import URLError

    from torchvision.models import ResNet18_Weights

    def offline(self, **_):
        raise URLError("no network")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(TrainError, match=r"cannot be downloaded \(.*no network.*Fetch https://"):
        weights_of.read(recipe("resnet18", weights="IMAGENET1K_V1"))


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
