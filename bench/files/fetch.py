"""Downloads of files that are known by hash, from the public origin or from a mirror.

A file has an origin, a path below the origin, and a SHA-256. The cache and mirrors have the same
layout, so the cache of a machine can be the mirror of another:

    github:owner/repository@commit    github/owner/repository/commit/path
    https://host/folder               host/folder/path

`SISRBENCH_MIRROR` names a folder or an address with this layout, which is tried first.
`SISRBENCH_CACHE` names the folder of the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import platformdirs
import requests

from bench.files.whole import sha256_of
from bench.progress import Progress
from zoo.errors import InputError

WORKERS = 8
"""Downloads at the same time."""
_TIMEOUT = (10, 60)  # seconds to connect, seconds without data from the server
_ORIGIN = re.compile(
    r"github:[\w.-]+/[\w.-]+@[0-9a-f]+|package:[\w.]+|https://[\w-]+(\.[\w-]+)+(/[\w.~+-]+)*"
)
_SHA256 = re.compile("[0-9a-f]{8,64}")


class FetchError(InputError):
    """A file could not be downloaded. A caller may name the missing file and measure the rest."""


class _OtherBytesError(Exception):
    """The downloaded bytes do not have the expected hash."""


class _NotSecureError(requests.RequestException):
    """An https address was redirected to plain http, where any server can answer."""


@dataclass(frozen=True)
class RemoteFile:
    """A public file, pinned by hash.

    Raises:
        InputError: the origin is of another kind (plain http is refused), the path leaves the
            origin, or the hash has fewer than eight digits.
    """

    origin: str
    """`github:owner/repository@commit`, an address `https://host/folder`, or `package:name` for a
    file of an installed package."""
    path: str
    sha256: str
    """All 64 hex digits, or as many first digits as the publisher states; at least eight."""

    def __post_init__(self) -> None:
        if not _ORIGIN.fullmatch(self.origin):
            raise InputError(
                f"{self.path}: no origin {self.origin!r}; give github:OWNER/REPOSITORY@COMMIT, "
                "https://HOST/FOLDER or package:NAME"
            )
        # Empty or dotted parts could lead outside the folder of the origin.
        if {"", ".", ".."} & {*self.path.split("/"), *self.origin.split("/")[3:]}:
            raise InputError(f"{self.path!r} is no path inside {self.origin}; fix the path")
        if not _SHA256.fullmatch(self.sha256):
            raise InputError(
                f"{self.path}: {self.sha256!r} is no SHA-256; give its 64 hex digits, or at least "
                "the first 8, in small letters"
            )

    @property
    def layout(self) -> str:
        """Path in the cache and in a mirror, in the layout at the top of this module."""
        if self.origin.startswith("https://"):
            return f"{self.origin.removeprefix('https://')}/{self.path}"
        host, _, rest = self.origin.partition(":")
        repository, _, commit = rest.partition("@")
        return f"{host}/{repository}/{commit}/{self.path}"

    @property
    def url(self) -> str:
        """Public address; for a file of an installed package, `package:NAME/PATH`."""
        if self.origin.startswith("package:"):
            return f"{self.origin}/{self.path}"
        if self.origin.startswith("https://"):
            return f"{self.origin}/{quote(self.path)}"
        repository, _, commit = self.origin.removeprefix("github:").partition("@")
        return f"https://raw.githubusercontent.com/{repository}/{commit}/{quote(self.path)}"

    def is_at(self, path: Path) -> bool:
        """Whether the local file at `path` has this file's hash."""
        return sha256_of(path).startswith(self.sha256)


def cache_folder() -> Path:
    """The folder of downloads: `SISRBENCH_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("SISRBENCH_CACHE") or platformdirs.user_cache_dir("sisrbench"))


def mirror() -> str:
    """Folder or address of the mirror; '' if there is no mirror."""
    return os.environ.get("SISRBENCH_MIRROR", "")


def local_path(file: RemoteFile) -> Path:
    """The path of the file on this machine, whether downloaded yet or not.

    Raises:
        FetchError: the file belongs to a package that is not installed.
    """
    if file.origin.startswith("package:"):
        package = file.origin.removeprefix("package:")
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise FetchError(f"{file.path} comes with the package {package}; install it")
        return Path(spec.origin).parent / file.path
    return cache_folder() / file.layout


def is_here(file: RemoteFile) -> bool:
    """Whether the file is on this machine, with the right hash."""
    path = local_path(file)
    return path.is_file() and file.is_at(path)


def fetch_missing(name: str, files: Iterable[RemoteFile], progress: Progress) -> None:
    """Download the files that are not on this machine, and check the hash of each.

    A file appears in the cache only when the file is complete and the hash is right. An interrupted
    download is continued by the next call.

    Args:
        name: the noun for the files in the progress line.
        files: the files to have on this machine.
        progress: shows a bar and a line, unless no file is missing.

    Raises:
        FetchError: a file cannot be downloaded, or does not have the expected hash.
    """
    missing = [file for file in files if not is_here(file)]
    if not missing:
        return
    with (
        progress.work(1, len(missing)),
        progress.piece(f"download {name}") as lines,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        waiting = [pool.submit(_fetch_one, file) for file in missing]
        try:
            for future in as_completed(waiting):
                future.result()
                progress.advance()
        except BaseException:  # also Ctrl-C: do not start the downloads that still wait
            pool.shutdown(cancel_futures=True)
            raise
        lines.append(f"{len(missing)} files to {cache_folder()}")


def _fetch_one(file: RemoteFile) -> None:
    """Download a file from the mirror or the origin, check the hash, and place the file.

    Raises:
        FetchError: no source has the file, or a source has other bytes.
    """
    path = local_path(file)
    if file.origin.startswith("package:"):
        raise FetchError(f"{path} is missing or changed; install {file.origin[8:]} again")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(
            f"cannot make the cache folder {path.parent}: {error.strerror or error}; give a folder "
            "that can be written as SISRBENCH_CACHE"
        ) from error
    sources = [file.url]
    if mirror():
        sources.insert(0, _in_mirror(file))
    failures = []
    for source in sources:
        try:
            # In the same folder, because a file can be renamed only within a file system.
            with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
                whole = Path(folder) / path.name
                _download(source, whole, part=path.with_name(f"{path.name}.part"))
                if not file.is_at(whole):
                    raise _OtherBytesError
                whole.replace(path)
            return
        except requests.RequestException as error:
            failures.append(f"{source}: {_reason(error)}")
        except FileNotFoundError:
            failures.append(f"{source}: not there")
        except _OtherBytesError:
            raise FetchError(
                f"{source} is not the file that was published: its SHA-256 is not "
                f"{file.sha256[:12]}...; nothing was kept: try another mirror"
            ) from None
        except OSError as error:
            raise FetchError(
                f"cannot place {path}: {error.strerror}; free the disk, or set SISRBENCH_CACHE"
            ) from error
    raise FetchError(
        f"cannot download {path.name}: {'; '.join(failures)}; run again with a network, "
        "or set SISRBENCH_MIRROR to a folder that holds it"
    )


def _in_mirror(file: RemoteFile) -> str:
    """The address of a file in the mirror; `file://...` if the mirror is a folder."""
    base = mirror().rstrip("/")
    if "://" in base:
        return f"{base}/{quote(file.layout)}"
    return (Path(base).resolve() / file.layout).as_uri()


def _reason(error: requests.RequestException) -> str:
    """The reason of a failed download, in words."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "cut off; the received part is kept and continued by the next try"
    if isinstance(error, _NotSecureError):
        return f"redirected through plain http to {error}"
    return "no connection"


def _download(url: str, whole: Path, part: Path) -> None:
    """Download an address to the file `whole`; a local mirror's file is copied.

    Args:
        url: the address.
        whole: path of the complete file.
        part: path of the incomplete file, from which an interrupted download continues.
    """
    if url.startswith("file://"):
        shutil.copyfile(url2pathname(urlsplit(url).path), whole)
        return
    had = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={had}-"} if had else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        hops = [hop.url for hop in (*answer.history, answer)]
        if url.startswith("https:") and not all(hop.startswith("https:") for hop in hops):
            raise _NotSecureError(hops[-1])
        # The part is as long as the file or longer, but has another hash: start from the beginning.
        if had and answer.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()
            _download(url, whole, part)
            return
        answer.raise_for_status()
        # A server may ignore the range and send the whole file.
        continued = answer.status_code == requests.codes.partial_content
        with part.open("ab" if continued else "wb") as file:
            for piece in answer.iter_content(1 << 14):  # 16 KiB
                file.write(piece)
    part.replace(whole)
