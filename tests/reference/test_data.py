"""Folders of images: divided, counted, measured, and cut into batches."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import minicnn.data
from minicnn.data import DataError, read_image
from reference.data import Batches, load, normalized, of_parts
from reference.data.command import main
from reference.data.examine import examine
from reference.data.files import list_files, read
from reference.presets import PRESETS, Recipe
from tests.data.zips import of_classes, packed
from tests.reference.conftest import write_images


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("target", ["links", "split.csv"])
def test_split_leaves_the_source_and_divides_every_class(animals, tmp_path, capsys, target) -> None:
    before = snapshot(animals)
    (animals / "gatto/000.png").write_bytes(b"no image")
    before = snapshot(animals)
    assert main(["split", str(animals), str(tmp_path / target), "--test", "0.2"]) == 0
    assert snapshot(animals) == before
    out = capsys.readouterr().out
    assert f"left out: {animals / 'gatto/000.png'} is not an image of a supported kind" in out
    parts = list_files("x", tmp_path / target)
    assert parts["train"].classes == parts["test"].classes == ("cat", "cow", "dog")
    assert np.bincount(parts["test"].labels).tolist() == [2, 2, 2]
    chosen = [path.resolve() for part in parts.values() for path in part.paths]
    assert len(chosen) == len(set(chosen)) == 29
    italian = {"cat": "gatto", "cow": "mucca", "dog": "cane"}
    for files in parts.values():
        for path, label in zip(files.paths, files.labels, strict=True):
            assert path.resolve().parent.name == italian[files.classes[label]]


@pytest.mark.parametrize("target", ["out", "out.csv"])
def test_a_folder_of_links_is_divided_by_what_they_lead_to(animals, tmp_path, target) -> None:
    """As in a cache that keeps files under names of their own, and links to them."""
    for i, path in enumerate(sorted(animals.rglob("*.png"))):
        (tmp_path / f"blob{i}").write_bytes(path.read_bytes())
        path.unlink()
        path.symlink_to(f"../../blob{i}")
    assert main(["split", str(animals), str(tmp_path / target)]) == 0
    animals.rename(tmp_path / "gone")
    parts = load(f"imagefolder:{tmp_path / target}", None, channels=3, crop=8)
    assert sum(len(part) for part in parts[:3]) == 30
    assert parts.skipped == []


def test_a_link_into_the_source_lies_inside_of_it(animals, tmp_path, capsys) -> None:
    (tmp_path / "link").symlink_to(animals)
    assert main(["split", str(animals), str(tmp_path / "link/out")]) == 2
    assert "lies inside of" in capsys.readouterr().err


@pytest.mark.parametrize("error", [OSError("no room"), KeyboardInterrupt()])
def test_a_split_that_breaks_off_leaves_nothing(animals, tmp_path, monkeypatch, error) -> None:
    link, made = Path.symlink_to, []

    def breaks_off(self, *arguments):
        if len(made) == 5:
            raise error
        made.append(self)
        link(self, *arguments)

    monkeypatch.setattr(Path, "symlink_to", breaks_off)
    assert main(["split", str(animals), str(tmp_path / "out")]) in (2, 130)
    assert [path.name for path in tmp_path.iterdir()] == [animals.name]


def test_other_names_are_not_translated(tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"cane": 4, "bambus": 4})
    assert main(["split", str(tmp_path / "images"), str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out/train").iterdir()) == ["bambus", "cane"]


def test_the_same_seed_divides_in_the_same_way(animals: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        target = str(tmp_path / f"{name}.csv")
        assert main(["split", str(animals), target, "--seed", seed]) == 0
    a, b, c = ((tmp_path / f"{name}.csv").read_text(encoding="utf-8") for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split", "{}", "{}/inside"], "lies inside of"),
        (["split", "{}", "{}"], "is there already"),
        (["split", "{}", "{}-2", "--test", "1.5"], "must be between 0 and 1, got 1.5"),
        (["split", "{}-no", "{}-2"], "there is no folder"),
        (["split", "{}", "{}-2", "--test", "0.99"], "30 images of 3 classes are too few to set 30"),
        (["report", "{}/cane"], "has no class folders"),
        (["stats", "nothing"], "There is no data set 'nothing'"),
    ],
)
def test_what_is_wrong_is_said(animals: Path, capsys, arguments, message) -> None:
    assert main([text.format(animals) for text in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith(f"reference.data {arguments[0]}: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "must begin with the line path,class,part"),
        ("path,class,part\nx.png,cat,trian\n", "line 2: a path, a class and one of train"),
        ("path,class,part\nx.png,cat\n", "line 2: a path, a class and one of train"),
        ("path,class,part\nx.png,cat,train\ny.png,dog,test\n", "only one of them has cat, dog"),
        ("path,class,part\n", "has no class folders"),
        (b"\xff\xfe", "must begin with the line"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, content, message) -> None:
    path = tmp_path / "split.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        list_files("x", path)


def test_paths_of_a_manifest_begin_where_it_lies(tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"a": 6, "b": 6})
    with (tmp_path / "split.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "class", "part"])
        for path in sorted((tmp_path / "images").rglob("*.png")):
            lines.writerow([path.relative_to(tmp_path), path.parent.name, "train"])
    parts = load(f"imagefolder:{tmp_path / 'split.csv'}", None, channels=3, crop=8)
    assert [len(part) for part in parts[:3]] == [8, 2, 2]
    assert parts.train.read(0).shape == (3, 12, 10)


def test_a_report_counts_and_names_what_cannot_be_read(animals: Path, capsys) -> None:
    (animals / "cane/001.png").write_bytes((animals / "cane/001.png").read_bytes()[:60])
    (animals / "mucca/002.jpg").symlink_to(animals / "nowhere.jpg")
    assert main(["report", str(animals)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^cane +9$", out, re.MULTILINE)
    assert re.search(r"^mucca +10$", out, re.MULTILINE)
    assert f"{animals / 'cane/001.png'} cannot be read" in out
    assert "002.jpg" in out
    assert "29 images of 3 classes; 2 cannot be read" in out


@pytest.mark.parametrize("command", ["report", "split"])
def test_files_of_other_endings_are_counted(animals, tmp_path, capsys, command) -> None:
    arguments = [command, str(animals), *([str(tmp_path / "out")] if command == "split" else [])]
    for name in ("a.pdf", "b.PDF", "c.heic", "README", ".hidden", "d.JPG"):
        (animals / "cane" / name).write_bytes((animals / "cane/000.png").read_bytes())
    (animals / "gatto/e.pdf").write_bytes(b"")
    (animals / "gatto/inner").mkdir()
    (animals / "notes.txt").write_text("of no class", encoding="utf-8")
    assert main(arguments) == 0
    assert (
        "passed over: 6 files of another ending (3 .pdf, 1 .heic, 1 .txt, 1 without an ending); "
        "1 folder inside class folders (gatto/inner)\n"
    ) in capsys.readouterr().out
    if command == "split":
        assert main(["report", str(tmp_path / "out")]) == 0
        assert "passed over" not in capsys.readouterr().out


def test_beside_what_a_manifest_names_nothing_is_passed_over(animals, tmp_path, capsys) -> None:
    assert main(["split", str(animals), str(tmp_path / "out.csv")]) == 0
    (animals / "cane/a.pdf").write_bytes(b"")
    assert main(["report", str(tmp_path / "out.csv")]) == 0
    assert "passed over" not in capsys.readouterr().out


def test_statistics_are_exact_and_read_once(animals: Path, capsys, monkeypatch) -> None:
    name = f"imagefolder:{animals}"
    parts = load(name, None, channels=3, crop=8)
    pixels = np.concatenate(
        [read_image(path, None, 3).reshape(-1, 3) for path in parts.train.images]
    )
    np.testing.assert_allclose(parts.normalization.mean, pixels.mean(axis=0) / 255, rtol=1e-14)
    np.testing.assert_allclose(parts.normalization.std, pixels.std(axis=0) / 255, rtol=1e-13)
    assert main(["stats", str(animals)]) == 0
    out = capsys.readouterr().out
    assert f"mean {parts.normalization.mean[0]:.6f}, " in out
    assert ": 21 images to train (3 set apart for validation)\n" in out

    def refuse(*_):
        raise AssertionError("an image is read again")

    monkeypatch.setattr("reference.data.files.read_image", refuse)
    assert load(name, None, channels=3, crop=8).normalization == parts.normalization
    path = parts.train.images[0]
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(AssertionError, match="read again"):
        load(name, None, channels=3, crop=8)


def test_a_cache_that_cannot_be_written_is_done_without(animals, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    paths = sorted((animals / "cane").iterdir())
    assert examine("x", paths, 1).occur.sum() == sum(
        read_image(path, None, 1).size for path in paths
    )


def test_imagenets_layout_tests_on_val(tmp_path: Path) -> None:
    write_images(tmp_path / "images/train", {"a": 10, "b": 10})
    write_images(tmp_path / "images/val", {"a": 3, "b": 3})
    parts = load(f"imagefolder:{tmp_path / 'images'}", None, channels=3, crop=8, validation=0.2)
    assert [len(part) for part in parts[:3]] == [16, 4, 6]
    assert {path.parts[-3] for path in parts.test.images} == {"val"}


# ---------------------------------------------------------------------------------------- batches


@given(
    n=st.integers(1, 60), parts=st.integers(1, 3), size=st.integers(1, 3), share=st.integers(1, 4),
    seed=st.integers(0, 9), epoch=st.integers(0, 2), data=st.data(),
)  # fmt: skip
def test_the_processes_share_each_batch_of_one(n, parts, size, share, seed, epoch, data) -> None:
    batch = parts * size * share
    one = Batches(n, batch, seed=seed)
    several = [
        Batches(n, batch, seed=seed, parts=parts, rank=rank, size=size) for rank in range(size)
    ]
    start = data.draw(st.integers(0, one.steps))
    for batches in (one, *several):
        batches.epoch, batches.start = epoch, start
    whole = list(one)
    assert len(whole) == len(one) == n // batch - start
    keys = [key for keys in whole for key in keys]
    assert len(set(keys)) == len(keys)
    assert {e for e, _ in keys} <= {epoch}
    shares = [list(batches) for batches in several]
    assert {len(part) for own in shares for part in own} <= {share}
    for step, expected in enumerate(whole):
        got = [k for own in shares for part in own[step * parts : (step + 1) * parts] for k in part]
        assert got == expected


def test_each_epoch_and_seed_has_an_order_of_its_own() -> None:
    orders = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        batches = Batches(50, 50, seed=seed)
        batches.epoch = epoch
        orders.add(tuple(i for _, i in next(iter(batches))))
    assert len(orders) == 3
    assert all(sorted(order) == list(range(50)) for order in orders)


@given(n=st.integers(1, 40), batch=st.integers(1, 9), size=st.integers(1, 4))
def test_in_a_test_every_image_is_seen_once(n, batch, size) -> None:
    shares = [of_parts(n, batch, rank, size) for rank in range(size)]
    seen = [i for share in shares for keys in share for _, i in keys]
    assert sorted(seen) == list(range(n))


def test_moves_depend_on_seed_epoch_and_image_alone(photographs: Path) -> None:
    from reference.data import Pictures

    parts = load(f"imagefolder:{photographs}", None, channels=3, crop=24)
    recipe = Recipe(model="resnet18", data="x", size=24, flip=True, rotate=5.0, shift=1)
    pictures = Pictures(parts.train, recipe, (3, 24, 24), learn=True)
    images, labels = pictures.__getitems__([(0, 3), (1, 3), (0, 4)])
    assert images.shape == (3, 3, 24, 24)
    assert images.dtype == torch.uint8
    torch.manual_seed(5)
    assert torch.equal(pictures[(1, 3)][0], images[1])
    assert not torch.equal(images[0], images[1])
    assert labels.tolist() == [parts.train.labels[i] for i in (3, 3, 4)]


def test_normalized_is_minicnns() -> None:
    from minicnn.data import Normalization, normalize

    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    about = Normalization((0.1, 0.5, 0.9), (0.2, 0.3, 1.0))
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    for last in (False, True):
        x = normalized(planes, about, torch.device("cpu"), last)
        assert x.is_contiguous(memory_format=torch.channels_last) == last
        np.testing.assert_allclose(x.numpy(), normalize(images, about), rtol=2e-6, atol=2e-6)


def test_presets_that_take_folders_have_a_size() -> None:
    assert all("data" in preset or "size" in preset for preset in PRESETS.values())


def test_roboflows_middle_part_is_the_validation_part(tmp_path: Path) -> None:
    for part, n in (("train", 5), ("valid", 2), ("test", 3)):
        write_images(tmp_path / part, {"a": n, "b": n})
    parts = load(f"imagefolder:{tmp_path}", None, channels=3, crop=8)
    assert [len(part) for part in parts[:3]] == [10, 4, 6]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_what_split_leaves_can_be_trained_on(tmp_path: Path, capsys, n) -> None:
    write_images(tmp_path / "source", {"a": n, "b": 60})
    target = tmp_path / "links"
    code = main(["split", str(tmp_path / "source"), str(target)])
    out, err = capsys.readouterr()
    if n == 2:
        assert code == 2
        assert "too few images of a (2) to set some apart for test: 3 of each class" in err
        assert not target.exists()
        return
    assert code == 0
    assert re.search(rf"^a +{n - 1} +1$", out, re.MULTILINE)
    for parts in (
        load(f"imagefolder:{target}", None, channels=3, crop=8)[:3],
        minicnn.data.load(f"imagefolder:{target}", size=8),
    ):
        assert all(set(np.asarray(part.labels)) == {0, 1} for part in parts)


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace(",", "\t").encode(),
        lambda text: text.replace("/", "\\").encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
    ],
    ids=["mark", "utf-16", "semicolons", "tabs", "backslashes", "windows"],
)
def test_manifests_as_spreadsheets_write_them(tmp_path: Path, written) -> None:
    write_images(tmp_path / "images", {"고양이": 3, "개": 3})
    lines = [
        f"{path.relative_to(tmp_path)},{path.parent.name},train"
        for path in sorted((tmp_path / "images").rglob("*.png"))
    ]
    (tmp_path / "split.csv").write_bytes(written("\n".join(["path,class,part", *lines, ""])))
    (files,) = list_files("x", tmp_path / "split.csv").values()
    assert files.classes == ("개", "고양이")
    assert len(files.paths) == 6
    assert all(path.is_file() for path in files.paths)


def test_a_manifest_in_another_code_is_told(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_bytes("path,class,part\na.png,고양이,train\n".encode("cp949"))
    with pytest.raises(DataError, match=r"is not UTF-8: line 2 has the byte 0xb0\. Save it as UTF"):
        list_files("x", path)


def test_the_reference_turns_photos_too(tmp_path: Path) -> None:
    turned = Image.fromarray(np.repeat(np.uint8([[[255], [0]]]), 3, axis=2))  # white left of black
    exif = Image.Exif()
    exif[0x0112] = 3
    turned.save(tmp_path / "a.png", exif=exif)
    assert read(tmp_path / "a.png", 1).ravel().tolist() == [0, 255]


def test_names_of_a_zip_from_windows_are_read_by_their_code(tmp_path, tiny, train):
    names = of_classes(("강아지", "고양이"), "cp949", 30)
    packed(tmp_path / "pets.zip", names, (28, 28))
    options = ("tiny", "--data", f"imagefolder:{tmp_path / 'pets.zip'}", "--epochs", "1",
               "--batch-size", "8")  # fmt: skip
    code, _, err = train(*options)
    assert (code, "--zip-encoding cp949" in err) == (2, True)
    code, _, err = train(*options, "--zip-encoding", "cp949")
    assert code == 0, err
    kept = json.loads((tmp_path / "run/config.json").read_text(encoding="utf-8"))
    assert kept["data"]["classes"] == ["강아지", "고양이"]
    assert train("--resume", tmp_path / "run")[0] == 0  # by the code that the run keeps
