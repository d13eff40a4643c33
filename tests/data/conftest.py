"""Files to read and a mirror to download from, both made on the spot."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import pytest
from PIL import Image

from minicnn.data import mnist


def idx(array: np.ndarray) -> bytes:
    """The idx file of a uint8 array."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


@pytest.fixture
def mnist_arrays() -> dict[str, np.ndarray]:
    """Arrays for each file of a small set of MNIST's form: 40 images to train, 20 to test."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 40), ("t10k", 20)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 5, 4), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(n, dtype=np.uint8) % 10
    return arrays


@pytest.fixture
def mnist_root(tmp_path: Path, mnist_arrays: dict[str, np.ndarray]) -> Path:
    """A data root that holds ``mnist_arrays`` under MNIST/raw."""
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file, array in mnist_arrays.items():
        (raw / file).write_bytes(idx(array))
    return tmp_path / "root"


@pytest.fixture
def save_image() -> Callable[..., Path]:
    """Write an array (h, w) or (h, w, 3) as an image file, with the folders above it."""

    def save(path: Path, pixels: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return save


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    announced: int | None = None  # Content-Length, where it is not that of the body


class Mirrors:
    """A server on this machine; ``answers`` maps a path to what is sent."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def offer(self, path: str, status: int, body: bytes = b"", announced: int | None = None) -> str:
        """Answer ``path`` so from now on; return the folder's URL."""
        self.answers[path] = Answer(status, body, announced)
        return self.url + path.rsplit("/", 1)[0] + "/"


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # Its handler holds on to the stderr of the test that was running when it was imported.
    monkeypatch.setattr(pooch.get_logger(), "disabled", True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            offered.asked.append(self.path)
            answer = offered.answers.get(self.path, Answer(404))
            self.send_response(answer.status)
            length = len(answer.body) if answer.announced is None else answer.announced
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        offered = Mirrors(server)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield offered
        server.shutdown()
        thread.join()


@pytest.fixture
def mnist_mirror(
    mirrors: Mirrors, mnist_arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> Mirrors:
    """Two mirrors for "mnist", of which the first refuses; they have ``mnist_arrays``."""
    sums, good, bad = [], "", mirrors.url + "/forbidden/"
    for file in mnist.FILES:
        body = gzip.compress(idx(mnist_arrays[file]))
        sums.append(hashlib.sha256(body).hexdigest())
        mirrors.offer(f"/forbidden/{file}.gz", 403)
        good = mirrors.offer(f"/good/{file}.gz", 200, body)
    family = mnist.FAMILIES["mnist"]._replace(mirrors=(bad, good), sha256=tuple(sums))
    monkeypatch.setitem(mnist.FAMILIES, "mnist", family)
    return mirrors
