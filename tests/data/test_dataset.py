from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minicnn.data import DataError, Dataset, normalization
from minicnn.data.dataset import set_apart


def numbered(labels: np.ndarray, classes: int) -> Dataset:
    """A data set whose image i holds the number i."""
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Dataset("numbered", images, labels, tuple(map(str, range(classes))))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 3, 3), np.uint8), [0, 1], r"pets: images must be uint8 .* \(2, 3, 3\)"),
        (np.zeros((2, 3, 3, 1)), [0, 1], "pets: images must be uint8 .* got float64"),
        (np.zeros((2, 3, 3, 1), np.uint8), [[0, 1]], r"pets: labels must be .* shape \(1, 2\)"),
        (np.zeros((2, 3, 3, 1), np.uint8), [0], "pets: there are 2 images but 1 labels"),
        (
            np.zeros((2, 3, 3, 1), np.uint8),
            [0, 2],
            r"pets: image 1 has label 2, out of range for 2 classes \(0 to 1\); 1 of 2 labels are",
        ),
        (np.zeros((2, 3, 3, 1), np.uint8), [-1, -1], "pets: image 0 has label -1.* 2 of 2 "),
    ],
)
def test_what_does_not_fit_together_is_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        Dataset("pets", images, np.array(labels, np.int64), ("cat", "dog"))


def test_subset_keeps_the_order_of_the_indices():
    part = numbered(np.array([0, 1, 2, 0]), 3).subset(np.array([3, 1]))
    assert (part.images.ravel().tolist(), part.labels.tolist()) == ([3, 1], [0, 1])
    assert len(part) == 2


@given(
    members=st.lists(st.integers(4, 25), min_size=2, max_size=5),
    fraction=st.floats(0.01, 0.5),
    seed=st.integers(0, 100),
)
def test_a_part_is_set_apart_in_proportion(members, fraction, seed):
    data = numbered(np.repeat(np.arange(len(members)), members), len(members))
    rest, part = set_apart(data, fraction, seed, "validation")
    both = np.concatenate([rest.images, part.images]).ravel()
    assert sorted(both.tolist()) == list(range(len(data)))  # nothing twice, nothing lost
    assert len(part) == max(round(fraction * len(data)), len(members))
    due = [len(part) / len(data) * had for had in members]
    given_up = sum(max(0, 1 - share) for share in due)  # to the classes that get one all the same
    for got, share in zip(np.bincount(part.labels, minlength=len(members)), due, strict=True):
        assert -1 - given_up <= got - share <= 1
    for one in (rest, part):
        order = one.images.ravel().tolist()
        assert order == sorted(order)
        np.testing.assert_array_equal(one.labels, data.labels[order])


def test_the_seed_alone_chooses_the_part():
    data = numbered(np.arange(100) % 2, 2)
    chosen = [set_apart(data, 0.2, seed, "test")[1].images.ravel().tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "numbered: there are no images to set some apart for test"),
        (
            [0, 1, 2],
            r"few images of 0 \(1\), 1 \(1\), 2 \(1\) to set some apart for test: 2 of each",
        ),
        ([0, 0, 0, 0, 1], r"too few images of 1 \(1\) to set some apart for test"),
    ],
)
def test_too_few_images_to_set_a_part_apart(labels, message):
    with pytest.raises(DataError, match=message):
        set_apart(numbered(np.array(labels, np.int64), 3), 0.2, 0, "test")


@given(
    images=arrays(
        np.uint8,
        st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    )
)
def test_mean_and_std_of_every_channel(images):
    data = Dataset("drawn", images, np.zeros(len(images), np.int64), ("one",))
    mean, std = normalization(data)
    channels = images.reshape(-1, images.shape[3]) / 255
    np.testing.assert_allclose(mean, channels.mean(axis=0), rtol=1e-12)
    expected = channels.std(axis=0)
    constant = (images == images[:1, :1, :1]).all(axis=(0, 1, 2))
    np.testing.assert_allclose(std, np.where(constant, 1, expected), rtol=1e-9)


def test_mean_and_std_do_not_depend_on_the_order_of_many_images():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3000, 4, 4, 2), dtype=np.uint8)  # more than one block
    data = Dataset("many", images, np.zeros(3000, np.int64), ("one",))
    found = normalization(data)
    assert normalization(data.subset(rng.permutation(3000))) == found
    np.testing.assert_allclose(found.mean, images.mean(axis=(0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(found.std, images.std(axis=(0, 1, 2)) / 255, rtol=1e-12)


def test_no_pixel_has_no_mean():
    with pytest.raises(DataError, match="numbered: there are no pixels"):
        normalization(numbered(np.zeros(0, np.int64), 1))
