"""MNIST and the two sets made in its form: 28x28 grey images in ten classes, as idx files.

The files lie where torchvision puts them, ``<root>/<folder>/raw``, plain or compressed.

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


def load(name: str, root: Path) -> tuple[Dataset, Dataset]:
    """Return the training and the test images; what is not under ``root`` is downloaded.

    Raises DataError for files that are damaged, do not fit together, or cannot be had.
    """
    family = FAMILIES[name]
    folder = root / family.folder / "raw"
    paths = [
        _existing(name, folder, file)
        or download(name, f"{file}.gz", family.mirrors, sha256, folder)
        for file, sha256 in zip(FILES, family.sha256, strict=True)
    ]
    return _read(name, *paths[:2]), _read(name, *paths[2:])


def found(name: str, root: Path) -> Path | None:
    """Return the folder that holds all files of the set, or None."""
    folder = root / FAMILIES[name].folder / "raw"
    return folder if all(_existing(name, folder, file) for file in FILES) else None


def _existing(name: str, folder: Path, file: str) -> Path | None:
    candidates = (folder / file, folder / f"{file}.gz")
    return next((path for path in candidates if is_there(name, path)), None)


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
