"""What a run's files hold is checked before it is used, and named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from minicnn import checkpoint, schemas
from minicnn.checkpoint import CheckpointError

ROW = {
    "epoch": 1, "train_loss": 0.5, "train_accuracy": 0.5, "validation_loss": math.nan,
    "validation_accuracy": 0.5, "validation_top5": 1.0, "learning_rate": 0.1,
    "images_per_second": 10.0, "seconds": 1.0,
}  # fmt: skip
STANDING = {
    "epoch": 1, "batch": 2, "loss_sum": 1.0, "correct": 3, "seen": 4, "seconds": 0.5,
    "history": [ROW], "generators": {}, "of_a_later_version": 1,
}  # fmt: skip


def test_a_note_that_is_whole_is_taken() -> None:
    note = schemas.check(Path("last"), STANDING, schemas.OwnStanding)
    assert (note.epoch, note.history[0].seconds) == (1, 1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epoch": "1"}, "epoch: expected int, got str"),
        ({"epoch": True}, "epoch: expected int, got bool"),
        ({"batch": -1}, "batch: expected int >= 0"),
        ({"seconds": math.inf}, r"seconds: expected float <= 1e\+300"),
        ({"epoch": 2}, r"history: tells of the epochs \[1\], and 2 are done"),
        ({"correct": 9}, "correct: 9 of 4 images cannot be right"),
        ({"history": [ROW | {"train_loss": None}]}, r"history\[0\].train_loss: expected float"),
        ({"history": [ROW | {"trainx": 1}]}, "contains unknown field trainx"),
        ({"history": [{"epoch": 1}]}, r"history\[0\].train_loss: is missing"),
        ({"generators": []}, "generators: expected object, got array"),
        ({"first_loss": math.nan}, "first_loss: expected"),
        ({"\ud800": 1}, "surrogates not allowed"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(change, said) -> None:
    with pytest.raises(CheckpointError, match=f"^last: is not the note that a run wrote: .*{said}"):
        schemas.check(Path("last"), STANDING | change, schemas.OwnStanding)


HEAD = ",".join(ROW)
LINE = "1,0.5,0.5,nan,0.5,1.0,0.1,10.0,1.0"


def test_metrics_are_read_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(f"{HEAD}\n{LINE}\n", encoding="utf-8")
    (row,) = schemas.read_metrics(tmp_path)
    assert row.train_loss == 0.5
    assert math.isnan(row.validation_loss)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEAD}\n{LINE},5\n", "has not a value a column"),
        (f"{HEAD}\n{LINE}\n{LINE}\n", "line 2 is of epoch 1"),
        (f"{HEAD}\n{LINE.replace('0.5', 'x', 1)}\n", "train_loss: expected float, got str"),
        (f"{HEAD}\n{LINE.replace('0.5', '1e999', 1)}\n", "train_loss: expected float, got str"),
        (f"{HEAD[1:]}\n{LINE}\n", "poch"),
        ("\xff", "cannot be read"),
    ],
)
def test_metrics_that_are_damaged_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "metrics.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError) as caught:
        schemas.read_metrics(tmp_path)
    assert str(tmp_path / "metrics.csv") in str(caught.value)
    assert said in str(caught.value)
    assert str(caught.value).endswith(f"minicnn train --resume {tmp_path}")


def test_a_result_is_checked(tmp_path: Path) -> None:
    result = {
        "epoch": 1, "test_images": 10, "test_loss": 0.5, "test_accuracy": 0.5, "test_top5": 1
    }  # fmt: skip
    checkpoint.write_json(tmp_path / "result.json", result)
    assert schemas.read_result(tmp_path).test_images == 10
    checkpoint.write_json(tmp_path / "result.json", result | {"test_accuracy": 2})
    with pytest.raises(CheckpointError, match=r"result\.json: is not the result .* test_accuracy"):
        schemas.read_result(tmp_path)
