"""Weights from files: what fits is loaded, what does not is named."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

from minicnn import checkpoint, models
from minicnn.checkpoint import CheckpointError
from minicnn.models import load_weights
from minicnn.nn import StateDictError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the weights of a ResNet-20."""
    path = tmp_path / "resnet20.safetensors"
    checkpoint.save(path, models.resnet20(rng=rng(1)).state_dict())
    return path


def test_weights_come_from_the_file(path: Path) -> None:
    source = models.resnet20(rng=rng(1))
    loaded = models.resnet20(rng=rng(2))
    load_weights(loaded, path)
    created = models.create("resnet20", weights=str(path))
    called = models.resnet20(weights=path)
    x = rng().standard_normal((2, 3, 16, 16), dtype=np.float32)
    for model in (loaded, created, called):
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, source.state_dict()[name])
        np.testing.assert_array_equal(model(x), source(x))


@pytest.mark.parametrize("name", models.MODELS)
def test_every_constructor_takes_weights(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file of weights"):
        models.find(name).build(weights=tmp_path / "none.safetensors")


def test_help_shows_the_weights() -> None:
    parameters = inspect.signature(models.lenet5).parameters
    assert list(parameters) == ["num_classes", "variant", "rng", "weights"]
    assert parameters["weights"].default is None


def test_created_with_weights_a_network_can_still_be_trained(path: Path) -> None:
    model = models.create("resnet20", weights=path, rng=rng())
    x = rng().standard_normal((2, 3, 16, 16), dtype=np.float32)
    y, cache = model.forward(x, training=True)
    model.backward(y, cache)
    assert all(param.grad.any() for name, param in model.named_parameters() if "conv" in name)


def test_dropout_draws_from_the_rng_beside_weights_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "squeezenet.safetensors"
    checkpoint.save(path, models.squeezenet1_1(5, rng=rng(1)).state_dict())
    x = rng().standard_normal((2, 3, 32, 32), dtype=np.float32)
    one, same, other = (
        models.create("squeezenet1_1", 5, weights=path, rng=rng(seed)).forward(x, training=True)[0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_counts_of_batches_may_be_missing(path: Path) -> None:
    """As in PyTorch's files from before they were counted."""
    tensors, _ = checkpoint.load(path)
    old = {name: array for name, array in tensors.items() if not name.endswith("tracked")}
    checkpoint.save(path, old)
    model = models.resnet20()
    model.bn1.num_batches_tracked[...] = 5
    load_weights(model, path)
    assert model.bn1.num_batches_tracked == 0
    np.testing.assert_array_equal(model.conv1.weight.data, tensors["conv1.weight"])


def test_half_precision_is_widened(path: Path) -> None:
    tensors, _ = checkpoint.load(path)
    checkpoint.save(path, tensors | {"fc.weight": tensors["fc.weight"].astype(np.float16)})
    model = models.create("resnet20", weights=path)
    assert model.fc.weight.data.dtype == np.float32
    np.testing.assert_array_equal(
        model.fc.weight.data, tensors["fc.weight"].astype(np.float16).astype(np.float32)
    )


def test_what_does_not_fit_is_named_and_changes_nothing(path: Path) -> None:
    tensors, _ = checkpoint.load(path)
    del tensors["bn1.bias"]
    checkpoint.save(path, tensors | {"aux.weight": np.zeros(3), "fc.bias": np.zeros(7)})
    model = models.resnet20(rng=rng(5))
    before = model.state_dict()
    with pytest.raises(StateDictError) as error:
        load_weights(model, path)
    assert str(error.value) == (
        f"{path}: Sequential: the state dict does not fit. mis-shaped: fc.bias is (7,), this model "
        "needs (10,); missing: bn1.bias (16,); unexpected: aux.weight. "
        "Is it of another model, or for other classes?"
    )
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    with pytest.raises(CheckpointError) as error:
        load_weights(models.lenet5(), path)
    assert str(error.value) == f"{path}: there is no such file of weights."


def test_a_damaged_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        models.create("resnet20", weights=path)


@pytest.mark.parametrize("ending", [".pth", ".pt"])
def test_a_file_of_pytorch_says_how_to_convert_it(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"resnet18{ending}"
    with pytest.raises(CheckpointError) as error:
        load_weights(models.lenet5(), path)
    assert str(error.value) == (
        f"{path}: is a file of PyTorch. Convert it where PyTorch is installed, by: "
        f"python -m reference.exchange {path} {tmp_path / 'resnet18.safetensors'}"
    )


# --------------------------------------------------------------------------- heads of a file


def test_heads_of_a_file_are_passed_over_where_the_model_has_none(tmp_path: Path) -> None:
    """As published, GoogLeNet has them."""
    path = tmp_path / "googlenet.safetensors"
    source = models.googlenet(5, aux_logits=True, rng=rng(1)).state_dict()
    checkpoint.save(path, source)
    for model in (models.googlenet(5, weights=path), models.create("googlenet", 5, weights=path)):
        state = model.state_dict()
        assert len(state) == sum(not name.startswith("aux") for name in source)
        for name, array in state.items():
            np.testing.assert_array_equal(array, source[name])
    whole = models.googlenet(5, aux_logits=True, weights=path)
    np.testing.assert_array_equal(whole.aux2.fc2.weight.data, source["aux2.fc2.weight"])


def test_no_other_key_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    state = models.googlenet(5, rng=rng(1)).state_dict()
    checkpoint.save(path, state | {"aux3.fc.weight": np.zeros(3, np.float32)})
    with pytest.raises(StateDictError, match=r"unexpected: aux3\.fc\.weight\."):
        models.googlenet(5, weights=path)
    state = models.lenet5(rng=rng(1)).state_dict()
    checkpoint.save(path, state | {"aux1.fc.weight": np.zeros(3, np.float32)})
    with pytest.raises(StateDictError, match=r"unexpected: aux1\.fc\.weight\."):
        models.lenet5(weights=path)


def test_a_file_with_a_note_of_another_kind(path: Path) -> None:
    from safetensors.numpy import save_file

    tensors, _ = checkpoint.load(path)
    save_file(tensors, path, metadata={"note": "hello"})
    model = models.create("resnet20", weights=path)
    np.testing.assert_array_equal(model.conv1.weight.data, tensors["conv1.weight"])
