from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from bench.files import fetch
from bench.files.fetch import FetchError, RemoteFile
from bench.progress import Progress
from zoo.errors import InputError

CONTENT = bytes(range(256)) * 1000
ORIGIN = "github:someone/pictures@0123456789abcdef"


def remote(content: bytes = CONTENT, path: str = "a folder/baby (1).bmp") -> RemoteFile:
    return RemoteFile(ORIGIN, path, hashlib.sha256(content).hexdigest())


class Server(ThreadingHTTPServer):
    """A mirror that serves CONTENT at every path, with faults to order."""

    daemon_threads = True
    status = 200
    cut_after: int | None = None
    knows_ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        first = 0
        if wanted and self.server.knows_ranges:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if first >= len(CONTENT):
            self.send_error(416)
            return
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        self.wfile.write(CONTENT[first : self.server.cut_after])

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, no mirror, no proxy, and an origin at a port where nobody listens."""
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SISRBENCH_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(RemoteFile, "url", property(lambda file: f"http://127.0.0.1:1/{file.path}"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("SISRBENCH_MIRROR", serving.address)
        yield serving
        serving.shutdown()
        thread.join()


def have(*files: RemoteFile) -> None:
    fetch.fetch_missing("set5", files, Progress())


def kept(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_layout_of_a_file_in_cache_and_mirror() -> None:
    assert remote().layout == "github/someone/pictures/0123456789abcdef/a folder/baby (1).bmp"


def test_public_address_of_a_file_is_githubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    base = "https://raw.githubusercontent.com/someone/pictures/0123456789abcdef"
    assert remote().url == f"{base}/a%20folder/baby%20%281%29.bmp"


def test_whole_file_arrives_from_a_mirrors_address(server: Server, tmp_path: Path) -> None:
    have(remote())
    assert kept(tmp_path) == [fetch.local_path(remote())]
    assert fetch.local_path(remote()).read_bytes() == CONTENT
    layout = "/github/someone/pictures/0123456789abcdef/a%20folder/baby%20%281%29.bmp"
    assert server.asked == [(layout, None)]


def test_many_files_arrive(server: Server, tmp_path: Path) -> None:
    files = [remote(path=f"{number}.bmp") for number in range(20)]
    have(*files)
    assert kept(tmp_path) == sorted(fetch.local_path(file) for file in files)


def test_what_is_here_is_not_asked_for_again(server: Server) -> None:
    have(remote())
    have(remote())
    assert len(server.asked) == 1
    assert fetch.is_here(remote())


def test_corrupted_cached_file_is_fetched_again(server: Server) -> None:
    have(remote())
    fetch.local_path(remote()).write_bytes(CONTENT[:-1] + b"x")
    assert not fetch.is_here(remote())
    have(remote())
    assert fetch.local_path(remote()).read_bytes() == CONTENT


def test_other_bytes_than_published_are_refused_and_not_placed(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(FetchError, match=r"baby.* is not the file that was published: its SHA"):
        have(remote(b"other"))
    assert kept(tmp_path) == []


def test_cut_off_download_is_continued_by_range(server: Server, tmp_path: Path) -> None:
    server.cut_after = 100_000
    with pytest.raises(FetchError, match=r"baby.*cut off; the received part is kept and continued"):
        have(remote())
    (part,) = kept(tmp_path)
    came = part.read_bytes()
    assert came
    assert CONTENT[:100_000].startswith(came)
    server.cut_after = None
    have(remote())
    assert [wanted for _, wanted in server.asked] == [None, f"bytes={len(came)}-"]
    assert kept(tmp_path) == [fetch.local_path(remote())]
    assert fetch.local_path(remote()).read_bytes() == CONTENT


def test_server_that_ignores_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.knows_ranges = 100_000, False
    with pytest.raises(FetchError, match="cut off"):
        have(remote())
    server.cut_after = None
    have(remote())
    assert str(server.asked[1][1]).startswith("bytes=")
    assert fetch.local_path(remote()).read_bytes() == CONTENT


def test_part_that_is_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.cut_after = 100_000
    with pytest.raises(FetchError, match="cut off"):
        have(remote())
    kept(tmp_path)[0].write_bytes(CONTENT + b"more")
    server.cut_after = None
    have(remote())
    assert fetch.local_path(remote()).read_bytes() == CONTENT


def test_part_that_does_not_belong_is_refused_and_the_next_try_succeeds(
    server: Server, tmp_path: Path
) -> None:
    server.cut_after = 100_000
    with pytest.raises(FetchError, match="cut off"):
        have(remote())
    kept(tmp_path)[0].write_bytes(bytes(100_000))
    server.cut_after = None
    with pytest.raises(FetchError, match="is not the file that was published"):
        have(remote())
    have(remote())
    assert fetch.local_path(remote()).read_bytes() == CONTENT


def test_neither_mirror_nor_origin_has_it(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(
        FetchError,
        match=r"cannot download baby \(1\)\.bmp: .*the server answered 404; .*: no connection; run",
    ):
        have(remote())
    assert kept(tmp_path) == []


def test_without_mirror_and_network_the_error_names_the_file_and_the_way_out() -> None:
    with pytest.raises(FetchError, match=r"baby \(1\)\.bmp: .*no connection.*SISRBENCH_MIRROR"):
        have(remote())


def test_what_the_mirror_lacks_comes_from_the_origin(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SISRBENCH_MIRROR", str(tmp_path / "empty"))
    monkeypatch.setattr(RemoteFile, "url", property(lambda file: f"{server.address}/origin"))
    have(remote())
    assert [path for path, _ in server.asked] == ["/origin"]
    assert fetch.is_here(remote())


def test_files_before_the_failing_one_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "WORKERS", 1)
    there, gone = remote(path="there.bmp"), remote(path="gone.bmp")
    in_folder(tmp_path / "mirror", there, monkeypatch)
    with pytest.raises(FetchError, match=r"gone\.bmp"):
        have(there, gone)
    assert kept(tmp_path) == [fetch.local_path(there)]


def in_folder(
    folder: Path, file: RemoteFile, monkeypatch: pytest.MonkeyPatch, content: bytes = CONTENT
) -> None:
    path = folder / file.layout
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    monkeypatch.setenv("SISRBENCH_MIRROR", str(folder))


@pytest.mark.parametrize("name", ["mirror", "a mirror #1 100%25"])
def test_whole_file_arrives_from_a_mirrors_folder(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_folder(tmp_path / name, remote(), monkeypatch)
    have(remote())
    assert fetch.local_path(remote()).read_bytes() == CONTENT


def test_relative_folder_is_a_mirror_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_folder(tmp_path / "mirror", remote(), monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SISRBENCH_MIRROR", "mirror/")
    have(remote())
    assert fetch.is_here(remote())


def test_other_bytes_in_a_mirrors_folder_are_not_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_folder(tmp_path / "mirror", remote(), monkeypatch, b"other")
    with pytest.raises(FetchError, match="is not the file that was published"):
        have(remote())
    assert kept(tmp_path) == []


def test_one_machines_cache_is_anothers_mirror(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(remote())
    monkeypatch.setenv("SISRBENCH_MIRROR", str(fetch.cache_folder()))
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path / "second"))
    have(remote())
    assert (tmp_path / "second" / remote().layout).read_bytes() == CONTENT


def test_cache_that_cannot_be_written_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(FetchError, match=r"cannot place .*baby.*; free the disk"):
        have(remote())


def test_file_of_a_package_is_where_the_package_is() -> None:
    file = RemoteFile("package:skimage", "data/camera.png", "0" * 64)
    assert fetch.local_path(file).is_file()
    with pytest.raises(FetchError, match=r"camera\.png is missing or changed; install skimage"):
        have(file)


def test_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(FetchError, match=r"a\.png comes with the package nosuchthing; install it"):
        fetch.local_path(RemoteFile("package:nosuchthing", "a.png", "0" * 64))


ADDRESS = "https://download.example.org/models/v1"


def at_address(sha256: str = "") -> RemoteFile:
    return RemoteFile(ADDRESS, "net 1-0edfb8a3.pt", sha256 or remote().sha256)


def test_file_at_an_address_is_laid_out_by_host_and_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    assert at_address().layout == "download.example.org/models/v1/net 1-0edfb8a3.pt"
    assert at_address().url == f"{ADDRESS}/net%201-0edfb8a3.pt"


def test_file_at_an_address_arrives_from_the_mirror_first(server: Server, tmp_path: Path) -> None:
    have(at_address())
    assert server.asked == [("/download.example.org/models/v1/net%201-0edfb8a3.pt", None)]
    assert kept(tmp_path) == [tmp_path / "cache" / at_address().layout]


def test_file_at_an_address_comes_from_there_without_a_mirror(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SISRBENCH_MIRROR")
    monkeypatch.setattr(RemoteFile, "url", property(lambda file: f"{server.address}/{file.path}"))
    server.cut_after = 100_000
    with pytest.raises(FetchError, match="cut off; the received part is kept"):
        have(at_address())
    server.cut_after = None
    have(at_address())
    assert str(server.asked[1][1]).startswith("bytes=")
    assert fetch.local_path(at_address()).read_bytes() == CONTENT


@pytest.mark.parametrize("digits", [8, 9, 63])
def test_first_digits_of_a_hash_are_enough(server: Server, digits: int) -> None:
    file = at_address(remote().sha256[:digits])
    have(file)
    assert fetch.is_here(file)
    fetch.local_path(file).write_bytes(CONTENT[:-1])
    assert not fetch.is_here(file)
    have(file)
    assert fetch.local_path(file).read_bytes() == CONTENT
    assert len(server.asked) == 2


@pytest.mark.parametrize("digits", [8, 12, 64])
def test_one_other_digit_is_refused_and_nothing_is_placed(
    server: Server, tmp_path: Path, digits: int
) -> None:
    first = remote().sha256[:digits]
    other = first[:-1] + ("0" if first[-1] != "0" else "1")
    with pytest.raises(
        FetchError, match=rf"net.*not the file that was pub.* is not {other[:12]}\."
    ):
        have(at_address(other))
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    "sha256", ["", "0edfb8a", "0edfb8ag", "0EDFB8A3", "0" * 65, "0edfb8a3\n", "0x0edfb8"]
)
def test_what_is_no_hash_is_refused(sha256: str) -> None:
    with pytest.raises(InputError, match=r"net\.pt: .* is no SHA-256; give its 64 hex digits"):
        RemoteFile(ADDRESS, "net.pt", sha256)


@pytest.mark.parametrize(
    "origin",
    [
        "http://download.example.org/models",
        "ftp://download.example.org/models",
        "file:///etc",
        "https://",
        "https://localhost/models",
        "https://user@example.org/models",
        "https://example.org/models?file=",
        "https://example.org/models/",
        "github:someone/pictures",
        "download.example.org",
        "",
    ],
)
def test_origin_of_another_kind_is_refused(origin: str) -> None:
    with pytest.raises(InputError, match=r"net\.pt: no origin .*; give github:OWNER/REPOSITORY@"):
        RemoteFile(origin, "net.pt", "0" * 64)


@pytest.mark.parametrize(
    ("origin", "path"),
    [
        (ADDRESS, "../../../net.pt"),
        (ADDRESS, "a/../net.pt"),
        (ADDRESS, "/etc/passwd"),
        (ADDRESS, ""),
        (ORIGIN, "./net.pt"),
        ("https://example.org/../..", "net.pt"),
        ("package:skimage", "../net.pt"),
    ],
)
def test_path_that_leaves_its_origin_is_refused(origin: str, path: str) -> None:
    with pytest.raises(InputError, match="is no path inside"):
        RemoteFile(origin, path, "0" * 64)


def test_address_that_leads_to_plain_http_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def led_away(url: str, **options: Any) -> requests.Response:
        if url.startswith("https:"):
            return asked(f"{server.address}/elsewhere", **options)
        return asked(url, **options)

    asked = requests.get
    monkeypatch.setattr(requests, "get", led_away)
    monkeypatch.delenv("SISRBENCH_MIRROR")
    monkeypatch.setattr(RemoteFile, "url", property(lambda file: f"{ADDRESS}/{file.path}"))
    with pytest.raises(FetchError, match=r"redirected through plain http to http://.*/elsewhere;"):
        have(at_address())
    assert kept(tmp_path) == []
