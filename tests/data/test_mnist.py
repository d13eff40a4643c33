from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import DataError, available, load, mnist

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = mnist.FILES


def listing(root: Path) -> dict[str, tuple[int, int]]:
    """Every path under ``root`` with the time of its last change and its size."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted([root, *root.rglob("*")])
    }


@pytest.fixture
def raw(mnist_root: Path) -> Path:
    return mnist_root / "MNIST" / "raw"


@pytest.mark.parametrize("compressed", [False, True])
def test_files_that_are_there_are_read_and_nothing_is_written(
    mnist_root, raw, mnist_arrays, compressed
):
    if compressed:
        for file in mnist.FILES:
            (raw / f"{file}.gz").write_bytes(gzip.compress((raw / file).read_bytes()))
            (raw / file).unlink()
    before = listing(mnist_root)
    splits = load("mnist", mnist_root)
    assert listing(mnist_root) == before
    np.testing.assert_array_equal(splits.test.images[..., 0], mnist_arrays[TEST_IMAGES])
    np.testing.assert_array_equal(splits.test.labels, mnist_arrays[TEST_LABELS])
    # 40 training images of 10 classes: the validation part has one of each.
    assert [len(part) for part in splits] == [30, 10, 20]
    got = np.concatenate([splits.train.images, splits.validation.images])[..., 0]
    expected = mnist_arrays[TRAIN_IMAGES]
    assert sorted(map(bytes, got)) == sorted(map(bytes, expected))
    assert splits.train.images.shape[1:] == (5, 4, 1)
    assert splits.train.name == "mnist"
    assert splits.train.classes == tuple("0123456789")


def test_other_sets_have_folders_of_their_own(mnist_root, raw):
    shutil.copytree(raw, mnist_root / "KMNIST" / "raw")
    assert load("kmnist", mnist_root).test.classes[:3] == ("o", "ki", "su")
    found = available(mnist_root)
    assert found["kmnist"] == mnist_root / "KMNIST" / "raw"
    assert found["mnist"] == raw
    assert found["fashion-mnist"] is None
    (raw / TEST_LABELS).unlink()
    assert available(mnist_root)["mnist"] is None


def damaged(file: str, change, message: str):
    return pytest.param(file, change, message, id=message[:40])


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        damaged(
            TRAIN_IMAGES,
            lambda b: b[:500],
            "has 500 bytes where 816 are expected; the file is cut off. Delete it to download",
        ),
        damaged(
            TRAIN_LABELS,
            lambda b: b + b"\0",
            "has more than the 48 bytes that are expected; the file is too long. Delete it",
        ),
        damaged(
            TEST_IMAGES,
            lambda b: b[:7],
            "has 7 bytes where the header alone has 16; the file is cut off. Delete it",
        ),
        damaged(TEST_LABELS, lambda b: b"", "has 0 bytes where the header alone has 8"),
        damaged(
            TEST_IMAGES,
            lambda b: b"\0\0\x0d\x03" + b[4:],
            "begins with the bytes 00 00 0d 03 where 00 00 08 03 is expected; it is not the file",
        ),
        damaged(
            TRAIN_IMAGES,
            lambda b: b"<!DOCTYPE html><title>Forbidden</title>",
            "begins with the bytes 3c 21 44 4f where 00 00 08 03 is expected",
        ),
        damaged(
            TRAIN_LABELS,
            lambda b: b[:8] + bytes([3, 12]) + b[10:],
            "image 1 has label 12, out of range for 10 classes (0 to 9); 1 of 40 labels are.",
        ),
        damaged(
            TEST_LABELS,
            lambda b: b[:4] + bytes([0, 0, 0, 9]) + b[8:17],
            "there are 20 images but 9 labels.",
        ),
    ],
)
def test_a_damaged_file_is_named(mnist_root, raw, file, change, message):
    (raw / file).write_bytes(change((raw / file).read_bytes()))
    with pytest.raises(DataError) as error:
        load("mnist", mnist_root)
    assert str(error.value).startswith("mnist: ")
    assert str(raw / file) in str(error.value)
    assert message in str(error.value)
    assert "to download" in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[:-20],  # cut off
        lambda b: b[:-6] + bytes([b[-6] ^ 1]) + b[-5:],  # another sum of the content
        lambda b: b[:10] + b"\xff" + b[11:],  # no such kind of block
        lambda b: b"not compressed",
    ],
)
def test_a_damaged_compressed_file_is_named(mnist_root, raw, change):
    (raw / f"{TRAIN_IMAGES}.gz").write_bytes(
        change(gzip.compress((raw / TRAIN_IMAGES).read_bytes()))
    )
    (raw / TRAIN_IMAGES).unlink()
    with pytest.raises(DataError) as error:
        load("mnist", mnist_root)
    assert f"mnist: {raw / TRAIN_IMAGES}.gz is damaged (" in str(error.value)
    assert "Delete it to download it again." in str(error.value)


def test_torchvision_reads_the_same(real_mnist):
    datasets = pytest.importorskip("torchvision.datasets")
    for ours, train in zip(mnist.load("mnist", real_mnist), (True, False), strict=True):
        theirs = datasets.MNIST(real_mnist, train=train)
        np.testing.assert_array_equal(ours.images[..., 0], theirs.data.numpy())
        np.testing.assert_array_equal(ours.labels, theirs.targets.numpy())


def test_each_folder_and_a_mirror_are_those_of_torchvision():
    datasets = pytest.importorskip("torchvision.datasets")
    theirs = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
    for name, family in mnist.FAMILIES.items():
        assert family.folder == theirs[name]
        assert set(getattr(datasets, family.folder).mirrors) & set(family.mirrors)


def test_the_parts_of_mnist(real_mnist):
    splits = load("mnist", real_mnist)
    assert [len(part) for part in splits] == [55_000, 5_000, 10_000]
    every = np.bincount(np.concatenate([splits.train.labels, splits.validation.labels]))
    share = np.bincount(splits.validation.labels) / every
    assert np.abs(share - 1 / 12).max() < 1 / every.min()
    other = load("mnist", real_mnist, seed=1)
    assert not np.array_equal(other.validation.images, splits.validation.images)
    np.testing.assert_array_equal(other.test.images, splits.test.images)
