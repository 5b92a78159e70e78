"""Downloads of files that are known by hash, from the public origin or from a mirror.

A file has an origin, a path below the origin, and a SHA-256. The cache and mirrors have the same
layout, so the cache of a machine can be the mirror of another:

    github:owner/repository@commit    github/owner/repository/commit/path
    https://host/folder               host/folder/path

`SISRBENCH_MIRROR` names a folder or an address with this layout, which is tried first.
`SISRBENCH_CACHE` names the folder of the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import platformdirs

from bench.files import download
from bench.files.download import SourceError, TooLongError
from bench.files.whole import sha256_of
from bench.progress import Progress
from zoo.errors import InputError

if sys.platform != "win32":
    import fcntl

WORKERS = 8
"""Downloads at the same time."""
_ORIGIN = re.compile(
    r"github:[\w.-]+/[\w.-]+@[0-9a-f]+|package:[\w.]+|https://[\w-]+(\.[\w-]+)+(/[\w.~+-]+)*"
)
_SHA256 = re.compile("[0-9a-f]{8,64}")


class FetchError(InputError):
    """A file could not be downloaded. A caller may name the missing file and measure the rest."""


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
    size: int | None = None
    """In bytes; None if nobody states it."""

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
    download is continued by the next call. No more bytes are received than the file has, or
    `download.MOST` if nobody states the size. Of several processes that want the same file, one
    downloads it and the others wait; Windows lacks the lock for it.

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
        stop = threading.Event()
        waiting = [pool.submit(_fetch_one, file, progress, stop) for file in missing]
        try:
            for future in as_completed(waiting):
                future.result()
                progress.advance()
        except BaseException:  # also Ctrl-C: do not start the downloads that still wait
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
        lines.append(f"{len(missing)} files to {cache_folder()}")


def _fetch_one(file: RemoteFile, progress: Progress, stop: threading.Event) -> None:
    """Download a file from the mirror or the origin, check the hash, and place the file.

    Args:
        file: the file.
        progress: says that another process downloads the file.
        stop: once set, do not wait for another process any more.

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
    try:
        with _own_part(path, progress, stop) as (part, opened):
            if is_here(file):  # another process has placed it
                part.unlink()
                return
            try:
                _receive(file, opened)
            except _NotTheFileError:
                part.unlink()
                raise
            opened.flush()
            part.replace(path)
    except OSError as error:
        raise FetchError(
            f"cannot place {path}: {error.strerror}; free the disk, or set SISRBENCH_CACHE"
        ) from error


class _NotTheFileError(FetchError):
    """A source has other bytes than the file."""


def _receive(file: RemoteFile, opened: io.BufferedRandom) -> None:
    """Receive a file from the first source that has it, and check the hash.

    Args:
        file: the file.
        opened: open for appending and reading; holds what an interrupted download has received.

    Raises:
        _NotTheFileError: a source has other bytes, or more.
        FetchError: no source has the file.
        OSError: the bytes cannot be written.
    """
    sources = [file.url]
    if mirror():
        sources.insert(0, _in_mirror(file))
    most = download.MOST if file.size is None else file.size
    failures = []
    for source in sources:
        try:
            if source.startswith("file://"):
                download.copy(Path(url2pathname(urlsplit(source).path)), opened, most)
            else:
                download.download(source, opened, most)
        except SourceError as error:
            failures.append(f"{source}: {error}")
            continue
        except TooLongError:
            limit = f"{most:,} bytes, the file's size; nothing was kept: try another mirror"
            if file.size is None:
                limit = (
                    f"{most:,} bytes, the limit for a file of unknown size; nothing was kept: try "
                    f"another mirror, or place it as {local_path(file)}"
                )
            raise _NotTheFileError(f"{source} sends more than {limit}") from None
        opened.seek(0)
        if not hashlib.file_digest(opened, "sha256").hexdigest().startswith(file.sha256):
            raise _NotTheFileError(
                f"{source} is not the file that was published: its SHA-256 is not "
                f"{file.sha256[:12]}...; nothing was kept: try another mirror"
            )
        return
    raise FetchError(
        f"cannot download {Path(file.path).name}: {'; '.join(failures)}; run again with a network, "
        "or set SISRBENCH_MIRROR to a folder that holds it"
    )


@contextlib.contextmanager
def _own_part(
    path: Path, progress: Progress, stop: threading.Event
) -> Iterator[tuple[Path, io.BufferedRandom]]:
    """The file beside `path` that receives a download, and that file opened, locked.

    The system drops the lock of a killed process, so the next one continues the file. An empty
    file is deleted at the end.

    Args:
        path: where the complete file is to be.
        progress: says that another process has the lock.
        stop: once set, do not wait any more.

    Raises:
        FetchError: stopped while waiting.
        OSError: the file cannot be made.
    """
    part, said = path.with_name(f"{path.name}.part"), False
    while True:
        with part.open("a+b") as opened:
            if not _locked(opened):
                if not said:
                    progress.say(f"{path.name}: another fetch is downloading it; waiting")
                said = True
            elif _is_at(part, opened):  # else the process before has placed or deleted it
                try:
                    yield part, opened
                finally:
                    if _is_at(part, opened) and not opened.seek(0, os.SEEK_END):
                        part.unlink()
                return
        if stop.wait(0.1 if said else 0):
            raise FetchError(f"{path.name}: stopped before another fetch had downloaded it")


def _locked(opened: io.BufferedRandom) -> bool:
    """Lock a file against other processes and threads; False if one of them has the lock."""
    if sys.platform != "win32":
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _is_at(path: Path, opened: io.BufferedRandom) -> bool:
    """Whether an open file is still the file at a path."""
    try:
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _in_mirror(file: RemoteFile) -> str:
    """The address of a file in the mirror; `file://...` if the mirror is a folder."""
    base = mirror().rstrip("/")
    if "://" in base:
        return f"{base}/{quote(file.layout)}"
    return (Path(base).resolve() / file.layout).as_uri()
