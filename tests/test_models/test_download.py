import threading
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from featmap.errors import CheckpointError
from featmap.models import download
from featmap.models.download import fetch


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


NAME = f'net-{sha256(b"weights" * 1000).hexdigest()[:8]}.pth'


def test_downloads_once(server, cache):
    (server.files / NAME).write_bytes(b'weights' * 1000)

    paths = [fetch(f'{server.address}/{NAME}') for _ in range(2)]

    assert paths == [next(cache.iterdir())] * 2
    assert paths[0].read_bytes() == b'weights' * 1000
    assert len(server.requests) == 1


def test_the_hash_in_the_name_is_checked(server, cache):
    (server.files / NAME).write_bytes(b'others' * 1000)

    with pytest.raises(CheckpointError, match='its name promises the SHA-256'):
        fetch(f'{server.address}/{NAME}')
    assert list(cache.iterdir()) == []


def test_a_copy_that_was_changed_is_fetched_again(server):
    (server.files / NAME).write_bytes(b'weights' * 1000)
    fetch(f'{server.address}/{NAME}').write_bytes(b'others')

    assert fetch(f'{server.address}/{NAME}').read_bytes() == b'weights' * 1000


def test_a_file_of_that_name_from_elsewhere_is_not_taken(server, cache):
    (server.files / NAME).write_bytes(b'weights' * 1000)
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(b'others')

    assert fetch(f'{server.address}/{NAME}').read_bytes() == b'weights' * 1000
    assert (cache / NAME).read_bytes() == b'others'


@pytest.mark.parametrize('name', ['', 'a' * 300 + '.pth', 'net.' + 'p' * 300, '%2e%2e%2f%2e%2e%2fx.pth', 'ü[/b].pth'])
def test_every_address_has_a_name_in_the_cache(server, cache, monkeypatch, name):
    monkeypatch.setattr(download, 'download', lambda url, file, *_: file.write(b'x'))

    path = fetch(f'{server.address}/{name}')

    assert path.parent == cache
    assert path.read_bytes() == b'x'
    assert len(path.name) < 80


@pytest.mark.parametrize('url', ['http://[bad/', 'http://', 'http://a:b/x.pth', 'http:///x.pth'])
def test_an_address_that_is_none(url):
    with pytest.raises(CheckpointError, match='no valid address') as caught:
        fetch(url)
    assert '\n' not in str(caught.value)


def test_files_of_one_name_from_two_addresses_are_two(server, cache):
    for folder in 'ab':
        (server.files / folder).mkdir()
        (server.files / folder / 'epoch_1.pth').write_text(folder)

    assert fetch(f'{server.address}/a/epoch_1.pth').read_text() == 'a'
    assert fetch(f'{server.address}/b/epoch_1.pth').read_text() == 'b'
    assert all(path.name.startswith('epoch_1-') for path in cache.iterdir())


@pytest.mark.parametrize(
    ('path', 'part'), [('absent.pth', 'answered 404'), ('short.pth', '9 of 1000 bytes'), ('a b.pth', 'answered 404')]
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
