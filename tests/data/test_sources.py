from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn

from minicnn.data import NAMES, DataError, available, data_root, digits, load


def test_digits_need_no_network(tmp_path):
    splits = load("digits", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert sum(map(len, splits)) == 1797
    assert len(splits.test) == 359  # a fifth
    for part in splits:
        assert part.images.shape[1:] == (28, 28, 1)
        assert set(part.labels.tolist()) == set(range(10))


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    small = load_digits()
    large = digits.load()
    np.testing.assert_array_equal(large.labels, small.target)
    assert (large.images.min(), large.images.max()) == (0, 255)
    assert len(np.unique(large.images)) > 200  # smooth: not only the 17 values there were
    # Each pixel has become 3.5x3.5; two by two of them are 7x7, whose mean has to stay.
    blocks = large.images.reshape(-1, 4, 7, 4, 7).mean(axis=(2, 4)) / 255
    expected = small.images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)) / 16
    assert np.abs(blocks - expected).max() < 0.15
    assert np.abs(blocks - expected).mean() < 0.03


def test_digits_are_divided_by_the_seed_and_the_test_part_stays():
    one, same, other = (load("digits", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.validation.images, same.validation.images)
    assert not np.array_equal(one.validation.images, other.validation.images)
    np.testing.assert_array_equal(one.test.images, other.test.images)
    assert len(load("digits", validation=0.5).validation) == 719


@pytest.mark.parametrize(
    ("name", "near"),
    [("MNIST", " Did you mean mnist or kmnist?"), ("cats", ""), ("", ""),
     ("imagefolder", " Did you mean imagefolder:PATH?"), ("cifar", " Did you mean cifar10?"),
     ("imagefolder:", " Did you mean imagefolder:PATH?"),
     ("/", " Did you mean imagefolder:/?")],
)  # fmt: skip
def test_an_unknown_name_lists_the_known(name, near):
    with pytest.raises(DataError) as error:
        load(name)
    assert str(error.value) == (
        f"There is no data set {name!r}.{near} "
        "Known are digits, mnist, fashion-mnist, kmnist, cifar10, imagefolder:PATH."
    )


@pytest.mark.parametrize("validation", [0.0, 1.0, -0.5, float("nan")])
def test_a_fraction_out_of_range(validation):
    with pytest.raises(ValueError, match="load: validation must be between 0 and 1, got"):
        load("digits", validation=validation)


def test_where_the_data_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "environment"))
    assert data_root() == tmp_path / "environment"
    assert data_root(tmp_path / "argument") == tmp_path / "argument"
    assert data_root("~/data") == Path.home() / "data"
    monkeypatch.delenv("MINICNN_DATA")
    assert data_root().name == "minicnn"


def test_what_is_available(monkeypatch, tmp_path):
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path))
    found = available()
    assert [*found, "imagefolder:PATH"] == list(NAMES)
    assert found.pop("digits") == Path(sklearn.__file__).parent
    assert set(found.values()) == {None}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_importing_is_light():
    heavy = ("sklearn", "pooch", "PIL", "requests", "matplotlib", "torch")
    code = f"import sys, minicnn.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
