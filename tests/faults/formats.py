"""What is damaged, and how it is read: through the command, or as the package reads it."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from minicnn import checkpoint, data, train
from minicnn.cli import main
from minicnn.data import cifar, idx
from minicnn.data.dataset import DataError
from minicnn.recipes import recipe_for
from tests.data.pickles import array, dictionary, numbers
from tests.faults.outcomes import Told

CLOCKS = ("seconds", "images_per_second")


@dataclass
class Format:
    """A file that is whole, and what reads it."""

    name: str
    content: bytes
    file: str  # what the message has to name
    read: Callable[[bytes], Any]  # raises Told
    checked: bool  # whether a checksum covers all that is read


def command(*arguments: str) -> str:
    """Run ``minicnn`` in this process; return what it prints, raise Told for what it says."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    if code == 0:
        return out.getvalue()
    raise Told(err.getvalue().strip())


def without_pictures() -> contextlib.ExitStack:
    """Return what leaves out the pictures of a run, which take longer than the rest."""
    stack = contextlib.ExitStack()
    for name in ("curves", "confusion", "filters"):
        stack.enter_context(mock.patch(f"minicnn.viz.{name}", return_value=None))
    stack.enter_context(mock.patch("minicnn.viz.save", lambda figure, path: path))
    return stack


def whole_run(folder: Path) -> Path:
    """Train a little, stop in the middle of the second epoch, and return the folder."""
    run = train.start(recipe_for("lenet5", "digits", epochs=2, batch_size=256), folder)

    class Enough(Exception):
        pass

    def stop(progress: train.Progress) -> None:
        if progress.epoch == 2 and run.batch == 3:
            run.save_last()
            raise Enough

    with contextlib.suppress(Enough):
        run.fit(stop)
    return folder


def end_of(run: Path) -> dict[str, Any]:
    """Return what a finished run holds, without times."""
    tensors = {}
    for name in ("model", "last"):
        arrays, note = checkpoint.load(run / f"{name}.safetensors")
        tensors |= {f"{name}.{key}": value for key, value in arrays.items()}
        tensors[name] = json.dumps(timeless(note))
    return tensors | {"result": (run / "result.json").read_text(encoding="utf-8")}


def timeless(note: Any) -> Any:
    """Return a note without what a clock says."""
    if isinstance(note, dict):
        return {key: timeless(value) for key, value in note.items() if key not in CLOCKS}
    return [timeless(value) for value in note] if isinstance(note, list) else note


# ----------------------------------------------------------------------------------------- of a run


def of_a_run(run: Path, work: Path) -> Iterator[Format]:
    def with_file(file: str, content: bytes) -> Path:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(run, work)
        (work / file).write_bytes(content)
        return work

    def evaluate(file: str) -> Callable[[bytes], str]:
        return lambda content: command("evaluate", str(with_file(file, content)))

    def resume(file: str) -> Callable[[bytes], Any]:
        def read(content: bytes) -> Any:
            folder = with_file(file, content)
            command("train", "--resume", str(folder), "--quiet")
            return end_of(folder)

        return read

    def content(file: str) -> bytes:
        return (run / file).read_bytes()

    model, last = "model.safetensors", "last.safetensors"
    yield Format("config.json/evaluate", content("config.json"), "", evaluate("config.json"),
                 True)  # fmt: skip
    yield Format("config.json/resume", content("config.json"), "", resume("config.json"), True)
    yield Format("model/evaluate", content(model), model, evaluate(model), True)
    yield Format("last/resume", content(last), last, resume(last), True)
    yield Format("metrics.csv/resume", content("metrics.csv"), "metrics", resume("metrics.csv"),
                 True)  # fmt: skip


# ------------------------------------------------------------------------------------------ of data


def told(read: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except (DataError, checkpoint.CheckpointError) as error:
        raise Told(str(error)) from error


def of_data(work: Path) -> Iterator[Format]:
    work.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)

    def through(name: str, read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
        def from_bytes(content: bytes) -> Any:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_bytes(content)
            return told(read, work / name)

        return from_bytes

    values = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    raw = bytes([0, 0, 8, 3]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()
    for name, content, checked in (
        ("idx.gz", gzip.compress(raw), True), ("idx", raw, False)
    ):  # fmt: skip
        file = "images.gz" if checked else "images"
        read = through(file, lambda path: idx.read_idx("mnist", path, 3))
        yield Format(name, content, file, read, checked)

    pixels = rng.integers(0, 256, (20, cifar.PIXELS), dtype=np.uint8)
    pickled = dictionary(data=array(pixels), labels=numbers([*range(10)] * 2), name=b"N")
    yield Format("pickle", pickled, "", _pickle, False)
    yield Format("CIFAR's archive", _archive(pickled), "cifar-10-python.tar.gz",
                 through("cifar-10-python.tar.gz", _cifar), True)  # fmt: skip

    colours = rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)
    for kind, mode in (("png", "RGB"), ("png", "P"), ("png", "LA"), ("jpeg", "RGB")):
        file = f"picture-{mode}.{kind}"
        read = through(file, lambda path: data.read_image(path, None, 3))
        yield Format(f"{kind}, {mode}", _picture(colours, kind, mode), file, read, False)

    yield Format("zip of images", _zip(colours), "images.zip",
                 through("images.zip", lambda path: _folder(path)), False)  # fmt: skip


def _pickle(content: bytes) -> Any:
    from minicnn.data.pickled import read_pickle

    try:
        return read_pickle(content)
    except ValueError as error:
        raise Told(str(error)) from error


def _archive(pickled: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in cifar.FILES:
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(pickled)
            archive.addfile(info, io.BytesIO(pickled))
    return out.getvalue()


def _cifar(path: Path) -> Any:
    with mock.patch.object(cifar, "IMAGES", 20):
        return [(part.images, part.labels) for part in cifar.load(path.parent)]


def _picture(colours: np.ndarray, kind: str, mode: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(colours).convert(mode).save(out, kind)
    return out.getvalue()


def _zip(colours: np.ndarray) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for label in ("cat", "dog"):
            for number in range(6):
                moved = np.roll(colours, number, axis=0)
                archive.writestr(f"{label}/{number}.png", _picture(moved, "png", "RGB"))
    return out.getvalue()


def _folder(path: Path) -> Any:
    splits = data.load(f"imagefolder:{path}", validation=0.3)
    return [(part.images, part.labels, part.classes) for part in splits]


# --------------------------------------------------------------------------------------- of PyTorch


def of_pytorch(work: Path) -> Iterator[Format]:
    """Weights as PyTorch writes them, read by the exchange; nothing where PyTorch is missing."""
    try:
        import torch

        from reference import exchange
    except (ModuleNotFoundError, SystemExit):
        return
    state = {"weight": torch.arange(60.0).reshape(3, 20), "bias": torch.ones(3)}

    def read(name: str) -> Callable[[bytes], Any]:
        def from_bytes(content: bytes) -> Any:
            (work / name).write_bytes(content)
            try:
                return {key: value.numpy() for key, value in exchange.read(work / name).items()}
            except exchange.ExchangeError as error:
                raise Told(str(error)) from error

        return from_bytes

    for name, new in (("new.pth", True), ("old.pth", False)):
        out = io.BytesIO()
        torch.save(state, out, _use_new_zipfile_serialization=new)
        yield Format(name, out.getvalue(), name, read(name), False)
    ours = work / "ours.safetensors"
    checkpoint.save(ours, {name: tensor.numpy() for name, tensor in state.items()})
    yield Format("safetensors/exchange", ours.read_bytes(), ours.name, read(ours.name), True)
