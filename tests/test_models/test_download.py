import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from featmap.errors import CheckpointError
from featmap.models.download import fetch, is_url


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.requests.append(self.path)

    def do_GET(self):
        if 'short' in self.path:
            self.send_response(200)
            self.send_header('Content-Length', '1000')
            self.end_headers()
            self.wfile.write(b'only this')
        else:
            super().do_GET()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address of a server for the folder ``files``; ``requests`` are the paths it was asked for."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    (tmp_path / 'files').mkdir()
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(tmp_path / 'files')))
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    server.address = f'http://127.0.0.1:{server.server_port}'
    server.files = tmp_path / 'files'
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / 'torch/hub/checkpoints'


@pytest.mark.parametrize(
    ('text', 'expected'),
    [('https://a/b.pth', True), ('HTTP://a/b.pth', True), ('a/b.pth', False), ('ftp://a/b.pth', False), ('', False)],
)
def test_is_url(text, expected):
    assert is_url(text) is expected


def test_downloads_once(server, cache):
    (server.files / 'net-0123abcd.pth').write_bytes(b'weights' * 1000)

    paths = [fetch(f'{server.address}/net-0123abcd.pth') for _ in range(2)]

    # The name has the file's hash in it, so it is the one that MMEngine would find as well.
    assert paths == [cache / 'net-0123abcd.pth'] * 2
    assert paths[0].read_bytes() == b'weights' * 1000
    assert len(server.requests) == 1


def test_files_of_one_name_from_two_addresses_are_two(server, cache):
    for folder in 'ab':
        (server.files / folder).mkdir()
        (server.files / folder / 'epoch_1.pth').write_text(folder)

    assert fetch(f'{server.address}/a/epoch_1.pth').read_text() == 'a'
    assert fetch(f'{server.address}/b/epoch_1.pth').read_text() == 'b'
    assert all(path.name.startswith('epoch_1-') for path in cache.iterdir())


@pytest.mark.parametrize(
    ('path', 'part'), [('absent.pth', 'HTTP 404'), ('short.pth', '9 of 1000 bytes'), ('a b.pth', "can't contain")]
)
def test_a_failed_download_leaves_nothing(server, cache, path, part):
    with pytest.raises(CheckpointError) as caught:
        fetch(f'{server.address}/{path}')

    assert part in str(caught.value)
    assert f'/{path}' in str(caught.value)
    assert '\n' not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_server_that_is_not_there(server):
    server.server_close()

    with pytest.raises(CheckpointError, match='cannot download'):
        fetch(f'{server.address}/net.pth')
