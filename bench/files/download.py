"""Downloads over HTTP that end: bounded in bytes and by a least rate.

A server may send a body, a header or a redirect without end, or a byte now and then. So the limits
hold for all bytes of an answer, as they come from the socket.
"""

from __future__ import annotations

import http.client
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from requests import PreparedRequest
    from urllib3.connectionpool import HTTPConnectionPool

MOST = 1 << 30
"""Bytes of a file whose size nobody states; the largest such file is VGG19's, 575 MB."""
LEAST_RATE = 1024
"""Bytes a second, averaged over `WINDOW`."""
WINDOW = 60.0
"""Seconds, counted from the first byte of an answer."""
_TIMEOUT = (10, 60)  # seconds to connect, seconds without data from the server
_HOPS = 10
"""Redirects that are followed."""
_PIECE = 1 << 14  # 16 KiB


class TooLongError(Exception):
    """A source sends more bytes than the file has, or than the limit for unknown sizes."""


class SourceError(Exception):
    """A source does not send the file; the message is the reason, in words."""


class _Watched(io.RawIOBase):
    """The bytes of an answer as they come from the socket: counted, and refused if too slow."""

    def __init__(self, inner: io.RawIOBase, most: int) -> None:
        self._inner = inner
        self._left = most
        self._since: float | None = None
        self._in_window = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        """Number of bytes that came.

        Raises:
            TooLongError: the answer is longer than a file and its framing can be.
            SourceError: the answer is slower than `LEAST_RATE`.
        """
        count = self._inner.readinto(buffer)
        now = time.monotonic()
        self._left -= count or 0
        if self._left < 0:
            raise TooLongError
        self._in_window += count or 0
        if self._since is None:
            self._since = now
        elif now - self._since >= WINDOW:
            if self._in_window < LEAST_RATE * (now - self._since):
                raise SourceError(f"slower than {LEAST_RATE} bytes/s for {WINDOW:g} s")
            self._since, self._in_window = now, 0
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Adapter(HTTPAdapter):
    """Connections whose answers are watched."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> HTTPConnectionPool:
        """The usual pool of connections, each of which reads through `_Watched`."""
        most = self._most

        class Answer(http.client.HTTPResponse):
            def __init__(
                self,
                sock: socket.socket,
                debuglevel: int = 0,
                method: str | None = None,
                url: str | None = None,
            ) -> None:
                super().__init__(sock, debuglevel, method, url)
                self.fp = io.BufferedReader(_Watched(self.fp.detach(), most))

        found = super().get_connection_with_tls_context(request, verify, proxies, cert)
        pool = cast("HTTPConnectionPool", found)
        kind = pool.ConnectionCls
        pool.ConnectionCls = type(kind.__name__, (kind,), {"response_class": Answer})
        return pool


class _Session(requests.Session):
    """A session that follows no redirect, because requests would read the body of each."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None, whatever the answer."""

    def target(self, answer: requests.Response) -> str | None:
        """The address to which an answer redirects; None for any other answer."""
        return super().get_redirect_target(answer)


def download(url: str, file: io.BufferedRandom, most: int) -> None:
    """Append the bytes at an address to a file; bytes that the file holds are not asked for again.

    Args:
        url: the address. From an https address, redirects lead to https addresses only.
        file: open for appending and reading.
        most: bytes that the file may have at the end.

    Raises:
        TooLongError: the source sends more bytes; the file then holds at most `most` bytes.
        SourceError: the source does not send the file, is too slow, or stops within the file.
        OSError: the file cannot be written.
    """
    had = file.seek(0, io.SEEK_END)
    if had >= most:  # a whole file would have been placed
        had = file.truncate(0)
    # The framing of chunks may be longer than the bytes in them, and headers have 64 KiB a line.
    with _Session() as session:
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Adapter(2 * most + (1 << 20)))
        try:
            with _asked(session, url, had) as answer:
                if answer.status_code == requests.codes.requested_range_not_satisfiable and had:
                    # The part is as long as the file or longer, but has another hash.
                    file.truncate(0)
                    with _asked(session, url, 0) as whole:
                        _append(whole, file, 0, most)
                else:
                    _append(answer, file, had, most)
        except requests.RequestException as error:
            raise SourceError(_reason(error)) from error


def _asked(session: _Session, url: str, had: int) -> requests.Response:
    """The answer of an address, after its redirects; the body is not read yet.

    Raises:
        SourceError: an https address leads to plain http, or there are too many redirects.
        requests.RequestException: no connection, or no answer in time.
    """
    secure = url.startswith("https:")
    # Compressed, a short answer could become a long one.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={had}-"} if had else {})
    for _ in range(_HOPS + 1):
        answer = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
        target = session.target(answer)
        if target is None:
            return answer
        answer.close()
        url = urljoin(url, target)
        if secure and not url.startswith("https:"):
            raise SourceError(f"redirected through plain http to {url}")
    raise SourceError(f"redirected more than {_HOPS} times")


def _append(answer: requests.Response, file: io.BufferedRandom, had: int, most: int) -> None:
    """Append the body of an answer to a file that has `had` bytes and may have `most`."""
    answer.raise_for_status()
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise SourceError(f"the server compressed the file ({encoding}), although asked not to")
    # A server may ignore the range and send the whole file.
    if answer.status_code != requests.codes.partial_content:
        had = file.truncate(0)
    stated = answer.headers.get("Content-Length", "")
    if stated.isascii() and stated.isdecimal() and len(stated) < 20 and had + int(stated) > most:
        raise TooLongError
    for piece in answer.iter_content(_PIECE):
        had += len(piece)
        if had > most:
            raise TooLongError
        file.write(piece)


def _reason(error: requests.RequestException) -> str:
    """The reason of a failed download, in words."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "cut off; the received part is kept and continued by the next try"
    return "no connection"


def copy(source: Path, file: io.BufferedRandom, most: int) -> None:
    """Replace the content of a file by a local file.

    Args:
        source: the local file.
        file: open for appending.
        most: bytes that the source may have.

    Raises:
        TooLongError: the source has more bytes.
        SourceError: the source is not there, or is no file.
        OSError: a file cannot be read or written.
    """
    file.truncate(0)
    if not source.is_file():  # a device has no end
        raise SourceError("not there")
    with source.open("rb") as opened:
        had = 0
        while piece := opened.read(1 << 20):
            had += len(piece)
            if had > most:
                raise TooLongError
            file.write(piece)
