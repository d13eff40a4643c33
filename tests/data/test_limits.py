"""Files that claim to be large are refused before they are read."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from minicnn import data
from minicnn.data import DataError, cifar, idx, tree
from minicnn.data.pickled import read_pickle


def png(width: int, height: int, kind: int = 2, chunks: bytes = b"") -> bytes:
    """A PNG of that size whose header alone is right."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    pixels = zlib.compress(bytes((width * 3 + 1) * height) if width * height < 10**4 else b"")
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )  # fmt: skip


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        data.read_image(path, None, 3)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as outside of tests
def test_a_picture_of_169_megapixels(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png(13_000, 13_000))
    assert "has 13,000 x 13,000 pixels, more than 50 million. Resize it." in refused(
        tmp_path / "large.png"
    )


def test_a_palette_that_is_not_there_and_an_empty_profile(tmp_path: Path) -> None:
    (tmp_path / "palette.png").write_bytes(png(4, 4, kind=3))
    refused(tmp_path / "palette.png")
    empty = struct.pack(">I", 0) + b"iCCP" + struct.pack(">I", zlib.crc32(b"iCCP"))
    (tmp_path / "profile.png").write_bytes(png(4, 4, chunks=empty))
    with suppress(DataError):  # some versions of Pillow read it
        data.read_image(tmp_path / "profile.png", None, 3)


def test_whatever_pillow_raises_is_told(tmp_path: Path, monkeypatch) -> None:
    from PIL import Image

    (tmp_path / "a.png").write_bytes(png(4, 4))

    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr(Image, "open", fail)
    assert "cannot be read (AssertionError)" in refused(tmp_path / "a.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        os.mkfifo(tmp_path / label / "1.png")
    with pytest.raises(DataError, match="a pipe, a device or a folder"):
        data.load(f"imagefolder:{tmp_path}")


def test_a_zip_whose_member_unpacks_to_much(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tree, "MOST", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for label in ("cat", "dog"):
            archive.writestr(f"{label}/1.png", bytes(2000))
    with pytest.raises(DataError, match=r"unpacks to 2\.0 kB, and an image has at most 1\.0 kB"):
        data.load(f"imagefolder:{tmp_path / 'a.zip'}")


def test_a_gz_is_read_no_further_than_its_header_says(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "labels.gz"
    monkeypatch.setattr(idx, "MOST", 10**6)
    header = bytes([0, 0, 8, 1]) + (5).to_bytes(4, "big")
    path.write_bytes(gzip.compress(header + bytes(10**7)))
    with pytest.raises(DataError, match="has more than the 13 bytes that are expected"):
        idx.read_idx("mnist", path, 1)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + b"\xff" * 4 + bytes(10**7)))
    with pytest.raises(DataError, match=r"labels\.gz"):
        idx.read_idx("mnist", path, 1)
    (tmp_path / "labels").write_bytes(bytes(10**6 + 1))
    with pytest.raises(DataError, match=r"it has 1\.0 MB, and a file of mnist has at most 1\.0 MB"):
        idx.read_idx("mnist", tmp_path / "labels", 1)


@pytest.mark.parametrize("inside", [True, False])
def test_a_tar_that_claims_100_gigabytes(tmp_path: Path, inside: bool) -> None:
    info = tarfile.TarInfo("cifar-10-batches-py/data_batch_1" if inside else "other")
    info.size = 10**11
    content = io.BytesIO()
    with gzip.open(content, "w") as packed:
        packed.write(info.tobuf() + bytes(10**5))
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(content.getvalue())
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is damaged \(.+\)") as caught:
        cifar.load(tmp_path)
    assert "claims 100.0 GB" in str(caught.value)


def test_an_archive_that_unpacks_to_much(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cifar, "MOST_ARCHIVE", 10**5)
    info = tarfile.TarInfo("other")
    info.size = 10**5
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf() + bytes(10**6)))
    with pytest.raises(DataError, match=r"it unpacks to more than 100\.0 kB"):
        cifar.load(tmp_path)


def test_tuples_within_tuples_are_not_hashed() -> None:
    nest = b")q\x00" + b"".join(
        b"h" + bytes([k]) + b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) for k in range(60)
    )  # the last one hashed has 2**60 members
    with pytest.raises(ValueError, match="a tuple is used as a key"):
        read_pickle(b"\x80\x02}(" + nest + b"K\x01u.")


def test_a_home_that_nobody_has() -> None:
    with pytest.raises(ValueError, match=r"there is no home folder of ~nosuchuser\."):
        data.load("imagefolder:~nosuchuser/x")
