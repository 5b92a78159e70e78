"""Downloads by hash: from the public origin, or from a mirror laid out like it.

A file has an origin (`github:owner/repository@commit`), a path inside it and a SHA-256. It is
placed under the cache at `github/owner/repository/commit/path`, so that one machine's cache can
be another's mirror. `SISRBENCH_MIRROR` names a folder or an address of that layout, tried first;
`SISRBENCH_CACHE` moves the cache.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import pooch
import requests

from bench.images import sha256_of
from bench.progress import Progress
from zoo.errors import InputError

WORKERS = 8
_TIMEOUT = (10, 60)  # seconds to connect, seconds between two pieces

pooch.get_logger().setLevel("WARNING")


class FetchError(InputError):
    """A file could not be had; what is missing can be named and the rest measured."""


@dataclass(frozen=True)
class RemoteFile:
    """A public file, pinned."""

    origin: str
    """`github:owner/repository@commit`, or `package:name` for a file of an installed package."""
    path: str
    sha256: str

    @property
    def layout(self) -> str:
        """Path in the cache and in a mirror: `github/owner/repository/commit/path`."""
        host, _, rest = self.origin.partition(":")
        repository, _, commit = rest.partition("@")
        return f"{host}/{repository}/{commit}/{self.path}"

    @property
    def url(self) -> str:
        """Public address."""
        repository, _, commit = self.origin.removeprefix("github:").partition("@")
        return f"https://raw.githubusercontent.com/{repository}/{commit}/{quote(self.path)}"


def cache_folder() -> Path:
    """Where downloads are kept: `SISRBENCH_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("SISRBENCH_CACHE") or pooch.os_cache("sisrbench"))


def mirror() -> str:
    """The mirror's folder or address, '' without one."""
    return os.environ.get("SISRBENCH_MIRROR", "")


def local_path(file: RemoteFile) -> Path:
    """Where the file is, or will be once fetched."""
    if file.origin.startswith("package:"):
        package = file.origin.removeprefix("package:")
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise FetchError(f"{file.path} comes with the package {package}; install it")
        return Path(spec.origin).parent / file.path
    return cache_folder() / file.layout


def is_here(file: RemoteFile) -> bool:
    """Whether the file is on this machine, byte for byte."""
    path = local_path(file)
    return path.is_file() and sha256_of(path) == file.sha256


def fetch_missing(name: str, files: Iterable[RemoteFile], progress: Progress) -> None:
    """Have every file on this machine, verified; what is here already is left alone.

    A file is placed only when it is whole and its hash is right; one that was cut off is
    continued by the next call. Progress speaks of them as `name`, if any is missing.

    Raises:
        FetchError: a file cannot be had, or is not what its hash says.
    """
    missing = [file for file in files if not is_here(file)]
    if not missing:
        return
    with (
        progress.work(1, len(missing)),
        progress.piece(f"download {name}") as gist,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        waiting = [pool.submit(_fetch_one, file) for file in missing]
        try:
            for future in as_completed(waiting):
                future.result()
                progress.advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        gist.append(f"{len(missing)} files to {cache_folder()}")


def _fetch_one(file: RemoteFile) -> None:
    path = local_path(file)
    if file.origin.startswith("package:"):
        raise FetchError(f"{path} is missing or changed; install {file.origin[8:]} again")
    sources = [file.url]
    if mirror():
        sources.insert(0, _in_mirror(file))
    failures = []
    for source in sources:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pooch.retrieve(
                source,
                known_hash=f"sha256:{file.sha256}",
                fname=path.name,
                path=path.parent,
                downloader=partial(_download, part=path.with_name(f"{path.name}.part")),
            )
            return
        except requests.RequestException as error:
            failures.append(f"{source}: {_reason(error)}")
        except FileNotFoundError:
            failures.append(f"{source}: not there")
        except ValueError as error:
            raise FetchError(
                f"{source} is not the file that was published: its SHA-256 is not "
                f"{file.sha256[:12]}...; nothing was kept: try another mirror"
            ) from error
        except OSError as error:
            raise FetchError(
                f"cannot place {path}: {error.strerror}; free the disk, or set SISRBENCH_CACHE"
            ) from error
    raise FetchError(
        f"cannot download {path.name}: {'; '.join(failures)}; run again with a network, "
        "or set SISRBENCH_MIRROR to a folder that holds it"
    )


def _in_mirror(file: RemoteFile) -> str:
    base = mirror().rstrip("/")
    if "://" in base:
        return f"{base}/{quote(file.layout)}"
    return (Path(base).resolve() / file.layout).as_uri()


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "cut off; what came is kept and continued by the next try"
    return "no connection"


def _download(url: str, output_file: Any, _: Any, *, part: Path) -> None:
    """Pooch's downloader interface: copy a mirror's file, or continue the `part` that is there."""
    if url.startswith("file://"):
        shutil.copyfile(url2pathname(urlsplit(url).path), output_file)
        return
    had = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={had}-"} if had else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()
            _download(url, output_file, _, part=part)
            return
        answer.raise_for_status()
        continued = answer.status_code == requests.codes.partial_content
        with part.open("ab" if continued else "wb") as file:
            for piece in answer.iter_content(1 << 14):
                file.write(piece)
    shutil.move(part, output_file)
