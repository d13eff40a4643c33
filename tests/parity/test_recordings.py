"""CUDA's results, recorded on a machine that has a card, against minicnn on this one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from minicnn.ops import conv2d
from tests.arrays import impls
from tests.parity import record, recording
from tests.parity.enumeration import GRIDS

RECORDED = sorted(recording.FOLDER.glob("*.safetensors"))
NAMES = sorted((GRIDS.keys() - recording.RANDOM) | recording.NETWORKS.keys())


@impls
@pytest.mark.skipif(
    not RECORDED,
    reason="no results of CUDA are recorded; on a machine with a card: "
    "python -m tests.parity.record",
)
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_minicnn_computes_what_cuda_computed(path: Path, impl: str) -> None:
    recorded = recording.load(path)
    assert recorded.provenance["device"] == "cuda"
    assert not recorded.provenance["flags"]["matmul.allow_tf32"]
    assert not recorded.provenance["flags"]["cudnn.allow_tf32"]
    recording.replay(recorded, impl)


@pytest.fixture(scope="module")
def on_the_cpu(tmp_path_factory: pytest.TempPathFactory) -> dict[str, recording.Recording]:
    """What the recorder writes here, on the CPU and under the CPU's name."""
    folder = tmp_path_factory.mktemp("recordings")
    paths = recording.record(folder, torch.device("cpu"))
    return {path.stem: recording.load(path) for path in paths}


@pytest.mark.slow
@impls
@pytest.mark.parametrize("name", NAMES)
def test_a_recording_can_be_replayed(
    name: str, impl: str, on_the_cpu: dict[str, recording.Recording]
) -> None:
    recorded = on_the_cpu[name]
    assert recorded.provenance["device"] == "cpu"
    assert recorded.provenance["torch"] == torch.__version__
    expected = 1 if name in recording.NETWORKS else recording.SAMPLE
    assert recording.replay(recorded, impl) == min(expected, len(recorded.specs)) > 0


@pytest.mark.parametrize("what", ["y", "grad0"])
@pytest.mark.parametrize("name", NAMES)
def test_a_replay_notices_a_wrong_number(
    name: str, what: str, on_the_cpu: dict[str, recording.Recording]
) -> None:
    recorded = on_the_cpu[name]
    key = f"0.float64.{what}"
    wrong = recorded.arrays[key] + 1e-3
    spoiled = recorded._replace(arrays={**recorded.arrays, key: wrong})
    with pytest.raises(AssertionError):
        recording.replay(spoiled, "textbook")


def test_a_replay_runs_minicnn(
    on_the_cpu: dict[str, recording.Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = conv2d.forward
    monkeypatch.setattr(
        conv2d, "forward", lambda *args, **options: (lambda y, c: (1.001 * y, c))(
            *forward(*args, **options)
        ),
    )  # fmt: skip
    with pytest.raises(AssertionError):
        recording.replay(on_the_cpu["conv2d"], "fast")


@pytest.mark.slow
def test_recordings_are_the_same_each_time(
    tmp_path: Path, on_the_cpu: dict[str, recording.Recording]
) -> None:
    again = recording.record(tmp_path, torch.device("cpu"))
    for path in again:
        arrays = recording.load(path).arrays
        for key, array in on_the_cpu[path.stem].arrays.items():
            np.testing.assert_array_equal(arrays[key], array)


def test_without_a_card_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert record.main(["--output", str(tmp_path / "recordings")]) == 2
    assert not (tmp_path / "recordings").exists()
    assert "no CUDA card" in capsys.readouterr().err
