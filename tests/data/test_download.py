from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import DataError, load, mnist
from minicnn.data.download import download

BODY = bytes(range(256)) * 8192  # 2 MiB
SUM = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "root" / "raw"


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def unreachable() -> str:
    """The URL of a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def test_the_next_mirror_is_tried(mirrors, folder, capsys):
    urls = [
        unreachable(),
        mirrors.offer("/forbidden/file.gz", 403),
        mirrors.offer("/cut/file.gz", 200, BODY[:1000], len(BODY)),
        mirrors.offer("/other/file.gz", 200, b"<html>Log in to this network</html>"),
        mirrors.offer("/good/file.gz", 200, BODY),
        mirrors.offer("/never/file.gz", 200, BODY),
    ]
    path = download("set", "file.gz", urls, SUM, folder)
    assert path == folder / "file.gz"
    assert path.read_bytes() == BODY
    assert kept(folder) == ["file.gz"]
    assert mirrors.asked == [f"/{name}/file.gz" for name in ("forbidden", "cut", "other", "good")]
    assert "100%" in capsys.readouterr().err  # the progress bar


def test_each_mirror_is_listed_with_its_reason(mirrors, folder):
    urls = [
        unreachable(),
        mirrors.offer("/forbidden/file.gz", 403),
        mirrors.offer("/cut/file.gz", 200, BODY[:1000], len(BODY)),
    ]
    with pytest.raises(DataError) as error:
        download("set", "file.gz", urls, SUM, folder)
    assert str(error.value).splitlines() == [
        "set: file.gz cannot be downloaded:",
        f"    {urls[0]}file.gz: cannot be reached (ConnectionError)",
        f"    {urls[1]}file.gz: answers 403 Forbidden",
        f"    {urls[2]}file.gz: breaks off before the end of the file",
        f"Nothing was kept. Try again later, put the file into {folder} by hand, or name the "
        "folder that has it by --data-dir or MINICNN_DATA.",
    ]
    assert kept(folder) == []


def test_a_wrong_checksum_names_both_sums(mirrors, folder):
    url = mirrors.offer("/bad/file.gz", 200, b"something else")
    with pytest.raises(DataError) as error:
        download("set", "file.gz", [url], SUM, folder)
    assert SUM in str(error.value)
    assert hashlib.sha256(b"something else").hexdigest() in str(error.value)
    assert kept(folder) == []


def test_a_full_disk_leaves_nothing_behind(mirrors, folder):
    resource = pytest.importorskip("resource")  # a limit of the file's size stands for the disk's
    url = mirrors.offer("/good/file.gz", 200, BODY)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(BODY) // 2, before[1]))
    try:
        with pytest.raises(DataError) as error:
            download("set", "file.gz", [url, url], SUM, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(error.value) == (
        f"set: file.gz cannot be written to {folder}: File too large. Nothing was kept. "
        "Make room there, or choose another folder with --data-dir or MINICNN_DATA."
    )
    assert mirrors.asked == ["/good/file.gz"]  # another mirror would not help
    assert kept(folder) == []


def test_a_folder_that_cannot_be_made(mirrors, tmp_path):
    (tmp_path / "file").touch()
    url = mirrors.offer("/good/file.gz", 200, BODY)
    with pytest.raises(DataError, match=r"cannot be written to .*: Not a directory"):
        download("set", "file.gz", [url], SUM, tmp_path / "file" / "raw")


def test_a_set_is_downloaded_once(mnist_mirror, mnist_arrays, tmp_path):
    splits = load("mnist", tmp_path)
    np.testing.assert_array_equal(
        splits.test.images[..., 0], mnist_arrays["t10k-images-idx3-ubyte"]
    )
    assert kept(tmp_path / "MNIST" / "raw") == sorted(f"{file}.gz" for file in mnist.FILES)
    assert len(mnist_mirror.asked) == 8  # each file first at the mirror that refuses
    again = load("mnist", tmp_path)
    assert len(mnist_mirror.asked) == 8
    np.testing.assert_array_equal(again.train.images, splits.train.images)


def test_only_what_is_missing_is_downloaded(mnist_mirror, mnist_root):
    missing = mnist_root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    missing.unlink()
    load("mnist", mnist_root)
    assert mnist_mirror.asked == [f"/{m}/{missing.name}.gz" for m in ("forbidden", "good")]
