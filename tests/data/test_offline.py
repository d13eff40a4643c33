"""MNIST from files that a reader has by other ways than a download."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import DataError, load, mnist
from tests.data.conftest import idx


@pytest.mark.parametrize("folder", ["", "MNIST", "MNIST/raw", "raw"])
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_files_lie_in_any_usual_place_and_form(tmp_path, mnist_arrays, folder, dotted, packed):
    place = tmp_path / folder
    place.mkdir(parents=True, exist_ok=True)
    for file, array in mnist_arrays.items():
        name = file.replace("-idx", ".idx") if dotted else file
        content = gzip.compress(idx(array)) if packed else idx(array)
        (place / (name + ".gz" * packed)).write_bytes(content)
        (place / f"{name}-folder").mkdir()
    train, test = mnist.load("mnist", tmp_path)
    np.testing.assert_array_equal(train.images[..., 0], mnist_arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(test.labels, mnist_arrays["t10k-labels-idx1-ubyte"])
    assert mnist.found("mnist", tmp_path) == place
    assert mnist.found("kmnist", tmp_path) is None  # nothing says that these are its files


def test_the_name_of_the_folder_says_whose_files_they_are(tmp_path, mnist_arrays):
    root = tmp_path / "Fashion-MNIST"
    root.mkdir()
    for file, array in mnist_arrays.items():
        (root / file).write_bytes(idx(array))
    assert mnist.found("fashion-mnist", root) == root
    assert mnist.found("mnist", root) is None


def test_the_folder_above_says_it_too(tmp_path, mnist_arrays):
    root = tmp_path / "fashion-mnist" / "raw"
    root.mkdir(parents=True)
    for file, array in mnist_arrays.items():
        (root / file).write_bytes(idx(array))
    assert mnist.found("fashion-mnist", root) == root
    assert mnist.found("mnist", root) is None


def table(path: Path, n: int, head: str = "label," + ",".join(f"pixel{i}" for i in range(784))):
    """Write n images as Kaggle does; return labels and pixels."""
    rng = np.random.default_rng(n)
    labels, pixels = np.arange(n) % 10, rng.integers(0, 256, (n, 784))
    lines = [",".join(map(str, [label, *row])) for label, row in zip(labels, pixels, strict=True)]
    path.write_text("\n".join([head] * bool(head) + lines) + "\n", encoding="utf-8")
    return labels, pixels


@pytest.mark.parametrize("head", ["label" + ",p" * 784, ""])
def test_tables_with_and_without_a_head(tmp_path, head):
    labels, pixels = table(tmp_path / "mnist_train.csv", 60, head)
    _, tested = table(tmp_path / "mnist_test.csv", 20, head)
    train, test = mnist.load("mnist", tmp_path)
    np.testing.assert_array_equal(train.labels, labels)
    np.testing.assert_array_equal(train.images.reshape(60, -1), pixels)
    np.testing.assert_array_equal(test.images.reshape(20, -1), tested)


def test_of_kaggles_table_a_test_part_is_set_apart(tmp_path):
    table(tmp_path / "train.csv", 200)
    (tmp_path / "test.csv").write_text(
        "pixel0" + ",p" * 783 + "\n", encoding="utf-8"
    )  # it has no labels
    splits = load("mnist", tmp_path)
    assert [len(part) for part in splits] == [147, 13, 40]
    assert mnist.found("mnist", tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("\n3,", "\nthree,", 1), "cannot be read as a table of numbers"),
        (lambda t: t[: len(t) // 2], "cannot be read as a table|has 9 lines"),
        (lambda t: t.replace("\n5,", "\n5,999", 1), "image 5 has a pixel that is not from 0 to"),
        (lambda t: t.replace("\n5,", "\n55,", 1), "image 5 has label 55"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(tmp_path, change, message):
    path = tmp_path / "train.csv"
    table(path, 20)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        mnist.load("mnist", tmp_path)
