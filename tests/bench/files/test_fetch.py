from __future__ import annotations

import contextlib
import gzip
import hashlib
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from bench import datasets
from bench.files import download, fetch
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
    body: Callable[[Handler], None] | None = None
    """Answers instead of CONTENT."""

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
        if self.server.body is not None:
            with contextlib.suppress(ConnectionError):
                self.server.body(self)
            return
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


def refused(server: Server, body: Callable[[Handler], None], *files: RemoteFile) -> str:
    """The message about an answer that is no file, which must come within 5 s and 32 MiB."""
    server.body = body
    start = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(FetchError) as caught:
            have(*files or [remote()])
        assert time.monotonic() - start < 5
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    return str(caught.value)


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
    with pytest.raises(
        FetchError,
        match=r"cannot make the cache folder .*: Not a directory; give a folder that can be wri",
    ):
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
    def redirected(session: requests.Session, url: str, **options: Any) -> requests.Response:
        assert url.startswith("https:"), "plain http was asked"
        return asked(session, f"{server.address}/redirects", **options)

    asked = requests.Session.get
    monkeypatch.setattr(requests.Session, "get", redirected)
    monkeypatch.delenv("SISRBENCH_MIRROR")
    monkeypatch.setattr(RemoteFile, "url", property(lambda file: f"{ADDRESS}/{file.path}"))
    server.body = redirects(f"{server.address}/elsewhere")
    with pytest.raises(FetchError, match=r"redirected through plain http to http://.*/elsewhere;"):
        have(at_address())
    assert kept(tmp_path) == []


# Answers without end


def redirects(to: str, after: bytes = b"") -> Callable[[Handler], None]:
    def body(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()
        if after:
            endless(handler, after)

    return body


def endless(handler: Handler, piece: bytes = bytes(1 << 16)) -> None:
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(piece)


def slow(handler: Handler, *pieces: bytes) -> None:
    """One byte every 20 ms, after the pieces."""
    for piece in pieces:
        handler.wfile.write(piece)
    for _ in range(1000):
        handler.wfile.write(b"x")
        time.sleep(0.02)


def endless_body(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    endless(handler)


def endless_chunks(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    endless(handler, b"10000\r\n" + bytes(1 << 16) + b"\r\n")


def endless_chunk_length(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    endless(handler, b"0" * (1 << 16))


def endless_trailer(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    endless(handler, b"a" * (1 << 16))


def endless_continue(handler: Handler) -> None:
    endless(handler, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def stated_length(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(10**12))
    handler.end_headers()
    endless(handler)


def sized(size: int | None = len(CONTENT)) -> RemoteFile:
    return replace(remote(), size=size)


@pytest.mark.parametrize("body", [endless_body, endless_chunks, endless_continue, stated_length])
def test_endless_answer_ends_at_the_size_of_the_manifest(
    server: Server, tmp_path: Path, body: Callable[[Handler], None]
) -> None:
    message = refused(server, body, sized())
    assert "sends more than 256,000 bytes, the file's size; nothing was kept" in message
    assert kept(tmp_path) == []


@pytest.mark.parametrize("body", [endless_chunk_length, endless_trailer])
def test_endless_framing_ends(
    server: Server, tmp_path: Path, body: Callable[[Handler], None]
) -> None:
    """urllib3 may have a limit of its own, and then says that the answer is cut off."""
    assert re.search("sends more than 256,000 bytes|cut off", refused(server, body, sized()))
    assert kept(tmp_path) == []


def test_endless_answer_ends_at_a_bound_that_is_said_if_no_size_is_known(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MOST", 1_000_000)
    message = refused(server, endless_body, sized(None))
    assert "sends more than 1,000,000 bytes, the limit for a file of unknown size" in message
    assert f"place it as {fetch.local_path(remote())}" in message
    assert kept(tmp_path) == []


def test_one_byte_more_than_the_size_is_refused_and_the_exact_size_is_not(server: Server) -> None:
    server.body = None
    with pytest.raises(FetchError, match="sends more than 255,999 bytes"):
        have(sized(len(CONTENT) - 1))
    have(sized())
    assert fetch.is_here(sized())


def test_endless_body_of_a_redirect_is_not_read(server: Server, tmp_path: Path) -> None:
    loop = redirects(f"{server.address}/again", bytes(1 << 16))
    assert "redirected more than 10 times" in refused(server, loop)
    assert kept(tmp_path) == []


def test_compressed_answer_is_refused_and_not_expanded(server: Server, tmp_path: Path) -> None:
    content = gzip.compress(gzip.compress(bytes(1 << 26)))

    def bomb(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip, gzip")
        handler.end_headers()
        handler.wfile.write(content)

    assert "compressed the file (gzip, gzip)" in refused(server, bomb)
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 256000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_drops_of_bytes_end_and_the_least_rate_is_said(
    server: Server, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    monkeypatch.setattr(download, "WINDOW", 0.5)
    message = refused(server, lambda handler: slow(handler, before), sized())
    assert "slower than 1024 bytes/s for 0.5 s" in message


def test_slow_download_is_continued(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:100_000])
        time.sleep(0.7)
        handler.wfile.write(CONTENT[100_000:100_001])
        time.sleep(1)

    monkeypatch.setattr(download, "WINDOW", 0.2)
    assert "slower than 1024 bytes/s for 0.2 s" in refused(server, half, sized())
    (part,) = kept(tmp_path)
    came = part.stat().st_size
    assert 0 < came <= 100_001
    server.body = None
    have(sized())
    assert server.asked[-1][1] == f"bytes={came}-"
    assert kept(tmp_path) == [fetch.local_path(remote())]


def test_folder_of_a_mirror_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_folder(tmp_path / "mirror", remote(), monkeypatch, bytes(len(CONTENT) + 1))
    with pytest.raises(FetchError, match="sends more than 256,000 bytes, the file's size"):
        have(sized())
    path = tmp_path / "mirror" / remote().layout
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(FetchError, match="not there"):
        have(sized())
    assert kept(tmp_path) == []


def test_sizes_of_the_manifests_are_the_bounds() -> None:
    sizes = {image: file.size for image, file in datasets.manifest("set5").role("HR").items()}
    assert sizes["butterfly"] == 196730


# Killed, and several at a time

FETCH = """
import sys
from bench.files import fetch
from bench.progress import Progress
file = fetch.RemoteFile(*sys.argv[1:])
print("ready", flush=True)
fetch.fetch_missing("set5", [file], Progress())
print(fetch.is_here(file))
"""


def started() -> subprocess.Popen[str]:
    file = remote()
    command = [sys.executable, "-c", FETCH, file.origin, file.path, file.sha256]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def half_and_wait(go_on: threading.Event) -> Callable[[Handler], None]:
    def body(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:100_000])
        go_on.wait(30)
        handler.wfile.write(CONTENT[100_000:])

    return body


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_killed_download_leaves_nothing_once_the_file_is_here(
    server: Server, tmp_path: Path
) -> None:
    go_on = threading.Event()
    server.body = half_and_wait(go_on)
    process = started()
    until(lambda: any(path.stat().st_size for path in kept(tmp_path)))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    go_on.set()
    server.body = None
    have(remote())
    assert [path for path in (tmp_path / "cache").rglob("*") if not path.is_dir()] == [
        fetch.local_path(remote())
    ]
    assert list(fetch.local_path(remote()).parent.iterdir()) == [fetch.local_path(remote())]


def test_second_fetch_waits_for_the_first_and_asks_nobody(server: Server, tmp_path: Path) -> None:
    go_on = threading.Event()
    server.body = half_and_wait(go_on)
    first = started()
    until(lambda: server.asked)
    second = started()
    time.sleep(0.5)
    go_on.set()
    said = [process.communicate(timeout=30) for process in (first, second)]
    assert [out for out, _ in said] == ["True\n", "True\n"]
    assert "another fetch is downloading" in said[1][1]
    assert len(server.asked) == 1
    assert kept(tmp_path) == [fetch.local_path(remote())]


def test_waiting_fetch_takes_over_from_a_killed_one(server: Server, tmp_path: Path) -> None:
    go_on = threading.Event()
    server.body = half_and_wait(go_on)
    first = started()
    until(lambda: server.asked and any(path.stat().st_size for path in kept(tmp_path)))
    second = started()
    time.sleep(0.5)
    server.body = None
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert second.communicate(timeout=30)[0] == "True\n"
    go_on.set()
    assert len(server.asked) == 2
    assert kept(tmp_path) == [fetch.local_path(remote())]
