"""The introductory networks: their sizes by hand, their names, their first weights."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import models
from minicnn.models import MODELS, cnn3, convnet, create, lenet5


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


LENET_CONV1, LENET_CONV2 = 6 * 25 + 6, 16 * 6 * 25 + 16
SIZES = {
    "lenet5": LENET_CONV1 + LENET_CONV2 + (256 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 10,
    "lenet5-1998": LENET_CONV1 + LENET_CONV2 + (400 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 10,
    "cnn3": (16 * 25 + 16) + (32 * 16 * 25 + 32) + (64 * 32 * 25 + 64)
    + (576 + 1) * 100 + (100 + 1) * 10,
    "convnet": (10 * 25 + 10) + (20 * 10 * 25 + 20) + (320 + 1) * 10,
}  # fmt: skip

# Outputs of each convolution times the products for one of them, then the matrices.
MULTIPLY_ADDS = {
    "lenet5": 6 * 24 * 24 * 25 + 16 * 8 * 8 * 150 + 256 * 120 + 120 * 84 + 84 * 10,
    "lenet5-1998": 6 * 28 * 28 * 25 + 16 * 10 * 10 * 150 + 400 * 120 + 120 * 84 + 84 * 10,
    "cnn3": 16 * 24 * 24 * 25 + 32 * 20 * 20 * 400 + 64 * 6 * 6 * 800 + 576 * 100 + 100 * 10,
    "convnet": 10 * 24 * 24 * 25 + 20 * 8 * 8 * 250 + 320 * 10,
}


def test_the_lenet_of_the_tutorials_has_its_known_size() -> None:
    assert sum(param.data.size for param in lenet5(rng=rng()).parameters()) == 44_426


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_multiply_adds(name: str) -> None:
    model = create(name, rng=rng())
    assert sum(param.data.size for param in model.parameters()) == SIZES[name]
    assert model.multiply_adds(MODELS[name].image) == MULTIPLY_ADDS[name]


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("classes", [10, 3])
def test_output_is_one_number_for_each_class(name: str, classes: int) -> None:
    model = create(name, classes, rng=rng())
    image = MODELS[name].image
    assert model.output_shape(image) == (classes,)
    y = model(rng().standard_normal((2, *image)).astype(np.float32))
    assert y.shape == (2, classes)
    assert y.dtype == np.float32


def test_convnet_gives_log_probabilities() -> None:
    y = convnet(rng=rng())(rng().standard_normal((4, 1, 28, 28)).astype(np.float32))
    np.testing.assert_allclose(np.exp(y).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", SIZES)
def test_rng_decides_the_first_weights(name: str) -> None:
    one, same, other = (create(name, rng=rng(seed)).state_dict() for seed in (1, 1, 2))
    assert one.keys() == same.keys()
    assert all((one[key] == same[key]).all() for key in one)
    assert all((one[key] != other[key]).any() for key in one)


@pytest.mark.parametrize("build", [lenet5, cnn3, convnet])
def test_without_rng_they_are_drawn_anew(build) -> None:
    assert (build().conv1.weight.data != build().conv1.weight.data).any()


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011, the text is compared below
        models.create("lenet6")
    assert str(error.value) == (
        "There is no model 'lenet6'. Did you mean lenet5 or alexnet or resnet56? "
        f"Known: {', '.join(MODELS)}. One of your own is named FILE.py:OBJECT."
    )
    with pytest.raises(ValueError, match=r"^lenet5: variant must be one of tutorial, 1998, got"):
        lenet5(variant="1989")
