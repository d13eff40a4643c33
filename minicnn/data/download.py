"""Fetching a file: from whichever mirror has it, whole and verified, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minicnn.data.dataset import DataError


def download(name: str, file: str, mirrors: Sequence[str], sha256: str, folder: Path) -> Path:
    """Fetch ``file`` into ``folder`` and return its path.

    The mirrors, URLs that ``file`` is appended to, are tried in turn. The file appears under its
    name only when it is complete and has the checksum. Raises DataError when no mirror provides
    it, with the reason of each, or when it cannot be written.
    """
    import pooch
    from requests.exceptions import RequestException

    reasons = []
    for mirror in mirrors:
        url = mirror + file
        try:
            fetcher = pooch.HTTPDownloader(progressbar=True, chunk_size=2**16)
            pooch.retrieve(url, f"sha256:{sha256}", file, folder, downloader=fetcher)
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
                f"Nothing was kept. Try again later, or put the file into {folder} by hand.",
            ]
        )
    )


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
