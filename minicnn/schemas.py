"""What the files of a run hold: their keys, and what each may be.

Everything that is read from the folder of a run is held against these before it is used, so that
what was damaged or edited is named with its file and its key, and no epoch is trained before. Keys
that a later version adds are passed over.
"""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from minicnn import checkpoint, files
from minicnn.checkpoint import CheckpointError

T = TypeVar("T")

PUT_BACK = "Put the original back, or train anew."

Count = Annotated[int, Meta(ge=0, le=2**53)]
Number = Annotated[int, Meta(ge=1, le=2**53)]
Share = Annotated[float, Meta(ge=0, le=1)]
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
Positive = Annotated[float, Meta(gt=0, le=1e300)]
NotNegative = Annotated[float, Meta(ge=0, le=1e300)]
Side = Annotated[int, Meta(ge=1, le=10_000)]


class Images(Struct):
    """The part ``data`` of config.json."""

    classes: Annotated[list[str], Meta(min_length=1)]
    image: tuple[Side, Side, Side]  # channels, height, width
    mean: list[Finite]
    std: list[Positive]
    images: tuple[Count, Count, Count] | None = None  # to train, to validate, to test
    cut: str | None = None  # how reference.train cut the images that it tests, in words

    def __post_init__(self) -> None:
        channels = self.image[0]
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError(f"mean {self.mean} and std {self.std} do not fit {channels} channels")


class Network(Struct):
    """The part ``network`` of config.json, of a network of the reader's own."""

    file: str | None
    object: str
    options: dict[str, Any] | None
    digest: str | None


class Configuration(Struct):
    """config.json. The recipe is checked by the class that it belongs to."""

    recipe: dict[str, Any]
    data: Images
    data_dir: str | None
    network: Network | None = None
    minicnn: str | None = None


class Row(Struct, forbid_unknown_fields=True):
    """The metrics of an epoch: a line of metrics.csv. A loss that overflowed is not finite."""

    epoch: Number
    train_loss: float
    train_accuracy: Share
    validation_loss: float
    validation_accuracy: Share
    validation_top5: Share
    learning_rate: Finite
    images_per_second: NotNegative
    seconds: NotNegative


class Standing(Struct):
    """The note of last.safetensors: where the run stands."""

    epoch: Count
    batch: Count
    loss_sum: float
    correct: Count
    seen: Count
    seconds: NotNegative
    history: list[Row]

    def __post_init__(self) -> None:
        epochs = [row.epoch for row in self.history]
        if epochs != list(range(1, self.epoch + 1)):
            raise ValueError(f"history: tells of the epochs {epochs}, and {self.epoch} are done")
        if self.correct > self.seen:
            raise ValueError(f"correct: {self.correct} of {self.seen} images cannot be right")


class OwnStanding(Standing, kw_only=True):
    """The same of a run of minicnn."""

    first_loss: NotNegative | None = None  # of the first batch of all; a loss is at least 0

    generators: dict[str, dict[str, Any]]  # the state of each layer's random numbers


class Best(Struct):
    """The note of model.safetensors."""

    epoch: Number


class Result(Struct):
    """result.json."""

    epoch: Number
    test_images: Number
    test_loss: float
    test_accuracy: Share
    test_top5: Share


_NAMES: dict[Any, str] = {
    Configuration: "the configuration",
    Row: "the metrics",
    Result: "the result",
}


def check(path: Path, content: Any, kind: type[T], remedy: str = PUT_BACK) -> T:
    """Return ``content`` as ``kind``. Raises CheckpointError that names file, key and remedy."""
    try:
        return msgspec.convert(content, kind)
    except ValueError as error:  # a ValidationError, or a text that has no UTF-8
        what = _NAMES.get(kind, "the note")
        raise CheckpointError(
            f"{path}: is not {what} that a run wrote: {said(error)}. {remedy}"
        ) from error


def said(error: Exception, inside: str = "") -> str:
    """Return an error of msgspec as ``key: what is wrong``; ``inside`` is where the content lies.

    From ``Expected `int`, got `str` - at `$.recipe.epochs` `` it makes
    ``recipe.epochs: expected int, got str``.
    """
    text, _, place = str(error).partition(" - at `")
    key = place.rstrip("`").removeprefix("key` in `").removeprefix("$").lstrip(".")
    missing = re.fullmatch(r"Object missing required field `(\w+)`", text)
    if missing:
        key, text = f"{key}.{missing[1]}".lstrip("."), "is missing"
    key = ".".join(part for part in (inside, key) if part)
    text = text.replace("`", "").replace("Expected", "expected").replace("Object", "object")
    text = text.rstrip(".")
    return f"{key}: {text}" if key else text


# ---------------------------------------------------------------------------------------- readers


def read_result(folder: Path) -> Result:
    """Return what result.json says. Raises CheckpointError where it is missing or damaged."""
    path = folder / "result.json"
    return check(path, checkpoint.read_json(path), Result, _WRITTEN_AGAIN.format(folder))


def read_metrics(folder: Path) -> list[Row]:
    """Return the lines of metrics.csv. Raises CheckpointError where it is missing or damaged."""
    path = folder / "metrics.csv"
    remedy = _WRITTEN_AGAIN.format(folder)
    try:
        text = files.read_bounded(path, checkpoint.MOST_JSON, "a table of metrics").decode()
        lines = list(csv.DictReader(io.StringIO(text), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). {remedy}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if None in line or None in line.values():
            raise CheckpointError(f"{path}, epoch {number}: has not a value a column. {remedy}")
        values = {name: _number(value) for name, value in line.items()}
        rows.append(check(path, values, Row, remedy))
        if rows[-1].epoch != number:
            raise CheckpointError(
                f"{path}: epoch: line {number} is of epoch {rows[-1].epoch}. {remedy}"
            )
    return rows


_WRITTEN_AGAIN = "It is written again by: minicnn train --resume {}"


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if not math.isinf(value) or "inf" in text else text
    return text
