"""Folders and zips as people have them: parts, small classes, kinds of files, names."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn.data import DataError, load, read_image
from minicnn.data.class_folders import SUFFIXES
from minicnn.data.images import FORMATS, cut_to
from tests.data.zips import of_classes, packed


def picture(path: Path, value: int = 0, size: tuple[int, int] = (6, 4), mode: str = "L") -> Path:
    """Save an image of one grey, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).convert(mode).save(path)
    return path


def classes(folder: Path, **numbers: int) -> Path:
    for name, n in numbers.items():
        for i in range(n):
            picture(folder / name / f"{i:02}.png", i)
    return folder


def name_of(path: Path) -> str:
    return f"imagefolder:{path}"


# -------------------------------------------------------------------------------- kinds of files


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_is_read_the_right_way_up(tmp_path, suffix):
    wide = np.zeros((16, 32), np.uint8)
    wide[:, :16] = 255
    path = tmp_path / f"a{suffix}"
    Image.fromarray(wide).save(path)
    pixels = read_image(path, (16, 32), 1)
    assert pixels[8, 4, 0] > 250
    assert pixels[8, 28, 0] < 5


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_says_how_an_image_is_turned(tmp_path, form, orientation):
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :16], upright[:8, 16:], upright[8:, :16] = 255, 170, 85
    back = {  # what undoes the turn that the number stands for
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: np.transpose, 6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if form == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(back(upright)))
    stored.save(tmp_path / "a.png", format=form, exif=exif, **lossless)
    got = read_image(tmp_path / "a.png", (16, 32), 1)[..., 0].astype(int)
    assert np.abs(got - upright).max() <= (8 if form == "JPEG" else 0)


def test_of_several_frames_the_first_is_read(tmp_path):
    frames = [Image.new("L", (6, 4), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.gif", (4, 6), 1) == 10).all()
    assert "GIF" in FORMATS


@pytest.mark.parametrize(
    ("head", "deep"),
    [(b"P6 2 2 65535\n", True), (b"P6\n# 65535\n2 2\n255\n", False), (b"P6 2\n#\n2\n1023\n", True)],
)
def test_a_ppm_of_16_bits_is_not_cut_to_8(tmp_path, head, deep):
    (tmp_path / "a.ppm").write_bytes(head + bytes(24))
    if deep:
        with pytest.raises(DataError, match="16 bits to a pixel"):
            read_image(tmp_path / "a.ppm", None, 3)
    else:
        assert read_image(tmp_path / "a.ppm", None, 3).shape == (2, 2, 3)


def test_grey_saved_as_rgb_is_grey(tmp_path):
    for i in range(8):
        picture(tmp_path / f"{'ab'[i % 2]}/{i}.png", 20 * i, mode="RGB" if i % 3 else "RGBA")
    assert load(name_of(tmp_path)).train.images.shape[1:] == (4, 6, 1)
    picture(tmp_path / "a/9.png").unlink()
    Image.new("RGB", (6, 4), (9, 9, 8)).save(tmp_path / "a/9.png")
    assert load(name_of(tmp_path)).train.images.shape[1:] == (4, 6, 3)


def test_what_is_passed_over_is_told(tmp_path):
    classes(tmp_path, a=6, b=6)
    (tmp_path / "a/notes.txt").write_text("x", encoding="utf-8")
    (tmp_path / "b/page.pdf").write_text("x", encoding="utf-8")
    picture(tmp_path / "b/inner/1.png")
    (tmp_path / "b/bad.jpg").write_bytes(b"x")
    (tmp_path / "a/Thumbs.db").write_bytes(b"x")
    picture(tmp_path / "@eaDir/1.png")
    picture(tmp_path / "a/@eaDir/1.png")
    picture(tmp_path / "__MACOSX/1.png")
    splits = load(name_of(tmp_path))
    assert splits.train.classes == ("a", "b")
    assert sum(map(len, splits)) == 12
    assert splits.train.notes[0].startswith(
        "passed over: 2 files of another ending (1 .pdf, 1 .txt); 1 folder inside class folders "
        "(b/inner); 1 image that cannot be read (b/bad.jpg). "
    )


def test_images_and_folders_that_belong_nowhere_are_told(tmp_path):
    for part in ("train", "test"):
        classes(tmp_path / part, a=5, b=5)
    picture(tmp_path / "loose.png")
    picture(tmp_path / "train/loose.png")
    (tmp_path / "train/read.me").write_text("x", encoding="utf-8")
    picture(tmp_path / "unsorted/1.png")
    assert load(name_of(tmp_path)).train.notes == (
        "passed over: 1 file of another ending (1 .me); 2 images in no class folder (loose.png, "
        "train/loose.png); 1 folder that is no part (unsorted)",
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.mkdir(), "it is empty. Put images of this class into it."),
        (
            lambda p: (p.mkdir(), (p / "1.heic").write_text("x", encoding="utf-8")),
            "it holds 1 .heic file. Convert",
        ),
        (lambda p: picture(p / "c/1.png"), r"it holds 1 folder \(x/c\). If these are the classes"),
    ],
)
def test_a_class_folder_without_images_says_what_is_in_it(tmp_path, make, message):
    classes(tmp_path, a=6)
    make(tmp_path / "x")
    with pytest.raises(DataError, match=message) as error:
        load(name_of(tmp_path))
    assert "remove" not in str(error.value)


# ---------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("held", ["valid", "val", "validation", "Valid"])
def test_the_middle_part_is_the_validation_part(tmp_path, held):
    for part, n in (("train", 5), (held, 2), ("test", 3)):
        classes(tmp_path / part, a=n, b=n)
    assert [len(part) for part in load(name_of(tmp_path))] == [10, 4, 6]


@pytest.mark.parametrize("n", range(3, 9))
def test_a_part_that_is_set_apart_has_every_class(tmp_path, n):
    splits = load(name_of(classes(tmp_path, a=n, b=60)))
    for part in splits:
        assert set(part.labels) == {0, 1}
    assert sum(map(len, splits)) == n + 60


def test_a_class_that_is_too_small_is_told_with_how_many_are_needed(tmp_path):
    with pytest.raises(DataError, match=r"too few images of a \(2\) to set some apart for test: 3"):
        load(name_of(classes(tmp_path, a=2, b=60)))


# ---------------------------------------------------------------------------------------- sizes


def test_images_of_different_sizes_are_cut_to_one(tmp_path):
    for i in range(12):
        picture(tmp_path / f"{'ab'[i % 2]}/{i}.png", 20 * i, (30 + 5 * i, 40))
    with pytest.raises(DataError, match="--size PIXELS resizes and cuts them"):
        load(name_of(tmp_path))
    train = load(name_of(tmp_path), size=16).train
    assert train.images.shape[1:] == (16, 16, 1)
    assert {int(image.min()) for image in train.images} == {int(i.max()) for i in train.images}
    with pytest.raises(DataError, match="--size and --zip-encoding are for imagefolder"):
        load("digits", size=16)


@pytest.mark.parametrize("size", [(30, 50), (7, 90), (64, 16), (200, 201)])
@pytest.mark.parametrize("whole", [2**22, 0])
def test_the_middle_is_that_of_the_whole_resized(size, whole, monkeypatch):
    monkeypatch.setattr("minicnn.data.images.WHOLE", whole)
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    factor = 16 / min(size)
    large = image.resize(
        (round(size[1] * factor), round(size[0] * factor)), Image.Resampling.BILINEAR
    )
    left, top = round((large.width - 16) / 2), round((large.height - 16) / 2)
    expected = np.asarray(large)[top : top + 16, left : left + 16].astype(int)
    assert np.abs(np.asarray(cut_to(image, (16, 16))) - expected).max() <= 1


def test_a_long_narrow_image_is_cut_without_resizing_the_whole():
    image = Image.new("RGB", (50_000, 2), (200, 100, 50))
    assert (np.asarray(cut_to(image, (64, 64))) == (200, 100, 50)).all()


def test_the_middle_is_cut_out(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255, 0, 0
    for i in range(8):
        path = picture(tmp_path / f"{'ab'[i % 2]}/{i}.png")
        Image.fromarray(wide).save(path)
    assert (load(name_of(tmp_path), size=8).train.images == (255, 0, 0)).all()


# ---------------------------------------------------------------------------------------- names


def test_names_in_utf_8_need_no_flag(tmp_path):
    path = packed(tmp_path / "pets.zip", of_classes(("고양이", "猫"), "utf-8"))
    assert load(name_of(path)).train.classes == ("猫", "고양이")


@pytest.mark.parametrize(
    ("encoding", "names"),
    [("cp949", ("강아지", "고양이")), ("cp932", ("犬", "猫")), ("shift_jis", ("いぬ", "ねこ"))],
)
def test_names_in_other_codes_are_asked_for(tmp_path, encoding, names):
    path = packed(tmp_path / "pets.zip", of_classes(names, encoding))
    with pytest.raises(DataError, match="does not say in which encoding its names are") as error:
        load(name_of(path))
    right = "cp932" if encoding == "shift_jis" else encoding
    assert f"{names[0]}/000000.png (--zip-encoding {right})" in str(error.value)
    assert load(name_of(path), zip_encoding=encoding).train.classes == names
    with pytest.raises(DataError, match="klingon is not an encoding"):
        load(name_of(path), zip_encoding="klingon")
    with pytest.raises(DataError, match="has names that are not in ascii"):
        load(name_of(path), zip_encoding="ascii")


def test_composed_and_decomposed_names_are_one(tmp_path):
    for part, form in (("train", "NFC"), ("test", "NFD")):
        for name in ("고양이", "école"):
            for i in range(4):
                picture(tmp_path / part / unicodedata.normalize(form, name) / f"{i}.png", i)
    splits = load(name_of(tmp_path))
    assert splits.train.classes == splits.test.classes == ("école", "고양이")
    assert all(unicodedata.is_normalized("NFC", name) for name in splits.train.classes)


def test_names_that_are_no_utf_8_are_text(tmp_path):
    raw = b"caf\xe9".decode("utf-8", "surrogateescape")
    try:
        classes(tmp_path, **{raw: 4, "tea": 4})
    except OSError:
        pytest.skip("this file system takes no such names")
    assert load(name_of(tmp_path)).train.classes == ("caf\\xe9", "tea")


def test_the_code_of_a_zip_is_not_for_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"--zip-encoding klingon is for a zip, .* Leave it out"):
        load(name_of(classes(tmp_path, a=6, b=6)), zip_encoding="klingon")
