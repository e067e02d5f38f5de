"""A file fetched over http or https: within a time, up to a size, and whole; or an error that says why not."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from featmap.errors import FeatMapError, first_line
from featmap.version import __version__

STALL_S = 30
"""How long a server may be silent."""
_BLOCK = 1 << 18


class DownloadError(FeatMapError):
    """Why a file cannot be had; the caller says what to do about it."""


def is_url(text: str) -> bool:
    """Whether ``text`` is an http or https address."""
    return re.match(r'https?://', text, re.IGNORECASE) is not None


def check_url(url: str) -> str:
    """The address as it is sent: with what an address cannot hold, such as spaces, quoted.

    Raises:
        DownloadError: it has no host, or one that cannot be.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # both raise for what cannot be
        path, query = (quote(part, safe="/%:=&~+!$,;'@()*[]?") for part in (parts.path, parts.query))
    except ValueError as error:
        raise DownloadError(f'it is no valid address ({first_line(error)})') from error
    if not host:
        raise DownloadError('it is no valid address (it names no host)')
    return urlunsplit((parts.scheme, parts.netloc, path, query, ''))


def download(
    url: str,
    file: IO[bytes],
    max_bytes: int,
    max_seconds: float,
    watch: Callable[[int, int | None], None] | None = None,
) -> None:
    """Write what is at an http(s) address to a file. Redirects lead to other http(s) addresses only.

    Args:
        url: The address.
        file: What to write to.
        max_bytes: The most to take, whatever the server announces.
        max_seconds: The most time that all of it may take, redirects and a slow server included.
        watch: Called after each block with the bytes that came and those that were announced, None where none were.

    Raises:
        DownloadError: it cannot be reached, is too large or too slow, or ends early.
        OSError: the file cannot be written.
    """
    request = urllib.request.Request(check_url(url), headers={'User-Agent': f'featmap/{__version__}'})
    with _deadline(max_seconds) as clock:
        try:
            with _opener(clock).open(request, timeout=min(STALL_S, max_seconds)) as answer:
                got, expected = 0, answer.length
                if expected is not None and expected > max_bytes:
                    raise DownloadError(f'it has {_megabytes(expected)}, over the limit of {_megabytes(max_bytes)}')
                while block := answer.read1(_BLOCK):
                    got += len(block)
                    if got > max_bytes:
                        raise DownloadError(f'it has over {_megabytes(max_bytes)}, which is the limit')
                    _write(file, block)
                    if watch is not None:
                        watch(got, expected)
        except HTTPError as error:
            error.close()  # it holds the connection
            raise DownloadError(f'the server answered {first_line(error).removeprefix("HTTP Error ")}') from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, _WritingError):
                raise error.reason from error
            reason = error.reason if isinstance(error, URLError) else error
            text = clock.text if clock.is_over else first_line(reason) if isinstance(reason, Exception) else reason
            raise DownloadError(str(text)) from error
        if clock.is_over:
            raise DownloadError(clock.text)
        if expected is not None and got < expected:
            raise DownloadError(f'it broke off after {got} of {expected} bytes')


class _WritingError(OSError):
    """The file failed, not the network; both raise OSError."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _write(file: IO[bytes], block: bytes) -> None:
    try:
        file.write(block)
    except OSError as error:
        raise _WritingError(error) from error


def _megabytes(count: int) -> str:
    return f'{count >> 20} MiB' if count >= 1 << 20 else f'{count} bytes'


class _Clock:
    """Cuts the connections that it watches when the time is over: a trickle of headers would else never time out."""

    def __init__(self, seconds: float) -> None:
        self.text = f'it took longer than {seconds:g} s'
        self.is_over = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def watch(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.append(connection)
            over = self.is_over
        if over:
            raise OSError(self.text)

    def ring(self) -> None:
        with self._lock:
            self.is_over = True
            for connection in self._sockets:
                with contextlib.suppress(OSError):  # it is closed already
                    connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[_Clock]:
    clock = _Clock(seconds)
    timer = threading.Timer(seconds, clock.ring)
    timer.daemon = True
    timer.start()
    try:
        yield clock
    finally:
        timer.cancel()


class _Redirects(urllib.request.HTTPRedirectHandler):
    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """As the standard one, which would follow to ftp too, and read all of the answer's body first."""
        fp.close()
        target = urljoin(req.full_url, headers.get('location') or '')
        if not is_url(target):
            raise DownloadError(f'it redirects to {target!r}, which is neither http nor https')
        check_url(target)
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener(clock: _Clock) -> urllib.request.OpenerDirector:
    """Only http and https: no ftp, files or data, whatever a redirect says."""

    def watched(http_class: Any) -> Callable[..., Any]:
        def connection(*args: Any, **options: Any) -> Any:
            made = http_class(*args, **options)
            connect = made.connect

            def connect_watched() -> None:
                connect()
                clock.watch(made.sock)

            made.connect = connect_watched
            return made

        return connection

    class Http(urllib.request.HTTPHandler):
        def do_open(self, http_class: Any, req: Any, **http_conn_args: Any) -> Any:
            return super().do_open(watched(http_class), req, **http_conn_args)

    class Https(urllib.request.HTTPSHandler):
        def do_open(self, http_class: Any, req: Any, **http_conn_args: Any) -> Any:
            return super().do_open(watched(http_class), req, **http_conn_args)

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        Http(),
        Https(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener
