"""Downloading a file from one of several mirrors: complete and verified, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minicnn.data.dataset import DataError

TIMEOUT = 30  # seconds without a byte


def is_there(name: str, path: Path) -> bool:
    """Return whether the file exists. Raises DataError if permission is missing."""
    try:
        return path.is_file()
    except PermissionError as error:
        raise DataError(f"{name}: {path} may not be read. Allow yourself to read it.") from error


def download(name: str, file: str, mirrors: Sequence[str], sha256: str, folder: Path) -> Path:
    """Fetch ``file`` into ``folder`` and return its path.

    The mirrors are tried in turn; they are URLs to which ``file`` is appended. The file appears
    under its name only when it is complete and its checksum is right. Raises DataError if it cannot
    be written, or if no mirror provides it; the message has the reason of each mirror.
    """
    import pooch
    from requests.exceptions import RequestException

    reasons = []
    for mirror in mirrors:
        url = mirror + file
        try:
            # pooch downloads to a temporary file in the folder, verifies it and renames it.
            pooch.retrieve(url, f"sha256:{sha256}", file, folder, downloader=_fetch)
            return folder / file
        except (RequestException, ValueError) as error:  # pooch's ValueError: the checksum
            reasons.append(f"    {url}: {_reason(error)}")
        except OSError as error:
            raise DataError(
                f"{name}: {file} cannot be written to {folder}: {error.strerror or error}. "
                "Nothing was kept. Make room there, or choose another folder with --data-dir or "
                "MINICNN_DATA."
            ) from error
    raise DataError(
        "\n".join(
            [
                f"{name}: {file} cannot be downloaded:",
                *reasons,
                f"Nothing was kept. Try again later, put the file into {folder} by hand, or name "
                "the folder that has it by --data-dir or MINICNN_DATA.",
            ]
        )
    )


def _fetch(url: str, output: str, pooch: object) -> None:
    """Write the answer of ``url`` into the file ``output``, with a progress bar on stderr."""
    import requests
    from tqdm import tqdm

    with requests.get(url, stream=True, timeout=TIMEOUT) as response, open(output, "wb") as file:
        response.raise_for_status()
        size = int(response.headers.get("content-length", 0)) or None
        with tqdm(total=size, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[1]) as bar:
            for chunk in response.iter_content(2**16):
                file.write(chunk)
                bar.update(len(chunk))


def _reason(error: Exception) -> str:
    from requests.exceptions import ChunkedEncodingError, ConnectionError, HTTPError, Timeout

    if isinstance(error, HTTPError) and error.response is not None:
        return f"answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, Timeout):
        return "does not answer"
    if isinstance(error, ChunkedEncodingError):
        return "breaks off before the end of the file"
    if isinstance(error, ConnectionError):
        return f"cannot be reached ({type(error).__name__})"
    return str(error)
