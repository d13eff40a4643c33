from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import DataError, available, cifar, load
from tests.data.pickles import array, dictionary, nested, number, numbers, text

N = 20  # images in a file of these tests
PY, BIN = cifar.VERSIONS


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(cifar, "IMAGES", N)


@pytest.fixture
def batches() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pixels (n, 3, 32, 32) and labels of each file."""
    rng = np.random.default_rng(0)
    return {
        file: (rng.integers(0, 256, (N, 3, 32, 32), dtype=np.uint8), rng.permutation(N) % 10)
        for file in cifar.FILES
    }


def files_of(version: cifar.Version, batches: dict) -> dict[str, bytes]:
    """The content of each file, as it was published."""
    files = {}
    for file, (pixels, labels) in batches.items():
        flat = pixels.reshape(N, -1)
        if version is PY:
            files[file] = dictionary(
                batch_label=text(b"some"), labels=numbers(labels), data=array(flat)
            )
        else:
            files[f"{file}.bin"] = np.c_[labels.astype(np.uint8), flat].tobytes()
    return files


def tar_gz(files: dict[str, bytes], folder: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def put(root: Path, version: cifar.Version, files: dict[str, bytes], *, packed: bool) -> Path:
    """Write the files under ``root`` as a folder or as an archive; return which."""
    root.mkdir(parents=True, exist_ok=True)
    if packed:
        place = root / version.archive
        place.write_bytes(tar_gz(files, version.folder))
        return place
    place = root / version.folder
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    return place


def black(n: int) -> np.ndarray:
    return np.zeros((n, 3072), np.uint8)


def listing(root: Path) -> list[tuple[Path, int]]:
    return [(path, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))]


forms = pytest.mark.parametrize(
    ("version", "packed"),
    [(version, packed) for version in (PY, BIN) for packed in (False, True)],
    ids=["python", "python.tar.gz", "binary", "binary.tar.gz"],
)


@forms
def test_what_is_there_is_read_and_nothing_is_written(tmp_path, batches, version, packed):
    place = put(tmp_path, version, files_of(version, batches), packed=packed)
    before = listing(tmp_path)
    train, test = cifar.load(tmp_path)
    assert listing(tmp_path) == before
    pixels, labels = (np.concatenate([batches[f][i] for f in cifar.FILES[:5]]) for i in (0, 1))
    np.testing.assert_array_equal(train.images.transpose(0, 3, 1, 2), pixels)
    np.testing.assert_array_equal(train.labels, labels)
    np.testing.assert_array_equal(test.images.transpose(0, 3, 1, 2), batches["test_batch"][0])
    np.testing.assert_array_equal(test.labels, batches["test_batch"][1])
    for part in (train, test):
        assert part.name == "cifar10"
        assert part.images.flags.c_contiguous
        assert part.classes[:4] == ("airplane", "automobile", "bird", "cat")
        assert part.classes[4:] == ("deer", "dog", "frog", "horse", "ship", "truck")
    assert available(tmp_path)["cifar10"] == place


def test_the_parts(tmp_path, batches):
    put(tmp_path, BIN, files_of(BIN, batches), packed=False)
    splits = load("cifar10", tmp_path)
    assert [len(part) for part in splits] == [5 * N - 10, 10, N]


def test_a_folder_that_lacks_a_file_is_passed_over(tmp_path, batches):
    folder = put(tmp_path, PY, files_of(PY, batches), packed=False)
    (folder / "data_batch_3").unlink()
    assert available(tmp_path)["cifar10"] is None
    archive = put(tmp_path, BIN, files_of(BIN, batches), packed=True)
    assert available(tmp_path)["cifar10"] == archive
    assert len(cifar.load(tmp_path)[0]) == 5 * N


def test_torchvision_reads_the_same(tmp_path, batches, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    put(tmp_path, PY, files_of(PY, batches), packed=False)
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.CIFAR10, "_load_meta", lambda self: None)
    for ours, train in zip(cifar.load(tmp_path), (True, False), strict=True):
        theirs = datasets.CIFAR10(tmp_path, train=train)
        np.testing.assert_array_equal(ours.images, theirs.data)
        assert ours.labels.tolist() == theirs.targets


def test_files_and_one_source_are_those_of_torchvision():
    theirs = pytest.importorskip("torchvision.datasets").CIFAR10
    assert (PY.folder, PY.archive) == (theirs.base_folder, theirs.filename)
    assert theirs.url in [mirror + PY.archive for mirror in cifar.MIRRORS]
    assert [file for file, _ in theirs.train_list + theirs.test_list] == list(cifar.FILES)


# ------------------------------------------------------------------------------------- downloading


@pytest.fixture
def archive(batches, monkeypatch) -> bytes:
    """The archive that is to be downloaded."""
    packed = tar_gz(files_of(PY, batches), PY.folder)
    monkeypatch.setattr(cifar, "SHA256", hashlib.sha256(packed).hexdigest())
    return packed


def test_it_is_downloaded_once_from_whichever_mirror_has_it(
    mirrors, archive, batches, tmp_path, monkeypatch
):
    urls = (
        mirrors.offer(f"/gone/{PY.archive}", 404),
        mirrors.offer(f"/other/{PY.archive}", 200, b"something else"),
        mirrors.offer(f"/good/{PY.archive}", 200, archive),
    )
    monkeypatch.setattr(cifar, "MIRRORS", urls)
    root = tmp_path / "root"
    for _ in range(2):
        _, test = cifar.load(root)
        np.testing.assert_array_equal(test.labels, batches["test_batch"][1])
        assert [path.name for path in root.iterdir()] == [PY.archive]
    assert mirrors.asked == [f"/{name}/{PY.archive}" for name in ("gone", "other", "good")]


def test_a_wrong_checksum_or_no_mirror_leaves_nothing(mirrors, archive, tmp_path, monkeypatch):
    urls = (
        mirrors.offer(f"/gone/{PY.archive}", 404),
        mirrors.offer(f"/changed/{PY.archive}", 200, archive[:-1] + b"!"),
        mirrors.offer(f"/cut/{PY.archive}", 200, archive[:500], len(archive)),
    )
    monkeypatch.setattr(cifar, "MIRRORS", urls)
    with pytest.raises(DataError) as error:
        load("cifar10", tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []
    lines = str(error.value).splitlines()
    assert lines[0] == f"cifar10: {PY.archive} cannot be downloaded:"
    assert "answers 404" in lines[1]
    assert cifar.SHA256 in lines[2]
    assert "breaks off before the end" in lines[3]


# ----------------------------------------------------------------------------------------- damage


def of_labels(fourth: bytes) -> bytes:
    """A file whose fourth label is so pickled."""
    others = numbers([0] * N).removesuffix(b"e").replace(number(0), fourth, 4)
    labels = others.replace(fourth, number(0), 3) + b"e"
    return dictionary(labels=labels, data=array(black(N)))


def refused(root: Path) -> str:
    with pytest.raises(DataError) as error:
        load("cifar10", root)
    text = str(error.value)
    assert text.startswith("cifar10: ")
    assert "to download it again." in text
    assert len(text) < 1000
    return text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[: len(b) // 2], "is damaged (Compressed file ended before the end-of-stream"),
        (lambda b: b[:-4], "is damaged (Compressed file ended before the end-of-stream"),
        (lambda b: b[:-8] + bytes([b[-8] ^ 1]) + b[-7:], "is damaged (CRC check failed"),
        (lambda b: b"<!DOCTYPE html>", "is damaged (Not a gzipped file"),
        (lambda b: b"", "is damaged ("),
        (lambda b: gzip.compress(b"no tar"), "is damaged ("),
        (
            lambda b: gzip.compress(gzip.decompress(b)[:70_000]),
            "is damaged (unexpected end of",
        ),
        (lambda b: tar_gz({}, "empty"), "has no data_batch_1, data_batch_2, data_batch_3, data_"),
    ],
)
@pytest.mark.parametrize("version", [PY, BIN])
def test_a_damaged_archive_is_named(tmp_path, batches, version, change, message):
    place = put(tmp_path, version, files_of(version, batches), packed=True)
    place.write_bytes(change(place.read_bytes()))
    text = refused(tmp_path)
    assert f"{place} {message}" in text
    assert f"Delete {place} to" in text


def test_a_link_in_an_archive_is_not_followed(tmp_path, batches):
    files = files_of(BIN, batches)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    place = put(tmp_path, BIN, files, packed=True)
    place.write_bytes(packed.getvalue())
    assert "is damaged (cannot extract (sym)link" in refused(tmp_path)


@pytest.mark.parametrize(
    ("version", "change", "message"),
    [
        (BIN, lambda b: b[:-3073], "has 58387 bytes where 61460 are expected"),
        (BIN, lambda b: b + b"\0", "has 61461 bytes where 61460 are expected"),
        (BIN, lambda b: b"", "has 0 bytes where"),
        (
            BIN,
            lambda b: b[:3073] + b"\x0c" + b[3074:],
            "gives image 1 the label 12 where an integer of 0 to 9 is expected. Delete",
        ),
        (PY, lambda b: b[:-9], "cannot be unpickled ("),
        (PY, lambda b: b"", "cannot be unpickled (pickle exhausted before seeing STOP)"),
        (PY, lambda b: b"<html>", "cannot be unpickled ("),
        (PY, lambda b: b"\x80\x02K\x05.", "holds a int where a dictionary is expected"),
        (PY, lambda b: dictionary(labels=numbers([1])), "does not hold an array b'data' and a"),
        (
            PY,
            lambda b: dictionary(labels=numbers([1] * 3), data=array(black(3))),
            "holds images of shape (3, 3072) and 3 labels where (20, 3072) and 20 are expected",
        ),
        (
            PY,
            lambda b: dictionary(
                labels=numbers([*range(10), -1, *range(9)]),
                data=array(black(N)),
            ),
            "gives image 10 the label -1 where",
        ),
        (PY, lambda b: of_labels(b"G" + struct.pack(">d", 3.0)), "gives image 3 the label 3.0 whe"),
        (PY, lambda b: of_labels(b"\x88"), "gives image 3 the label True where an integer"),
        (PY, lambda b: of_labels(b"N"), "gives image 3 the label None where an integer"),
        (PY, lambda b: of_labels(nested(100_000)), "gives image 3 the label [[[[[[[...]]]]]]]"),
        (PY, lambda b: of_labels(text(b"x" * 5_000_000)), "gives image 3 the label b'xxxxx"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, batches, version, change, message):
    files = files_of(version, batches)
    name = f"data_batch_4{version.suffix}"
    place = put(tmp_path, version, files | {name: change(files[name])}, packed=False)
    assert f"cifar10: data_batch_4 in {place} {message}" in refused(tmp_path)


def test_a_pickle_cannot_run_anything(tmp_path, batches):
    witness = tmp_path / "witness"
    evil = b"cos\nsystem\n(S'touch %s'\ntR." % str(witness).encode()
    place = put(tmp_path, PY, files_of(PY, batches) | {"test_batch": evil}, packed=False)
    message = f"test_batch in {place} cannot be unpickled (it asks for os.system, which is not"
    assert message in refused(tmp_path)
    assert not witness.exists()


def test_a_root_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    for name in ("cifar10", "mnist"):
        with pytest.raises(DataError, match=rf"^{name}: {tmp_path}/.* may not be read. Allow your"):
            load(name, tmp_path)
