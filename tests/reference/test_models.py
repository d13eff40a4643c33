"""The networks of PyTorch are those of minicnn: the same names, the same numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from minicnn import models
from minicnn.nn.init import Undrawn
from reference.models import MODELS, LeNet5

pytestmark = pytest.mark.slow

# The others are torchvision's or larger: tests/parity/test_zoo_models.py has them.
OWN = ("lenet5", "lenet5-1998", "cnn3", "convnet", "inception_mnist", "resnet20", "resnet20-preact")
names = pytest.mark.parametrize("name", OWN)


def test_every_network_of_minicnn_is_there():
    assert list(MODELS) == list(models.MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_state_dicts_have_the_same_names_and_shapes(name):
    model = models.create(name, 7, rng=Undrawn(np.random.PCG64()))
    ours = {k: p.data.shape for k, p in model.named_parameters()}
    ours |= {k: array.shape for k, array in model.named_buffers()}
    with torch.device("meta"):  # nothing but names and shapes
        theirs = MODELS[name](7).state_dict()
    assert ours == {k: v.shape for k, v in theirs.items()}


@names
def test_they_stand_in_the_same_order(name):
    assert list(models.create(name).state_dict()) == list(MODELS[name]().state_dict())


@names
@pytest.mark.parametrize("impl", ["fast", "textbook"])
def test_outputs_are_the_same_from_the_same_weights(name, impl):
    rng = np.random.default_rng(1)
    ours = models.create(name, rng=rng).astype(np.float64).set_impl(impl)
    theirs = MODELS[name]().double().eval()
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    images = rng.standard_normal((3, *models.MODELS[name].image))
    with torch.no_grad():
        expected = theirs(torch.tensor(images)).numpy()
    np.testing.assert_allclose(ours(images), expected, rtol=1e-10, atol=1e-10)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match=r"must be 'tutorial' or '1998', got '1989'"):
        LeNet5(variant="1989")  # type: ignore[arg-type]


def test_they_import_nothing_of_minicnn():
    code = "import sys, reference.models; sys.exit('minicnn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
