"""Files appear whole or not at all; what is damaged is named."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from minicnn import checkpoint
from minicnn.checkpoint import CheckpointError
from tests.pytorch import torch


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "a": rng.standard_normal((3, 4)).astype(np.float32),
        "transposed": rng.standard_normal((2, 5)).T,
        "counts": np.arange(4),
    }
    checkpoint.save(tmp_path / "x.safetensors", tensors, {"epoch": 3, "loss": 0.1 + 0.2})
    loaded, note = checkpoint.load(tmp_path / "x.safetensors")
    assert note == {"epoch": 3, "loss": 0.1 + 0.2}
    assert loaded.keys() == tensors.keys()
    for name, array in tensors.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_keeps_the_previous_file_and_leaves_no_other(tmp_path, monkeypatch, failing):
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, {"w": np.zeros(3)})
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = os if failing == "fsync" else checkpoint.Path
    monkeypatch.setattr(target, failing, full)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.save(path, {"w": np.ones(3)})
    assert str(caught.value) == (
        f"{path}: cannot be written (No space left on device). The file that was there is "
        "unchanged. Make room there and allow this user to write, or use a copy of the folder "
        "elsewhere."
    )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_cut_off_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, {"w": np.zeros((100, 100))})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read as safetensors"):
        checkpoint.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        checkpoint.load(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"config\.json: there is no such file"):
        checkpoint.read_json(tmp_path / "config.json")


def test_json_that_is_damaged_is_named(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"recipe": ', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read as JSON"):
        checkpoint.read_json(path)


@pytest.mark.parametrize("extension", [None, "ml_dtypes"])
def test_numbers_that_numpy_has_not_are_named(tmp_path, extension):
    """Also where a package, as onnx does, has brought NumPy such a type."""
    if extension:
        pytest.importorskip(extension)
    numbers = torch.ones(2, dtype=torch.bfloat16)
    from safetensors.torch import save_file

    save_file({"a": numbers}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"a number type that NumPy lacks .* in float32\."):
        checkpoint.load(tmp_path / "a.safetensors")


def test_a_note_that_save_did_not_write_is_none(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "foreign.safetensors"
    for metadata in ({"note": "hello"}, {"format": "pt"}, None):
        save_file({"w": np.ones(3)}, path, metadata=metadata)
        tensors, note = checkpoint.load(path)
        assert tensors["w"].tolist() == [1, 1, 1]
        assert note is None


def test_every_bit_that_flips_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {"a": np.arange(3, dtype=np.float32), "b": np.ones(2, np.int64)}
    checkpoint.save(path, tensors, {"epoch": 3})
    whole = path.read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            loaded, note = checkpoint.load(path)
        except CheckpointError:
            continue
        assert note == {"epoch": 3}  # such as one in the name of the checksum
        assert all((loaded[name] == tensors[name]).all() for name in tensors)


def test_numbers_that_are_not_finite_are_refused_where_asked(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, {"w": np.array([1, np.inf], np.float32)})
    assert checkpoint.load(path)[0]["w"][0] == 1
    with pytest.raises(CheckpointError, match="w holds numbers that are not finite"):
        checkpoint.load(path, finite=True)


def test_json_that_was_damaged_or_edited_is_noticed(tmp_path):
    path = tmp_path / "config.json"
    checkpoint.write_json(path, {"lr": 0.25, "name": "x"})
    assert checkpoint.read_json(path) == {"lr": 0.25, "name": "x"}
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("0.25", "0.35"), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json: sha256: .* after an edit remove the"):
        checkpoint.read_json(path)
    path.write_text('{"lr": 0.35}', encoding="utf-8")  # of before there were checksums
    assert checkpoint.read_json(path) == {"lr": 0.35}


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '"\udcff"', ""])
def test_json_of_any_damage_is_one_line(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read as JSON") as caught:
        checkpoint.read_json(path)
    assert len(str(caught.value)) < 500
