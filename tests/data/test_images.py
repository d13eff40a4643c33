from __future__ import annotations

import errno
import os
import struct
import time
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn.data import DataError, images, load, read_image

RNG = np.random.default_rng(0)


def grey(h: int = 4, w: int = 6) -> np.ndarray:
    return RNG.integers(0, 256, (h, w), dtype=np.uint8)


def colour(h: int = 4, w: int = 6) -> np.ndarray:
    return RNG.integers(0, 256, (h, w, 3), dtype=np.uint8)


@pytest.fixture
def pets(tmp_path, save_image) -> Path:
    """Ten grey images of cats and ten of dogs, PNG."""
    for i in range(20):
        save_image(tmp_path / "pets" / ("dog" if i % 2 else "cat") / f"{i:02}.png", grey())
    return tmp_path / "pets"


def pixels(path: Path) -> bytes:
    return np.asarray(Image.open(path)).tobytes()


def test_class_folders_are_divided_into_parts(pets):
    splits = load(f"imagefolder:{pets}")
    assert splits.train.name == f"imagefolder:{pets}"
    assert splits.train.classes == ("cat", "dog")
    assert [len(part) for part in splits] == [14, 2, 4]
    for part in splits:
        assert part.images.shape[1:] == (4, 6, 1)
        assert np.bincount(part.labels).tolist() == [len(part) // 2] * 2
    for label, name in enumerate(splits.train.classes):
        got = [bytes(image) for p in splits for image in p.images[p.labels == label]]
        assert sorted(got) == sorted(pixels(path) for path in (pets / name).iterdir())


def test_the_test_part_does_not_depend_on_the_seed(pets):
    first, second = (load(f"imagefolder:{pets}", seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(first.test.images, second.test.images)
    assert not np.array_equal(first.validation.images, second.validation.images)


@pytest.mark.parametrize("own", ["val", "validation"])
def test_beside_train_alone_val_is_the_test_part(tmp_path, save_image, own):
    for part, n in (("train", 6), (own, 2)):
        for name in ("a", "b"):
            for i in range(n):
                save_image(tmp_path / part / name / f"{i}.png", grey())
    splits = load(f"imagefolder:{tmp_path}")
    assert [len(part) for part in splits] == [10, 2, 4]
    assert {bytes(image) for image in splits.test.images} == {
        pixels(path) for path in (tmp_path / own).rglob("*.png")
    }


@pytest.mark.parametrize("own", [None, "val", "validation"])
def test_parts_that_the_folder_brings_are_kept(tmp_path, save_image, own):
    for part, n in (("train", 6), ("test", 2), (own, 3)):
        for name in ("a", "b"):
            for i in range(n if part else 0):
                save_image(tmp_path / str(part) / name / f"{i}.png", grey())
    splits = load(f"imagefolder:{tmp_path}")
    assert [len(part) for part in splits] == ([12, 6, 4] if own else [10, 2, 4])
    if own:
        with pytest.raises(DataError, match="has a validation part of its own, so a fraction of 0"):
            load(f"imagefolder:{tmp_path}", validation=0.5)
    assert {bytes(image) for image in splits.test.images} == {
        pixels(path) for path in (tmp_path / "test").rglob("*.png")
    }
    if own:
        assert splits.validation.labels.tolist() == [0] * 3 + [1] * 3


def test_one_colour_image_makes_all_rgb(pets, save_image):
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 200
    save_image(pets / "cat" / "red.png", red)
    splits = load(f"imagefolder:{pets}")
    images = np.concatenate([part.images for part in splits])
    assert images.shape == (21, 4, 6, 3)
    is_red = (images == red).all(axis=(1, 2, 3))
    assert is_red.sum() == 1
    rest = images[~is_red]
    assert (rest == rest[..., :1]).all()


def test_one_colour_image_in_another_part_makes_all_rgb(tmp_path, save_image):
    one = grey()
    for i in range(4):
        save_image(tmp_path / "train" / "a" / f"{i}.png", one)
        save_image(tmp_path / "train" / "b" / f"{i}.png", one)
    save_image(tmp_path / "test" / "a" / "0.png", one)
    three = colour()
    save_image(tmp_path / "test" / "b" / "0.png", three)
    splits = load(f"imagefolder:{tmp_path}")
    expected = np.stack([one] * 3, axis=2)
    for part in (splits.train, splits.validation):  # an array of 1 channel would be equal to these
        assert part.images.shape == (len(part), 4, 6, 3)
        np.testing.assert_array_equal(part.images, np.stack([expected] * len(part)))
    np.testing.assert_array_equal(splits.test.images, [expected, three])


def test_the_order_is_that_of_the_names_however_many_threads_read(
    tmp_path, save_image, monkeypatch
):
    monkeypatch.setattr(images, "THREADS", 5)
    monkeypatch.setattr(images, "BLOCK", 2)
    for i in range(60):  # the value of the pixels is the place in the order of the names
        save_image(tmp_path / f"{i // 20}" / f"{i:02}.png", np.full((1, 1), i, np.uint8))
    train, _, _ = images.load_folder("pets", tmp_path)
    assert train.images.ravel().tolist() == list(range(60))
    assert train.labels.tolist() == [i // 20 for i in range(60)]
    for i in (55, 9):  # of several that cannot be read the first in that order is told
        (tmp_path / f"{i // 20}" / f"{i:02}.png").write_bytes(b"no image")
    train, _, _ = images.load_folder("pets", tmp_path)
    assert train.images.ravel().tolist() == [i for i in range(60) if i not in (9, 55)]
    assert train.labels.tolist() == [i // 20 for i in range(60) if i not in (9, 55)]
    (note,) = train.notes
    assert note.startswith(
        "passed over: 2 images that cannot be read (0/09.png, 2/55.png). pets: "
        f"{tmp_path}/0/09.png is not an image"
    )


def test_jpegs_in_capitals_are_read_and_hidden_files_are_not(pets, save_image):
    save_image(pets / "cat" / "z.JPG", grey())
    (pets / "cat" / ".hidden.png").write_bytes(b"left behind by a file manager")
    (pets / "cat" / "notes.txt").write_text("no image", encoding="utf-8")
    (pets / ".cache").mkdir()
    splits = load(f"imagefolder:{pets}")
    assert sum(len(part) for part in splits) == 21
    assert splits.train.classes == ("cat", "dog")


def test_an_image_of_another_size_is_named(pets, save_image):
    odd = save_image(pets / "dog" / "07.png", grey(6, 4))
    with pytest.raises(DataError) as error:
        load(f"imagefolder:{pets}")
    assert str(error.value) == (
        f"imagefolder:{pets}: {odd} is 6x4 pixels (height x width) but {pets}/cat/00.png is 4x6. "
        "All images must have one size: --size PIXELS resizes and cuts them to it."
    )


def test_a_folder_train_without_one_to_test(pets, tmp_path):
    (tmp_path / "all").mkdir()
    pets.rename(tmp_path / "all/train")
    with pytest.raises(DataError, match=r"has a folder train, and none named test or val\. Add"):
        load(f"imagefolder:{tmp_path / 'all'}")
    assert load(f"imagefolder:{tmp_path / 'all/train'}").train.classes == ("cat", "dog")


def test_after_an_error_no_more_is_read(tmp_path, save_image, monkeypatch):
    monkeypatch.setattr(images, "THREADS", 1)
    monkeypatch.setattr(images, "BLOCK", 1)
    for i in range(60):
        save_image(tmp_path / "a" / f"{i:02}.png", grey(4, 6) if i != 3 else grey(6, 4))
    decode, decoded = images._pixels, []

    def slowly(image, channels):
        time.sleep(0.02)
        decoded.append(image.size)
        return decode(image, channels)

    monkeypatch.setattr(images, "_pixels", slowly)
    with pytest.raises(DataError, match=r"a/03.png is 6x4 pixels"):
        images.load_folder("pets", tmp_path)
    assert len(decoded) < 30


def test_both_names_of_the_validation_part_are_refused(tmp_path, save_image):
    for part in ("train", "test", "val", "validation"):
        save_image(tmp_path / part / "a" / "1.png", grey())
    with pytest.raises(DataError) as error:
        load(f"imagefolder:{tmp_path}")
    assert str(error.value) == (
        f"imagefolder:{tmp_path}: {tmp_path} has both a folder val and a folder validation. Keep "
        "one, or put the images of both into one."
    )


@pytest.mark.parametrize("mode", ["1", "LA", "P"])
def test_every_kind_of_grey_is_grey(pets, mode):
    original = Image.fromarray(grey())
    original.convert(mode).save(pets / "cat" / "other.png")
    train, _, _ = images.load_folder("pets", pets)
    assert train.images.shape == (21, 4, 6, 1)
    expected = np.asarray(original.convert(mode).convert("L"))
    np.testing.assert_array_equal(train.images[10, :, :, 0], expected)


def test_a_palette_of_colours_is_rgb(pets):
    three = np.zeros((4, 6, 3), np.uint8)
    three[0, 0] = 200, 0, 0
    Image.fromarray(three).quantize(4).save(pets / "cat" / "other.png")
    train, _, _ = images.load_folder("pets", pets)
    np.testing.assert_array_equal(train.images[10], three)


def test_a_palette_with_transparency_lies_on_white_paper(pets):
    palette = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).convert("P")
    palette.save(pets / "cat" / "other.png", transparency=bytes([0, 0]))  # of the first two colours
    train, _, _ = images.load_folder("pets", pets)
    assert train.images[10, 0, :, 0].tolist() == [255, 255, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["", "validation"])
def test_a_folder_that_may_not_be_read_is_named(tmp_path, save_image, monkeypatch, name):
    for part in ("train", "test", "validation"):
        save_image(tmp_path / part / "a" / "1.png", grey())
    scan = os.scandir

    def refuse(path):
        if str(path) == str(tmp_path / name):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError) as error:
        images.load_folder("pets", tmp_path)
    assert str(error.value) == (
        f"pets: {tmp_path / name} cannot be read (Permission denied). Allow yourself to read it, "
        "or choose another folder."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b"not an image", "bad.png is not an image of a supported kind (PNG, "),
        (lambda b: b"", "bad.png is not an image of a supported kind"),
        (lambda b: b[:-25], "bad.png cannot be read (image file is truncated"),
        (lambda b: b[:45] + bytes([b[45] ^ 255]) + b[46:], "bad.png cannot be read ("),
    ],
)
def test_an_unreadable_image_is_named(tmp_path, pets, save_image, change, message):
    bad = save_image(pets / "dog" / "bad.png", grey())
    bad.write_bytes(change(bad.read_bytes()))
    with pytest.raises(DataError) as error:
        read_image(bad, (4, 6), 1)
    assert f"{bad.parent}/{message}" in str(error.value)
    splits = load(f"imagefolder:{pets}")
    assert sum(len(part) for part in splits) == 20
    assert splits.train.notes[0].startswith(
        f"passed over: 1 image that cannot be read (dog/bad.png). imagefolder:{pets}: "
        f"{bad.parent}/{message}"
    )
    for good in bad.parent.glob("[0-9]*.png"):
        good.unlink()
    with pytest.raises(DataError, match=r"none of the 1 images of class dog in .*pets/dog can be"):
        load(f"imagefolder:{pets}")


def test_sixteen_bits_are_refused(pets):
    path = pets / "cat" / "deep.png"
    Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(path)
    (note,) = load(f"imagefolder:{pets}").train.notes
    assert "deep.png has 16 bits to a pixel. Convert it to 8 bits" in note


@pytest.mark.parametrize("kind", [0, 2, 4, 6])  # PNG's grey, RGB, and both with transparency
def test_sixteen_bits_of_every_kind_are_refused(tmp_path, kind):
    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 1, 1, 16, kind, 0, 0, 0)
    pixel = zlib.compress(bytes(1 + 2 * {0: 1, 2: 3, 4: 2, 6: 4}[kind]))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel)
    path = tmp_path / "deep.png"
    path.write_bytes(content + chunk(b"IEND", b""))
    with pytest.raises(DataError, match=r"deep.png has 16 bits to a pixel. Convert it to 8 bits"):
        read_image(path, (1, 1), 3)


def test_an_empty_class_folder_is_named(pets):
    (pets / "eel").mkdir()
    with pytest.raises(DataError, match=r"pets/eel has no image .*: it is empty\. Put"):
        load(f"imagefolder:{pets}")


def test_no_class_folders(tmp_path, save_image):
    save_image(tmp_path / "pile" / "1.png", grey())
    with pytest.raises(DataError, match=r"pile has no class folders, but 1 image without one\."):
        load(f"imagefolder:{tmp_path / 'pile'}")


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere. Give the path"):
        load(f"imagefolder:{tmp_path / 'nowhere'}")


def test_parts_with_other_classes(tmp_path, save_image):
    for path in ("train/a", "train/b", "test/a", "test/c"):
        save_image(tmp_path / path / "1.png", grey())
    with pytest.raises(DataError, match=r"train and .*test must have the same .* has b, c\. Add"):
        load(f"imagefolder:{tmp_path}")


def test_too_few_images(tmp_path, save_image):
    for path in ("a/1.png", "b/1.png"):
        save_image(tmp_path / path, grey())
    with pytest.raises(DataError, match=r"too few images of a \(1\), b \(1\) .*: 3 of each class"):
        load(f"imagefolder:{tmp_path}")


# ------------------------------------------------------------------------------------------- zips


def packed(folder: Path, path: Path, top: str = "") -> Path:
    """Pack the files of a folder, their names beginning with ``top``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, top + file.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize("top", ["", "pets/", "all/my/pets/"])
def test_a_zip_is_read_as_the_folder_that_was_packed(pets, tmp_path, top):
    path = packed(pets, tmp_path / "pets.zip", top)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/pets/cat/._00.png", b"left behind by a packer")
        archive.writestr(f"{top}.hidden/1.png", b"")
        archive.writestr(f"{top}cat/", b"")
    got, expected = load(f"imagefolder:{path}"), load(f"imagefolder:{pets}")
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.classes == other.classes


def test_the_parts_of_a_zip_are_kept(tmp_path, save_image):
    for part, n in (("train", 6), ("test", 2)):
        for name in ("a", "b"):
            for i in range(n):
                save_image(tmp_path / "images" / part / name / f"{i}.png", grey())
    path = packed(tmp_path / "images", tmp_path / "images.zip")
    assert [len(part) for part in load(f"imagefolder:{path}")] == [10, 2, 4]


def test_what_is_wrong_in_a_zip_is_named(pets, tmp_path):
    (pets / "dog" / "bad.png").write_bytes(b"no image")
    path = packed(pets, tmp_path / "pets.zip")
    (note,) = load(f"imagefolder:{path}").train.notes
    assert "pets.zip/dog/bad.png is not an image of a supported kind" in note
    (pets / "dog" / "bad.png").write_bytes(b"remember these bytes")
    with zipfile.ZipFile(path, "w") as archive:
        for file in ("cat/00.png", "dog/bad.png"):
            archive.write(pets / file, file)
    path.write_bytes(path.read_bytes().replace(b"remember", b"forgetme"))
    with pytest.raises(DataError, match=r"pets.zip/dog/bad.png cannot be read \(Bad CRC-32"):
        load(f"imagefolder:{path}")


def zipped(path: Path, names: list[str], method: int = zipfile.ZIP_STORED) -> Path:
    """Pack an image under each of these names."""
    png = BytesIO()
    Image.fromarray(grey()).save(png, "png")
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            archive.writestr(name, png.getvalue())
    return path


@pytest.mark.parametrize("form", ["/{}", "./{}", "//.//{}", "\\{}", ".\\pets/{}", "C\\pets\\{}"])
def test_names_in_a_zip_are_read_as_paths(tmp_path, form):
    names = [form.format(name) for name in ("cat/1.png", "cat/2.png", "dog/1.png")]
    if "\\" in form:
        names = [name.replace("/", "\\") for name in names]
    train, _, _ = images.load_folder("pets", zipped(tmp_path / "pets.zip", names))
    assert train.classes == ("cat", "dog")
    assert train.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("names", [["/"], ["./"], ["\\"], [], ["1.png"], ["//1.png"]])
def test_a_zip_without_class_folders(tmp_path, names):
    with pytest.raises(DataError, match=r"pets.zip has no class folders"):
        images.load_folder("pets", zipped(tmp_path / "pets.zip", names))


def test_damaged_names_and_packing_in_a_zip_are_named(tmp_path):
    path = zipped(tmp_path / "pets.zip", ["cät/1.png"])
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xff\xff"))
    with pytest.raises(DataError, match=r"pets.zip is neither a folder nor a zip that can be read"):
        images.load_folder("pets", path)
    path = zipped(tmp_path / "pets.zip", ["cat/1.png"], zipfile.ZIP_LZMA)
    content = bytearray(path.read_bytes())
    packed = 30 + len("cat/1.png") + 4  # behind the header comes LZMA's own, whose first byte...
    content[packed] = 255  # ... cannot be so large
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"pets.zip/cat/1.png cannot be read \("):
        images.load_folder("pets", path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_zip(tmp_path, content):
    path = tmp_path / "pets.zip"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"pets.zip is neither a folder nor a zip that can be read"):
        load(f"imagefolder:{path}")


# ----------------------------------------------------------------------------------- single images


def test_read_image(tmp_path, save_image):
    one, three = grey(), colour()
    path = save_image(tmp_path / "grey.png", one)
    np.testing.assert_array_equal(read_image(path, (4, 6), 1)[..., 0], one)
    np.testing.assert_array_equal(read_image(str(path), (4, 6), 3), np.stack([one] * 3, axis=2))
    path = save_image(tmp_path / "colour.png", three)
    np.testing.assert_array_equal(read_image(path, (4, 6), 3), three)
    luma = three @ [0.299, 0.587, 0.114]
    assert np.abs(read_image(path, (4, 6), 1)[..., 0] - luma).max() <= 1
    flat = np.full((8, 8), 77, np.uint8)  # which JPEG keeps
    path = save_image(tmp_path / "flat.jpeg", flat)
    np.testing.assert_array_equal(read_image(path, (8, 8), 1)[..., 0], flat)


def test_read_image_of_another_size(tmp_path, save_image):
    path = save_image(tmp_path / "large.png", grey(6, 4))
    with pytest.raises(DataError) as error:
        read_image(path, (28, 28), 1)
    assert str(error.value) == (
        f"read_image: {path} is 6x4 pixels (height x width) where 28x28 is needed. "
        "Crop or resize it to that size."
    )


def test_read_image_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"read_image: there is no file .*none.png"):
        read_image(tmp_path / "none.png", (28, 28), 1)


def test_read_image_with_an_odd_number_of_channels(tmp_path):
    with pytest.raises(ValueError, match="read_image: channels must be 1 or 3, got 2"):
        read_image(tmp_path / "any.png", (28, 28), 2)
