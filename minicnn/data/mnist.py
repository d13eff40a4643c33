"""MNIST and two data sets in the same form: 28x28 grey images in ten classes, as idx files.

The files may be in ``<root>/<folder>/raw``, where torchvision puts them, in ``<root>/<folder>``, or
in the root itself, unless its name or its parent's name is that of another of these sets. They may
be plain or compressed (.gz), named as published or with a dot (``train-images.idx3-ubyte``). CSV
files like Kaggle's are read too: a label and 784 pixels in each line.

Source
    LeCun, Bottou, Bengio & Haffner (1998), Gradient-based learning applied to document recognition;
    Xiao, Rasul & Vollgraf (2017), Fashion-MNIST;
    Clanuwat et al. (2018), Deep learning for classical Japanese literature (KMNIST).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicnn.data.dataset import DataError, Dataset
from minicnn.data.download import download, is_there
from minicnn.data.idx import read_idx

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


class Family(NamedTuple):
    folder: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    sha256: tuple[str, ...]  # of each of FILES with .gz


FAMILIES = {
    "mnist": Family(
        "MNIST",
        tuple("0123456789"),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion-mnist": Family(
        "FashionMNIST",
        (
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    "kmnist": Family(
        "KMNIST",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ),
}  # fmt: skip


def load(name: str, root: Path) -> tuple[Dataset, Dataset | None]:
    """Return the training and the test images; they are downloaded if not under ``root``.

    The test images are None if there is only a CSV file with training images. Raises DataError for
    files that are damaged, do not fit together, or cannot be downloaded.
    """
    family = FAMILIES[name]
    there = [_existing(name, root, file) for file in FILES]
    if not all(there) and (tables := _tables(name, root)):
        train, test = tables
        return _of_table(name, train), _of_table(name, test) if test else None
    folder = root / family.folder / "raw"
    paths = [
        path or download(name, f"{file}.gz", family.mirrors, sha256, folder)
        for path, file, sha256 in zip(there, FILES, family.sha256, strict=True)
    ]
    return _read(name, *paths[:2]), _read(name, *paths[2:])


def found(name: str, root: Path) -> Path | None:
    """Return the folder that holds all files of the set, or None."""
    paths = [_existing(name, root, file) for file in FILES]
    if not all(paths):
        tables = _tables(name, root)
        return tables[0].parent if tables else None
    first = paths[0]
    return first.parent if first else None


def _folders(name: str, root: Path) -> list[Path]:
    """Return the folders that may hold the files, in the order of the search."""
    folder = FAMILIES[name].folder
    called = "/".join(part.lower() for part in root.absolute().parts[-2:])
    named = [other for other in ("fashion", "kmnist") if other in called]
    mine = any(other in name for other in named) if named else name == "mnist"
    return [root / folder / "raw", root / folder, *([root, root / "raw"] if mine else [])]


def _existing(name: str, root: Path, file: str) -> Path | None:
    dotted = file.replace("-idx", ".idx")
    candidates = (
        folder / f"{called}{ending}"
        for folder in _folders(name, root)
        for called in (file, dotted)
        for ending in ("", ".gz")
    )
    return next((path for path in candidates if is_there(name, path)), None)


def _tables(name: str, root: Path) -> tuple[Path, Path | None] | None:
    """Return the CSV files with the training and the test images; Kaggle's test has no labels."""
    for folder in _folders(name, root):
        for train, test in ((f"{name}_train.csv", f"{name}_test.csv"), ("train.csv", None)):
            if is_there(name, folder / train) and _is_table(folder / train):
                tested = folder / test if test else None
                return folder / train, tested if tested and is_there(name, tested) else None
    return None


def _is_table(path: Path) -> bool:
    """Return whether a CSV file has the columns of images; any data may be named train.csv."""
    with path.open("rb") as file:
        return file.readline(2**16).count(b",") == 28 * 28


def _of_table(name: str, path: Path) -> Dataset:
    """Return the images of a CSV file: label, 784 pixels row by row. A first line of names may be.

    Raises DataError; it names what is wrong.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = file.readline()
        table = np.loadtxt(
            path, np.int64, delimiter=",", skiprows=int(not head[:1].isdigit()), ndmin=2,
            encoding="utf-8-sig",
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name}: {path} cannot be read as a table of numbers ({error}). Each line must be a "
            "label and 784 pixels from 0 to 255, with commas between."
        ) from error
    if table.shape[1] != 1 + 28 * 28 or not len(table):
        raise DataError(
            f"{name}: {path} has {len(table)} lines of {table.shape[1]} numbers where a label and "
            "784 pixels are expected."
        )
    pixels = table[:, 1:]
    if pixels.min() < 0 or pixels.max() > 255:
        line = int(np.flatnonzero((pixels < 0).any(axis=1) | (pixels > 255).any(axis=1))[0])
        raise DataError(f"{name}: {path}: image {line} has a pixel that is not from 0 to 255.")
    images = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)
    return Dataset(name, images, np.ascontiguousarray(table[:, 0]), FAMILIES[name].classes)


def _read(name: str, images: Path, labels: Path) -> Dataset:
    pixels = read_idx(name, images, axes=3)
    classes = read_idx(name, labels, axes=1)
    try:
        return Dataset(name, pixels[..., None], classes.astype(np.int64), FAMILIES[name].classes)
    except DataError as error:
        raise DataError(
            f"{error} {images} and {labels} do not belong together, or one is damaged. "
            "Delete both to download them again."
        ) from error
