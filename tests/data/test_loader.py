from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.data import Augment, DataError, Dataset, Loader, Normalization, load, normalization
from minicnn.data import normalize as normalize_images
from minicnn.data.cut import cut_moved, cut_shifted

PLAIN = Normalization((0.0,), (1 / 255,))  # a pixel becomes its own value


def numbered(n: int, h: int = 3, w: int = 2, c: int = 1) -> Dataset:
    """A data set in which every image is another, and label i belongs to image i."""
    images = np.random.default_rng(n).integers(0, 256, (n, h, w, c), dtype=np.uint8)
    return Dataset("numbered", images, np.arange(n), tuple(map(str, range(n))))


def formula(images: np.ndarray, mean: Any, std: Any) -> np.ndarray:
    """(n, h, w, c) bytes to (n, c, h, w) float32, in one line of NumPy."""
    return (
        ((images / 255 - np.array(mean)) / np.array(std)).astype(np.float32).transpose(0, 3, 1, 2)
    )


def equal(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(x, u) and np.array_equal(y, v)
        for (x, y), (u, v) in zip(one, other, strict=True)
    )


sizes = st.integers(1, 40)
augments = st.none() | st.builds(Augment, st.integers(0, 1), st.floats(0, 180), st.booleans())


@given(
    n=sizes, batch_size=st.integers(1, 50), h=st.integers(1, 5), w=st.integers(1, 5),
    c=st.integers(1, 3), shuffle=st.booleans(), seed=st.integers(0, 2**40), epoch=st.integers(0, 9),
)  # fmt: skip
def test_an_epoch_has_every_image_once(n, batch_size, h, w, c, shuffle, seed, epoch):
    data = numbered(n, h, w, c)
    numbers = Normalization((0.1, 0.5, 0.9)[:c], (0.2, 0.3, 2.0)[:c])
    loader = Loader(data, batch_size, normalization=numbers, shuffle=shuffle, seed=seed)
    batches = list(loader.batches(epoch))
    labels = np.concatenate([y for _, y in batches])
    assert sorted(labels.tolist()) == list(range(n))
    assert shuffle or labels.tolist() == list(range(n))
    for x, y in batches:
        np.testing.assert_array_equal(x, formula(data.images[y], *numbers))


@given(n=sizes, batch_size=st.integers(1, 50), drop_last=st.booleans())
def test_sizes_of_the_batches(n, batch_size, drop_last):
    expected = [batch_size] * (n // batch_size)
    if n % batch_size and not drop_last:
        expected.append(n % batch_size)
    options: dict[str, Any] = {"normalization": PLAIN, "drop_last": drop_last}
    if not expected:
        with pytest.raises(DataError, match=f"a batch of {batch_size} is larger .* {n} images"):
            Loader(numbered(n), batch_size, **options)
        return
    loader = Loader(numbered(n), batch_size, **options)
    assert [len(y) for _, y in loader.batches()] == expected
    assert len(loader) == len(expected)


@given(
    n=sizes, batch_size=st.integers(1, 10), seed=st.integers(0, 9), epoch=st.integers(0, 9),
    augment=augments, data=st.data(),
)  # fmt: skip
def test_start_skips_batches(n, batch_size, seed, epoch, augment, data):
    def loader() -> Loader:
        return Loader(
            numbered(n), batch_size, normalization=PLAIN, shuffle=True, seed=seed, augment=augment
        )

    start = data.draw(st.integers(0, len(loader())))
    whole = list(loader().batches(epoch))
    assert equal(list(loader().batches(epoch, start)), whole[start:])


@pytest.mark.parametrize("augment", [None, Augment(1, 30.0)])
def test_seed_epoch_and_batch_change_what_is_drawn(augment):
    data = numbered(60)

    def batches(seed: int, epoch: int) -> list:
        options: dict[str, Any] = {"normalization": PLAIN, "shuffle": True, "augment": augment}
        return list(Loader(data, 20, seed=seed, **options).batches(epoch))

    assert equal(batches(3, 4), batches(3, 4))
    for other in (batches(3, 5), batches(4, 4), batches(4, 3)):
        assert not equal(batches(3, 4), other)


@pytest.mark.parametrize("augment", [Augment(1), Augment(rotate=30.0), Augment(flip=True)])
def test_the_seed_changes_the_moves_alone_as_well(augment):
    data = numbered(60)

    def batches(seed: int) -> list:
        return list(Loader(data, 20, normalization=PLAIN, seed=seed, augment=augment).batches())

    assert equal(batches(3), batches(3))
    assert not equal(batches(3), batches(4))


def test_moves_are_drawn_anew_for_each_batch_and_epoch():
    same = Dataset(
        "same", np.tile(numbered(1, 9, 9).images, (40, 1, 1, 1)), np.zeros(40, np.int64), ("a",)
    )
    loader = Loader(same, 20, normalization=PLAIN, augment=Augment(3, 20.0))
    drawn = [x for epoch in (0, 1) for x, _ in loader.batches(epoch)]
    assert len({x.tobytes() for x in drawn}) == 4


def test_batches_are_fresh_and_have_their_channels_last_in_memory():
    data = numbered(8, 4, 5, 3)
    before = data.images.copy()
    loader = Loader(data, 4, normalization=Normalization((0.0,) * 3, (1.0,) * 3))
    x, y = next(loader.batches())
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((4, 3, 4, 5), np.float32, (4,), np.int64)
    assert x.transpose(0, 2, 3, 1).flags.c_contiguous
    kept = x.copy()
    x[:], y[:] = -1, -1
    again, labels = next(loader.batches())
    np.testing.assert_array_equal(again, kept)
    assert labels.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(data.images, before)


def test_frozen_and_strided_images_are_read_as_well():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 2), dtype=np.uint8)[:, :, ::2]
    images.flags.writeable = False
    data = Dataset("frozen", images, np.zeros(3, np.int64), ("one",))
    numbers = Normalization((0.5, 0.25), (0.5, 2.0))
    x, _ = next(Loader(data, 3, normalization=numbers).batches())
    np.testing.assert_array_equal(x, formula(images, *numbers))
    np.testing.assert_array_equal(normalize_images(images, numbers), x)


def test_normalised_training_images_have_mean_0_and_std_1():
    train = load("digits").train
    loader = Loader(train, 100, normalization=normalization(train), shuffle=True)
    x = np.concatenate([x for x, _ in loader.batches()]).astype(np.float64)
    assert len(x) == len(train)
    assert abs(x.mean()) < 1e-6
    assert abs(x.std() - 1) < 1e-6


# ----------------------------------------------------------------------------------- augmentation


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Move (h, w, c) by whole pixels, black behind."""
    h, w, _ = image.shape
    out = np.zeros_like(image)
    rows = [(i, i + down) for i in range(h) if 0 <= i + down < h]
    columns = [(j, j + right) for j in range(w) if 0 <= j + right < w]
    for i, k in rows:
        for j, m in columns:
            out[k, m] = image[i, j]
    return out


def moved(
    images: np.ndarray, angle: float, down: int = 0, right: int = 0, mirror: bool = False
) -> np.ndarray:
    """Pixel values (n, h, w, c) as float32, all moved alike; the angle is in degrees."""
    out = np.empty(images.shape, np.float32)
    one = [mirror, math.cos(math.radians(angle)), math.sin(math.radians(angle)), down, right]
    table = np.tile(np.arange(256, dtype=np.float32), (images.shape[3], 1))
    cut_moved(images, np.arange(len(images)), np.array([one] * len(images)), table, out)
    return out


@given(n=sizes, h=st.integers(1, 6), w=st.integers(1, 6), c=st.integers(1, 3))
def test_augmenting_by_nothing_is_the_identity(n, h, w, c):
    numbers = Normalization((0.1, 0.5, 0.9)[:c], (0.2, 0.3, 2.0)[:c])
    options: dict[str, Any] = {"normalization": numbers, "shuffle": True}
    data = numbered(n, h, w, c)
    plain = list(Loader(data, 7, **options).batches())
    assert equal(list(Loader(data, 7, augment=Augment(), **options).batches()), plain)


@given(seed=st.integers(0, 999), c=st.integers(1, 3))
def test_a_shift_moves_by_whole_pixels(seed, c):
    data = numbered(5, 6, 7, c)
    numbers = Normalization((0.1, 0.5, 0.9)[:c], (0.2, 0.3, 2.0)[:c])
    loader = Loader(data, 5, normalization=numbers, seed=seed, augment=Augment(shift=2))
    for x, y in loader.batches():
        for image, label in zip(x, y, strict=True):
            candidates = [
                shifted(data.images[label], down, right)
                for down in range(-2, 3)
                for right in range(-2, 3)
            ]
            matches = [
                np.array_equal(image, one) for one in formula(np.stack(candidates), *numbers)
            ]
            assert sum(matches) == 1


def test_all_shifts_and_no_others_are_drawn():
    dot = np.zeros((1, 9, 9, 1), np.uint8)
    dot[0, 4, 4] = 255
    data = Dataset("dot", np.tile(dot, (600, 1, 1, 1)), np.zeros(600, np.int64), ("dot",))
    x, _ = next(Loader(data, 600, normalization=PLAIN, augment=Augment(shift=2)).batches())
    _, _, rows, columns = np.nonzero(x)
    assert set(zip(rows, columns, strict=True)) == {
        (i, j) for i in range(2, 7) for j in range(2, 7)
    }


@given(
    size=st.integers(1, 8), turns=st.integers(-4, 4), down=st.integers(-9, 9),
    right=st.integers(-9, 9), c=st.integers(1, 3),
)  # fmt: skip
def test_quarter_turns_are_exact_and_come_before_the_shift(size, turns, down, right, c):
    images = numbered(2, size, size, c).images
    got = moved(images, 90.0 * turns, down, right)
    for image, out in zip(images, got, strict=True):
        expected = shifted(np.rot90(image, turns), down, right)  # counterclockwise
        np.testing.assert_allclose(out, expected, atol=1e-3)


@given(
    h=st.integers(1, 9), w=st.integers(1, 9), c=st.integers(1, 3), angle=st.floats(-180, 180),
    down=st.integers(-3, 3), right=st.integers(-3, 3),
)  # fmt: skip
def test_rotation_equals_torchvision(h, w, c, angle, down, right):
    torch = pytest.importorskip("torch")
    transforms = pytest.importorskip("torchvision.transforms.functional")
    images = numbered(2, h, w, c).images
    expected = transforms.affine(
        torch.from_numpy(images).permute(0, 3, 1, 2).double(),
        angle=-angle,  # clockwise there
        translate=[right, down],
        scale=1.0,
        shear=[0.0],
        interpolation=transforms.InterpolationMode.BILINEAR,
        fill=None,  # zeros outside
    )
    got = moved(images, angle, down, right)
    np.testing.assert_allclose(got, expected.permute(0, 2, 3, 1).numpy(), atol=1e-3)


def test_angles_fill_the_range_and_stay_inside():
    bar = np.zeros((1, 41, 41, 1), np.uint8)
    bar[0, 20, 20:] = 255  # from the centre to the right
    data = Dataset("bar", np.tile(bar, (300, 1, 1, 1)), np.zeros(300, np.int64), ("bar",))
    x, _ = next(Loader(data, 300, normalization=PLAIN, augment=Augment(rotate=30.0)).batches())
    i, j = np.mgrid[:41, :41] - 20
    up = -(x[:, 0] * i).sum(axis=(1, 2))
    angles = np.degrees(np.arctan2(up, (x[:, 0] * j).sum(axis=(1, 2))))
    assert np.abs(angles).max() < 30.5
    assert angles.min() < -28
    assert angles.max() > 28


@given(pad=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 999), c=st.integers(1, 3))
def test_a_shift_and_a_flip_are_a_crop_of_the_padded_image(pad, flip, seed, c):
    data = numbered(6, 5, 4, c)
    numbers = Normalization((0.1, 0.5, 0.9)[:c], (0.2, 0.3, 2.0)[:c])
    loader = Loader(
        data, 4, normalization=numbers, shuffle=True, seed=seed, augment=Augment(pad, flip=flip)
    )
    seen = []
    for x, y in loader.batches():
        for image, label in zip(x, y, strict=True):
            seen.append(label)
            source = data.images[label]
            candidates = []
            for one in (source, source[:, ::-1])[: 1 + flip]:
                padded = np.pad(one, ((pad, pad), (pad, pad), (0, 0)))
                corners = np.ndindex(2 * pad + 1, 2 * pad + 1)
                candidates += [padded[i : i + 5, j : j + 4] for i, j in corners]
            expected = formula(np.stack(candidates), *numbers)
            assert (image == expected).all(axis=(1, 2, 3)).any()
    assert sorted(seen) == list(range(6))


def test_half_of_the_images_are_flipped_whatever_their_shift():
    image = np.zeros((1, 9, 9, 1), np.uint8)
    image[0, 4, 3:5, 0] = 100, 200  # in the mirror 200, 100, in the columns 4 and 5
    n = 2000
    data = Dataset("pair", np.tile(image, (n, 1, 1, 1)), np.zeros(n, np.int64), ("pair",))
    x, _ = next(Loader(data, n, normalization=PLAIN, augment=Augment(2, flip=True)).batches())
    _, _, rows, columns = (x == 100).nonzero()
    flipped = (x == 200).nonzero()[3] < columns
    assert abs(flipped.mean() - 0.5) < 0.04  # 3.6 standard deviations
    for mirrored, middle in ((False, 3), (True, 5)):
        at = zip(rows[flipped == mirrored], columns[flipped == mirrored], strict=True)
        assert set(at) == {(i, j) for i in range(2, 7) for j in range(middle - 2, middle + 3)}


def test_a_flip_leaves_the_other_draws_as_they_are():
    data = numbered(40, 7, 7)
    for shift, rotate in ((2, 0.0), (2, 30.0)):
        plain, flipped = (
            Loader(data, 40, normalization=PLAIN, augment=Augment(shift, rotate, flip))
            for flip in (False, True)
        )
        x, u = (next(loader.batches())[0] for loader in (plain, flipped))
        same = (x == u).all(axis=(1, 2, 3))
        assert 10 < same.sum() < 30


@given(
    h=st.integers(1, 6), w=st.integers(1, 6), c=st.integers(1, 3), down=st.integers(-9, 9),
    right=st.integers(-9, 9), angle=st.floats(-180, 180), mirror=st.booleans(),
)  # fmt: skip
def test_the_flip_comes_first(h, w, c, down, right, angle, mirror):
    images = numbered(2, h, w, c).images
    source = images[:, :, ::-1].copy() if mirror else images
    expected = moved(source, angle, down, right)
    np.testing.assert_array_equal(moved(images, angle, down, right, mirror), expected)


@given(
    h=st.integers(1, 6), w=st.integers(1, 6), c=st.integers(1, 3), down=st.integers(-9, 9),
    right=st.integers(-9, 9), mirror=st.booleans(),
)  # fmt: skip
def test_without_a_rotation_both_kernels_are_equal(h, w, c, down, right, mirror):
    images = numbered(2, h, w, c).images
    out = np.empty(images.shape, np.float32)
    table = np.tile(np.arange(256, dtype=np.float32), (c, 1))
    cut_shifted(images, np.arange(2), np.array([[mirror, down, right]] * 2), table, out)
    np.testing.assert_array_equal(out, moved(images, 0.0, down, right, mirror))


# ------------------------------------------------------------------------------------ prefetching


@given(
    n=sizes, batch_size=st.integers(1, 10), prefetch=st.integers(1, 4), epoch=st.integers(0, 9),
    augment=augments, data=st.data(),
)  # fmt: skip
def test_batches_cut_ahead_are_the_same(n, batch_size, prefetch, epoch, augment, data):
    def batches(prefetch: int) -> list:
        loader = Loader(
            numbered(n), batch_size, normalization=PLAIN, shuffle=True, augment=augment,
            prefetch=prefetch,
        )  # fmt: skip
        return list(loader.batches(epoch, start))

    start = data.draw(st.integers(0, -(-n // batch_size)))
    assert equal(batches(prefetch), batches(0))


def test_an_error_in_the_loader_is_passed_on(monkeypatch):
    def broken(*args: Any) -> None:
        raise MemoryError("no room for a batch")

    monkeypatch.setattr("minicnn.data.loader.cut", broken)
    with pytest.raises(MemoryError, match="no room for a batch"):
        next(Loader(numbered(8), 4, normalization=PLAIN, prefetch=2).batches())


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"batch_size": 0}, ValueError, "Loader: batch_size must be at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "Loader: batch_size must be an integer, got 2.5"),
        ({"seed": -1}, ValueError, "Loader: seed must be at least 0, got -1"),
        (
            {"batch_size": 9, "drop_last": True},
            DataError,
            "numbered: a batch of 9 is larger than the data, 8 images, .* at most 8",
        ),
        (
            {"normalization": Normalization((0.0,) * 3, (1.0,) * 3)},
            DataError,
            "the images have 1 channels but the normalization is for 3",
        ),
        (
            {"normalization": Normalization((0.0,), (0.0,))},
            DataError,
            r"normalize: std must be greater than 0, got \(0.0,\). Use 1 for a channel that is",
        ),
        ({"normalization": Normalization((0.0,), (math.nan,))}, DataError, "got .nan"),
        ({"prefetch": -1}, ValueError, "Loader: prefetch must be at least 0, got -1"),
        ({"augment": Augment(shift=-1)}, ValueError, "Augment: shift must be at least 0, got -1"),
        ({"augment": Augment(shift=2)}, ValueError, "Augment: a shift of 2 pixels .* at most 1"),
        ({"augment": Augment(rotate=-5.0)}, ValueError, "Augment: rotate must be .*, got -5"),
        ({"augment": Augment(rotate=math.nan)}, ValueError, "Augment: rotate must be .*, got nan"),
    ],
)
def test_options_out_of_range(options, kind, message):
    with pytest.raises(kind, match=message):
        Loader(numbered(8), **{"batch_size": 4, "normalization": PLAIN, **options})


def test_no_images():
    empty = numbered(3).subset(np.zeros(0, np.int64))
    with pytest.raises(DataError, match="numbered: there are no images"):
        Loader(empty, 1, normalization=PLAIN)


@pytest.mark.parametrize("start", [-1, 3])
def test_a_start_outside_of_the_epoch(start):
    loader = Loader(numbered(8), 4, normalization=PLAIN)
    with pytest.raises(ValueError, match=f"within the 2 batches of an epoch, got {start}"):
        loader.batches(start=start)
