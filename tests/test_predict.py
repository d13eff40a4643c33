"""``minicnn predict`` with pictures of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn import checkpoint, data, models, predict, train
from minicnn.cli import main
from minicnn.recipes import recipe_for
from tests.arrays import trains
from tests.data.handwriting import Scene, any_scene, photographed, placed, written


@pytest.fixture
def run_of(tmp_path):
    """Make the folder of a run on some data, its weights as they were drawn."""

    def make(name: str, image: tuple[int, int, int], classes: list[str], **of_data) -> Path:
        model = "lenet5" if image == (1, 28, 28) else "resnet20"
        folder = tmp_path / "run"
        folder.mkdir()
        network = models.create(model, len(classes), rng=np.random.default_rng(0))
        checkpoint.save(folder / "model.safetensors", network.state_dict(), {})
        c = image[0]
        content = {
            "minicnn": "0",
            "recipe": recipe_for(model, name).as_json(),
            "data_dir": None,
            "data": {"classes": classes, "image": list(image), "mean": [0.1] * c,
                     "std": [0.3] * c, **of_data},
        }  # fmt: skip
        checkpoint.write_json(folder / "config.json", content)
        return folder

    return make


@pytest.fixture
def digits(run_of) -> Path:
    return run_of("mnist", (1, 28, 28), list("0123456789"))


def drawn(digit: int, **scene) -> np.ndarray:
    rng = np.random.default_rng(digit)
    return photographed(written(digit, rng, 180, 0.08), Scene(**scene), rng, (60, 90))


def lines(capsys) -> tuple[list[str], list[str]]:
    out, err = capsys.readouterr()
    return out.splitlines(), [line for line in err.splitlines() if "compiling" not in line]


def test_a_bad_file_does_not_stop_the_others(digits, tmp_path, capsys):
    Image.fromarray(drawn(3)).save(tmp_path / "three.jpg")
    Image.fromarray(drawn(5)).save(tmp_path / "five.png")
    Image.new("L", (300, 200), 250).save(tmp_path / "blank.png")
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    names = ("three.jpg", "blank.png", "missing.png", "text.png", "five.png")
    assert main(["predict", str(digits), *(str(tmp_path / name) for name in names)]) == 2
    out, err = lines(capsys)
    assert [line.split()[0] for line in out] == [str(tmp_path / n) for n in (names[0], names[4])]
    assert all(line.split()[1] in "0123456789" for line in out)
    assert all("(dark ink at rows " in line for line in out)
    said = ("no digit is visible", "there is no file", "is not an image of a supported kind")
    for line, text, name in zip(err, said, names[1:4], strict=True):
        assert line.startswith("minicnn predict: ")
        assert name in line
        assert text in line


def test_a_folder_is_its_images(digits, tmp_path, capsys):
    for name in ("b/2.png", "a.png", ".hidden.png", "@eaDir/a.png"):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(2)).save(path)
    (tmp_path / "mine" / "notes.txt").write_text("no image", encoding="utf-8")
    assert main(["predict", str(digits), str(tmp_path / "mine")]) == 0
    out, err = lines(capsys)
    assert [Path(line.split()[0]).name for line in out] == ["a.png", "2.png"]
    assert not err
    (tmp_path / "empty").mkdir()
    two = [str(tmp_path / "mine" / "a.png")] * 2
    assert main(["predict", str(digits), str(tmp_path / "empty"), *two]) == 2
    out, err = lines(capsys)
    assert [line.split()[0] for line in out] == two  # a file given twice has two lines
    assert "empty: there is no image in this folder. Put images" in err[0]


def test_the_network_sees_the_prepared_digit(digits, tmp_path):
    path = tmp_path / "six.png"
    Image.fromarray(drawn(6, paper=(20, 20, 20), ink=(250, 250, 250))).save(path)
    _, config = train.load_model(digits)
    seen = predict.see(path, config)
    assert seen.done.startswith("light ink at rows ")
    np.testing.assert_array_equal(seen.image[..., 0], data.prepare_digit(seen.picture).image)
    inverted = predict.see(path, config, invert=True)
    assert inverted.done.startswith("dark ink at rows ")
    assert np.abs(inverted.image.astype(int) - seen.image).mean() < 3
    with pytest.raises(data.DataError, match=r"six.png is 400x400 pixels .* 28x28 is needed"):
        predict.see(path, config, as_is=True)
    Image.fromarray(seen.image[..., 0]).save(path)
    assert predict.see(path, config).done == "left as it is"
    assert predict.see(path, config, as_is=True).done == ""
    for as_is in (False, True):
        np.testing.assert_array_equal(predict.see(path, config, as_is=as_is).image, seen.image)


def test_a_turned_photo_is_turned_back(digits, tmp_path):
    _, config = train.load_model(digits)
    upright = Image.fromarray(drawn(6))
    exif = Image.Exif()
    exif[0x0112] = 3
    upright.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "six.png")
    turned, six = (predict.see(tmp_path / name, config) for name in ("turned.png", "six.png"))
    np.testing.assert_array_equal(turned.picture, six.picture)
    np.testing.assert_array_equal(turned.image, six.image)


def test_mnist_through_files_is_predicted_as_from_memory(digits, tmp_path, real_mnist):
    images = data.mnist.load("mnist", real_mnist)[1].images[:200]
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i:04}.png")
    model, config = train.load_model(digits)
    files = predict.files_of([tmp_path])[: len(images)]
    seen = [predict.see(path, config) for path in files if path.parent == tmp_path]
    np.testing.assert_array_equal([one.image for one in seen], images)
    assert {one.done for one in seen} == {"left as it is"}
    got = predict.probabilities(model, config, [one.image for one in seen])
    np.testing.assert_array_equal(got, predict.probabilities(model, config, list(images)))


def test_other_runs_get_the_middle(run_of, tmp_path, capsys):
    folder = run_of("cifar10", (3, 32, 32), [f"c{i}" for i in range(10)])
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(small).save(tmp_path / "small.png")
    wide = np.concatenate([np.zeros_like(small), small, np.zeros_like(small)], axis=1)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(small.repeat(3, axis=0).repeat(3, axis=1)).save(tmp_path / "large.png")
    _, config = train.load_model(folder)
    seen = {n: predict.see(tmp_path / f"{n}.png", config) for n in ("small", "wide", "large")}
    np.testing.assert_array_equal(seen["small"].image, small)
    np.testing.assert_array_equal(seen["wide"].image, small)
    assert seen["small"].done == "left as it is"
    assert seen["wide"].done == "32x96 resized, its middle cut to 32x32"
    assert np.abs(seen["large"].image.astype(int) - small).mean() < 40  # mixed a little at edges
    assert main(["predict", str(folder), str(tmp_path / "wide.png"), "--top", "1"]) == 0
    assert lines(capsys)[0][0].endswith("(32x96 resized, its middle cut to 32x32)")


def test_an_image_of_the_right_size_is_enlarged_where_the_run_says_so(run_of, tmp_path):
    folder = run_of("cifar10", (3, 32, 32), [f"c{i}" for i in range(10)], shorter_side=40)
    small = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(small).save(tmp_path / "small.png")
    _, config = train.load_model(folder)
    seen = predict.see(tmp_path / "small.png", config)
    np.testing.assert_array_equal(seen.picture, small)
    assert (seen.image != small).any()
    assert seen.done == "32x32 resized, its middle cut to 32x32"


@pytest.mark.slow
def test_what_the_network_saw_is_drawn(digits, tmp_path, capsys):
    for i in range(3):
        Image.fromarray(drawn(i)).save(tmp_path / f"{i}.png")
    files = [str(tmp_path / f"{i}.png") for i in range(3)]
    assert main(["predict", str(digits), *files, "--show", str(tmp_path / "seen.png")]) == 0
    out, err = lines(capsys)
    assert len(out) == 3
    assert err == [f"drawn in {tmp_path / 'seen.png'}"]
    with Image.open(tmp_path / "seen.png") as drawing:
        assert drawing.width == 1200
    assert main(["predict", str(digits), files[0], "--show", str(tmp_path / "seen.jpg")]) == 2
    assert "seen.jpg must end in .png" in lines(capsys)[1][0]


@pytest.mark.slow
@trains
def test_of_50_photographed_digits_48_are_right(real_mnist, tmp_path, capsys):
    """By ``predict RUN FOLDER`` alone: strokes of a pen, in every light and on every paper."""
    run, folder = tmp_path / "run", tmp_path / "photos"
    train.fit("lenet5", "mnist", out=run, epochs=1, data_dir=real_mnist, progress=False)
    folder.mkdir()
    rng = np.random.default_rng(11)
    for i in range(50):
        scene, digit = any_scene(rng), int(rng.integers(10))
        height = int(min(scene.h, scene.w) * rng.uniform(0.3, 0.6))
        ink = written(digit, rng, height, rng.uniform(0.045, 0.13))
        picture = photographed(ink, scene, rng, placed(ink.shape, scene, rng))
        Image.fromarray(picture).save(folder / f"{i:03}-{digit}.png")
    capsys.readouterr()
    main(["predict", str(run), str(folder), "--top", "1"])
    lines = capsys.readouterr().out.splitlines()
    names = [Path(line.split()[0]).stem for line in lines]
    assert len(set(names)) == len(lines)
    right = sum(name[-1] == line.split()[1] for name, line in zip(names, lines, strict=True))
    assert right >= 48  # one that is refused is not right
