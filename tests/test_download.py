"""Servers that send too much, too slowly, or elsewhere."""

from __future__ import annotations

import contextlib
import http.server
import io
import threading
import time

import pytest

from featmap.download import DownloadError, check_url, download, is_url


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        with contextlib.suppress(OSError):  # the other end hangs up
            getattr(self, self.path.partition('?')[0][1:])()

    def answer(self, status=200, reason=None, **headers):
        self.send_response(status, reason)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.end_headers()

    def plain(self):
        self.answer(Content_Length='5')
        self.wfile.write(b'hello')

    def unannounced(self):
        self.close_connection = True
        self.answer(Connection='close')
        for _ in range(100):
            self.wfile.write(b'x' * 100)

    def chunked(self):
        self.answer(Transfer_Encoding='chunked')
        for _ in range(100):
            self.wfile.write(b'64\r\n' + b'x' * 100 + b'\r\n')
        self.wfile.write(b'0\r\n\r\n')

    def announced(self):
        self.answer(Content_Length=str(10**12))

    def cut(self):
        self.close_connection = True
        self.answer(Content_Length='50')
        self.wfile.write(b'hello')

    def drip(self):
        self.answer(Content_Length='1000')
        while not self.server.stop.wait(0.02):
            self.wfile.write(b'x')

    def slow_headers(self):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nX: ')
        while not self.server.stop.wait(0.02):
            self.wfile.write(b'x')

    def to(self):
        self.answer(302, Location=self.path.partition('?')[2], Content_Length='5')
        self.wfile.write(b'moved')

    def endless_redirect(self):
        self.answer(302, Location='/plain', Connection='close')
        while not self.server.stop.is_set():
            self.wfile.write(b'x' * 10_000)

    def evil(self):
        self.answer(404, 'Not \x1b[2JFound', Content_Length='0')

    def log_message(self, *args):
        pass


@pytest.fixture(scope='module')
def server():
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.stop = threading.Event()
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.stop.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def get(server, monkeypatch):
    monkeypatch.setenv('no_proxy', '*')

    def call(path, max_bytes=1000, max_seconds=5.0, watch=None):
        file = io.BytesIO()
        download(server + path, file, max_bytes, max_seconds, watch)
        return file.getvalue()

    return call


def test_a_file_comes_whole_and_is_watched(get):
    seen = []
    assert get('/plain', watch=lambda *counts: seen.append(counts)) == b'hello'
    assert seen[-1] == (5, 5)
    assert get('/plain', max_bytes=5) == b'hello'


@pytest.mark.parametrize('path', ['/unannounced', '/chunked'])
def test_without_a_length_it_may_be_read(get, path):
    assert get(path, max_bytes=10_000) == b'x' * 10_000


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('/unannounced', 'it has over 1000 bytes, which is the limit'),
        ('/chunked', 'it has over 1000 bytes'),
        ('/announced', 'it has 953674 MiB, over the limit of 1000 bytes'),
        ('/cut', 'it broke off after 5 of 50 bytes'),
        ('/evil', r'the server answered 404: Not \\x1b\[2JFound'),
        ('/to?ftp://127.0.0.1/x', "redirects to 'ftp://127.0.0.1/x', which is neither http nor https"),
        ('/to?file:///etc/hostname', "redirects to 'file:///etc/hostname', which is neither"),
        ('/to?data:,x', 'which is neither'),
        ('/to?//[bad/', 'no valid address|Invalid IPv6 URL'),
        ('/to?/to', 'the server answered 302: .* infinite loop'),
    ],
)
def test_what_is_refused(get, path, message):
    with pytest.raises(DownloadError, match=message) as caught:
        get(path)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('path', ['/drip', '/slow_headers'])
def test_all_of_it_may_take_only_so_long(get, path):
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r'it took longer than 0\.3 s'):
        get(path, max_seconds=0.3)
    assert time.monotonic() - start < 3


def test_redirects_are_followed_and_their_bodies_left(get):
    assert get('/to?/plain') == b'hello'
    assert get('/endless_redirect') == b'hello'


def test_a_full_disk_is_no_fault_of_the_network(server, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, 'No space left on device')

    monkeypatch.setenv('no_proxy', '*')
    with pytest.raises(OSError, match='No space left'):
        download(f'{server}/plain', Full(), 1000, 5)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [('https://a/b.pth', True), ('HTTP://a/b.pth', True), ('a/b.pth', False), ('ftp://a/b.pth', False), ('', False)],
)
def test_is_url(text, expected):
    assert is_url(text) is expected


@pytest.mark.parametrize(
    ('url', 'sent'),
    [
        ('http://a/dög x?q=a b#part', 'http://a/d%C3%B6g%20x?q=a%20b'),
        ('https://a:8/%41?b=c&d', 'https://a:8/%41?b=c&d'),
        ('http://a/\r\nHost: b', 'http://a/Host:%20b'),
    ],
)
def test_an_address_is_quoted(url, sent):
    assert check_url(url) == sent


@pytest.mark.parametrize('url', ['http://', 'http:///x', 'http://[bad/', 'http://a:b/', 'http://a:99999/'])
def test_an_address_that_is_none(url):
    with pytest.raises(DownloadError, match='no valid address'):
        check_url(url)
