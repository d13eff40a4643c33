"""Data sets by name, and their places on disk."""

from __future__ import annotations

import os
from pathlib import Path

from minicnn.data import arrays, cifar, digits, images, mnist
from minicnn.data.dataset import DataError, Dataset, Splits, set_apart
from minicnn.files import expanded
from minicnn.shapes import did_you_mean, integer

NAMES = ("digits", *mnist.FAMILIES, "cifar10", "imagefolder:PATH")

VALIDATION_FRACTION = 1 / 12
TEST_FRACTION, TEST_SEED = 0.2, 0  # for data without test images; never to be tuned


def data_root(data_dir: str | Path | None = None) -> Path:
    """Return ``data_dir``, else the environment's MINICNN_DATA, else the user's cache folder."""
    chosen = data_dir or os.environ.get("MINICNN_DATA")
    if chosen:
        return expanded(chosen)
    import pooch

    return Path(pooch.os_cache("minicnn"))


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    validation: float | None = None,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    zip_encoding: str | None = None,
) -> Splits:
    """Return the training, validation and test images of one of ``NAMES``.

    ``validation`` is the fraction of the training images that become validation images; by default
    it is a twelfth (5000 of MNIST's 60000). They are drawn by ``seed``, every class in proportion.
    A folder with its own validation part keeps it; giving a fraction is then an error. If a data
    set has no test images, a fifth of all images is used, always the same ones. A data set that is
    not under ``data_root(data_dir)`` is downloaded.

    The other options are for folders, see ``images.Form``. With ``size``, each image is resized and
    cut to so many pixels along both sides. ``channels`` makes all images grey (1) or RGB (3).
    ``zip_encoding`` is the encoding of names in a zip that does not say. ``train.notes`` says what
    was skipped.

    Raises DataError if the data are damaged or cannot be downloaded, ValueError for a fraction that
    is not between 0 and 1.
    """
    if validation is not None and not 0 < validation < 1:
        raise ValueError(f"load: validation must be between 0 and 1, got {validation}.")
    integer("load", "seed", seed, 0)
    kind, _, path = name.partition(":")
    of_folder = kind == "imagefolder" and bool(path)
    form = images.Form(size, channels, zip_encoding)
    if any(form) and not of_folder:
        raise DataError(
            f"{name}: its images have one size and form. --size and --zip-encoding are for "
            "imagefolder:PATH; leave them out."
        )
    train: Dataset
    held: Dataset | None = None
    test: Dataset | None = None
    if name == "digits":
        train = digits.load()
    elif name in mnist.FAMILIES:
        train, test = mnist.load(name, data_root(data_dir))
    elif name == "cifar10":
        train, test = cifar.load(data_root(data_dir))
    elif of_folder:
        train, held, test = images.load_folder(name, expanded(path), form)
    elif name == arrays.NAME:
        raise DataError(
            "The images of this run were arrays in Python. Name a data set by "
            "--data, or in Python give the arrays again."
        )
    else:
        near = did_you_mean(kind, NAMES)
        if name and expanded(name).exists():
            near = f" Did you mean imagefolder:{name}?"
        raise DataError(f"There is no data set {name!r}.{near} Known are {', '.join(NAMES)}.")
    return divide(name, train, held, test, validation=validation, seed=seed)


def divide(
    name: str,
    train: Dataset,
    held: Dataset | None = None,
    test: Dataset | None = None,
    *,
    validation: float | None = None,
    seed: int = 0,
) -> Splits:
    """Return the three parts. ``held``, for validation, and ``test`` are drawn if not given.

    Raises DataError if there are too few images, or if both ``held`` and a fraction are given.
    """
    if test is None:
        train, test = set_apart(
            train, TEST_FRACTION, TEST_SEED, "test", leave=2 if held is None else 1
        )
    if held is None:
        fraction = VALIDATION_FRACTION if validation is None else validation
        train, held = set_apart(train, fraction, seed, "validation")
    elif validation is not None:
        raise DataError(
            f"{name}: the folder has a validation part of its own, so a fraction of {validation} "
            "cannot be set apart. Leave the fraction out, or move that part away."
        )
    return Splits(train, held, test)


def available(data_dir: str | Path | None = None) -> dict[str, Path | None]:
    """Return the place of each named data set; None if it is not downloaded yet."""
    root = data_root(data_dir)
    of_mnist = {name: mnist.found(name, root) for name in mnist.FAMILIES}
    return {"digits": digits.found(), **of_mnist, "cifar10": cifar.found(root)}


def whole_name(data: str) -> str:
    """Return the name of a data set with an absolute path, so that a run may resume anywhere."""
    kind, _, path = data.partition(":")
    return f"{kind}:{expanded(path).absolute()}" if path else data
