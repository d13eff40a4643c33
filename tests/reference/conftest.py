"""What the tests of the trainer share: a small network, folders of images, and the command.

pytest reads this file where torch is missing too, so what needs torch is imported where it is used.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn import models as ours
from minicnn.data import data_root
from tests.pictures import no_pictures, pictures  # noqa: F401  (fixtures)
from tests.pytorch import torch


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("WORLD_SIZE", raising=False)


@pytest.fixture
def tiny(monkeypatch) -> str:
    from reference import models
    from tests.reference.tiny import Tiny

    monkeypatch.setitem(models.MODELS, "tiny", Tiny)
    monkeypatch.setitem(ours.MODELS, "tiny", ours.Model(lambda *_: None, ours.MNIST))
    return "tiny"


@pytest.fixture(params=[False, True], ids=["plain", "scaled"])
def scaled(request, monkeypatch) -> bool:
    """Whether gradients are scaled up, as in fp16; here in float32, by a scale that soon grows."""
    scaler = torch.amp.GradScaler
    if request.param:
        monkeypatch.setattr(
            torch.amp,
            "GradScaler",
            lambda *_, **__: scaler("cpu", init_scale=1024.0, growth_interval=3),
        )
    return request.param


@pytest.fixture
def train(tmp_path: Path, capsys):
    """Run the command in ``tmp_path/run``, else in ``out``; return (exit code, stdout, stderr)."""
    from reference.train.command import main

    def run(*arguments: str, out: Path | None = None) -> tuple[int, str, str]:
        place = ["--out", str(out or tmp_path / "run")]
        place = [] if "--resume" in arguments else place
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the sums of the network are short
        try:
            code = main([*map(str, arguments), *place, "--device", "cpu", "--quiet"])
        finally:
            torch.set_num_threads(threads)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def write_images(
    folder: Path, classes: dict[str, int], size: tuple[int, int] = (12, 10), *, more: int = 1
) -> Path:
    """Write so many PNG files of each class, of a colour of the class's own.

    They are of ``size``, and with ``more`` of sizes a little larger too.
    """
    rng = np.random.default_rng(0)
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(
                0, 60, (size[0] + more * (i % 3), size[1] + more * (i % 2), 3), np.uint8
            )
            pixels[..., number % 3] += 60 * (number + 1) % 196
            Image.fromarray(pixels).save(folder / name / f"{i:03d}.png")
    return folder


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """A folder of 30 images in three classes, with the names of Animals-10."""
    return write_images(tmp_path / "raw-img", {"cane": 10, "gatto": 10, "mucca": 10})


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """A few of CIFAR-10's photographs: two classes, train and test; skips where they are not."""
    archive = data_root() / "cifar10-jpeg.zip"
    if not archive.exists():
        pytest.skip(f"needs {archive}; set MINICNN_DATA")
    folder = tmp_path_factory.mktemp("photographs")
    with zipfile.ZipFile(archive) as packed:
        for part, count in (("train", 6), ("test", 2)):
            for name in ("frog", "ship"):
                for i in range(count):
                    target = folder / part / name / f"{i:04d}.jpg"
                    os.makedirs(target.parent, exist_ok=True)
                    target.write_bytes(packed.read(f"{part}/{name}/{i:04d}.jpg"))
    return folder
