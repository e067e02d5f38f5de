from __future__ import annotations

import http.server
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from featmap import reading
from featmap.errors import SourceError
from featmap.sources import Source, list_sources, read_image

RED = (255, 0, 0)


def put(path: Path, colour: tuple[int, int, int] = RED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (3, 2), colour).save(path)
    return path


def names(*args: object) -> list[str]:
    return [source.name for source in list_sources(*args)]


def png_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.new('RGB', (3, 2), RED).save(buffer, 'PNG')
    return buffer.getvalue()


def test_a_file_is_named_by_itself_and_read_as_rgb(tmp_path):
    path = put(tmp_path / 'deep' / 'my dög.png')
    assert list_sources(path) == list_sources(str(path)) == [Source(str(path), 'my dög.png')]
    image = list_sources(path)[0].read()
    np.testing.assert_array_equal(image, np.full((2, 3, 3), RED, np.uint8))
    np.testing.assert_array_equal(read_image(path), image)
    np.testing.assert_array_equal(read_image(path.read_bytes()), image)


def test_a_file_needs_no_suffix(tmp_path):
    path = tmp_path / 'dog'
    path.write_bytes(png_bytes())
    assert list_sources(path)[0].read().shape == (2, 3, 3)


def test_a_folder_is_searched_in_natural_order(tmp_path):
    for name in ['img10.png', 'img2.png', 'IMG1.PNG', 'b/x10.png', 'b/x9.jpg', 'b10/x.png', 'b9/x.png']:
        put(tmp_path / name)
    for name in ('notes.txt', 'clip.mp4', '.hidden.png', '.cache/x.png', 'b/.git/x.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'x')
    (tmp_path / 'a_folder.png').mkdir()
    found = list_sources(tmp_path)
    expected = ['b/x9.jpg', 'b/x10.png', 'b9/x.png', 'b10/x.png', 'IMG1.PNG', 'img2.png', 'img10.png']
    assert [source.name for source in found] == expected
    assert [source.location for source in found] == [str(tmp_path / name) for name in expected]


@pytest.mark.parametrize(
    ('exclude', 'expected'),
    [
        (None, ['a/x.png', 'output/a/x.png']),
        ('output', ['a/x.png']),
        ('a/../output', ['a/x.png']),
        ('out', ['a/x.png', 'output/a/x.png']),  # is the beginning of a name only
        ('output/a', ['a/x.png']),
        ('..', ['a/x.png', 'output/a/x.png']),  # results that go above do not come back
    ],
)
def test_results_of_an_earlier_run_are_left_out(tmp_path, exclude, expected):
    put(tmp_path / 'a/x.png')
    put(tmp_path / 'output/a/x.png')
    folder = None if exclude is None else tmp_path / exclude
    assert names(tmp_path, folder) == expected
    assert names(str(tmp_path / '**' / '*.png'), folder) == expected


def test_an_excluded_folder_is_found_through_a_link_too(tmp_path):
    put(tmp_path / 'data/x.png')
    put(tmp_path / 'out/x.png')
    (tmp_path / 'data/link').symlink_to(tmp_path / 'out')
    assert names(tmp_path / 'data', tmp_path / 'out') == ['x.png']


def test_images_and_results_cannot_share_a_folder(tmp_path):
    put(tmp_path / 'x.png')
    with pytest.raises(SourceError, match='choose another one for the results'):
        list_sources(tmp_path, tmp_path / '.')


def test_loops_of_links_end_and_links_to_folders_count(tmp_path):
    put(tmp_path / 'data/b/x.png')
    put(tmp_path / 'elsewhere/y.png')
    put(tmp_path / 'outside.png')  # is below data only by the way of a link to above
    for link, target in {
        'self': 'self',
        'a_to_b': 'b',  # comes first by name, but x.png belongs to b
        'b/up': '..',
        'b/above': '../..',
        'there': '../elsewhere',
        'broken.png': 'nothing.png',
    }.items():
        (tmp_path / 'data' / link).symlink_to(target)
    (tmp_path / 'data/z.png').symlink_to('b/x.png')
    expected = ['b/x.png', 'there/y.png', 'z.png']
    assert names(tmp_path / 'data') == expected
    assert names(f'{tmp_path}/data/**/*.png') == expected


@pytest.mark.parametrize(
    ('pattern', 'expected'),
    [
        ('*.png', ['2.png', '10.png']),
        ('*', ['2.png', '10.png', 'c.jpg']),
        ('[1-9].png', ['2.png']),
        ('?.*', ['2.png', 'c.jpg']),
        ('*/*.png', ['d/e.png']),
        ('d/*.png', ['e.png']),  # relative to the fixed part
        ('**/*.png', ['2.png', '10.png', 'd/e.png', 'd/f/g.png']),
        ('**', ['2.png', '10.png', 'c.jpg', 'd/e.png', 'd/f/g.png']),
        ('d/**/g.png', ['f/g.png']),
        ('**/f/*', ['d/f/g.png']),
        ('.*.png', ['.h.png']),
        ('**/.h.png', ['.h.png']),
    ],
)
def test_globs(tmp_path, monkeypatch, pattern, expected):
    for name in ['2.png', '10.png', 'c.jpg', 'd/e.png', 'd/f/g.png', '.h.png', '.i/j.png']:
        put(tmp_path / name)
    assert names(str(tmp_path / pattern)) == expected
    monkeypatch.chdir(tmp_path)
    assert names(pattern) == expected
    assert all(os.path.isfile(source.location) for source in list_sources(pattern))


def test_a_glob_enters_no_folder_in_vain(tmp_path, monkeypatch):
    put(tmp_path / 'a/b/x.png')
    put(tmp_path / 'y.png')
    entered, scandir = [], os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: entered.append(Path(path)) or scandir(path))
    assert names(f'{tmp_path}/*.png') == ['y.png']
    assert entered == [tmp_path]


def test_a_name_with_brackets_is_a_name(tmp_path):
    for name in ('img[1].png', 'img1.png', 'set[1]/x.png', 'set1/y.png'):
        put(tmp_path / name)
    assert names(tmp_path / 'img[1].png') == ['img[1].png']
    assert names(tmp_path / 'img[12].png') == ['img1.png']
    assert names(tmp_path / 'set[1]') == ['x.png']
    assert names(f'{tmp_path}/set[1]/*.png') == ['x.png']


def test_home_is_expanded_unless_the_path_exists(tmp_path, monkeypatch):
    put(tmp_path / 'home/x.png')
    put(tmp_path / 'work/~y.png')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('USERPROFILE', str(tmp_path / 'home'))
    monkeypatch.chdir(tmp_path / 'work')
    assert list_sources('~/x.png') == [Source(str(tmp_path / 'home/x.png'), 'x.png')]
    assert names('~/*.png') == ['x.png']
    assert names('~y.png') == ['~y.png']


def test_a_list_keeps_its_order(tmp_path):
    put(tmp_path / 'b/x.png')
    put(tmp_path / 'a/x.png')
    spec = [tmp_path / 'b', str(tmp_path / 'a/x.png'), 'http://host/x.png']
    found = list_sources(spec)
    assert found == list_sources(tuple(spec))
    assert [s.location for s in found] == [str(tmp_path / 'b/x.png'), *spec[1:]]
    assert [s.name for s in found] == ['x.png'] * 3


@pytest.mark.parametrize(
    ('url', 'name'),
    [
        ('http://host/a/dog.jpg', 'dog.jpg'),
        ('HTTPS://host/a/dog.jpg?size=3#top', 'dog.jpg'),
        ('http://host', 'image'),
        ('http://host/?id=3', 'image'),
        ('http://host/a/', 'a'),
        ('http://host/my%20d%C3%B6g.jpg', 'my_dög.jpg'),
        ('http://host/..%2F..%2Fetc%2Fpasswd', 'passwd'),
        ('http://host/a/..', 'image'),
        ('http://host/.hidden', 'hidden'),
        ('http://host/a:b*c.png', 'a_b_c.png'),
        ('http://host/' + 'a' * 300 + '.png', 'a' * 56 + '.png'),
    ],
)
def test_a_url_is_named_by_its_last_part(url, name):
    assert list_sources(url) == [Source(url, name)]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body, status = png_bytes(), 200
        if self.path == '/page':
            body = b'<!DOCTYPE html><html></html>'
        elif self.path == '/needs-agent' and not self.headers['User-Agent'].startswith('featmap'):
            status = 403
        elif self.path in ('/missing', '/d%C3%B6g%20x'):
            status = 404 if self.path == '/missing' else 200
        self.send_response(status)
        self.send_header('Content-Length', str(len(body) + (50 if self.path == '/broken' else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('no_proxy', '*')
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


@pytest.mark.parametrize('path', ['/x.png', '/needs-agent', '/dög x', '/x.png?a=b c'])
def test_a_url_is_fetched(server, path):
    np.testing.assert_array_equal(list_sources(server + path)[0].read(), np.full((2, 3, 3), RED, np.uint8))


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('/missing', r'answered 404: Not Found\): check the address'),
        ('/page', 'web page'),
        ('/broken', r'broke off after \d+ of \d+ bytes'),
    ],
)
def test_a_url_that_gives_no_image(server, path, message):
    with pytest.raises(SourceError, match=message):
        list_sources(server + path)[0].read()


def test_a_url_that_gives_too_much(server, monkeypatch):
    monkeypatch.setattr(reading, '_MAX_DOWNLOAD_BYTES', 10)
    with pytest.raises(SourceError, match='over the limit of 10 bytes'):
        Source(f'{server}/x.png', 'x.png').read()


@pytest.mark.parametrize('url', ['http://127.0.0.1:1/x.png', 'http://[::1/x.png', 'http:///x.png', 'http://a:b/x.png'])
def test_a_url_that_leads_nowhere(monkeypatch, url):
    monkeypatch.setenv('no_proxy', '*')
    with pytest.raises(SourceError, match=r'cannot be had .*: check the address'):
        Source(url, 'x.png').read()
    if '127' not in url:
        with pytest.raises(SourceError, match='no valid address'):
            list_sources(url)


@pytest.mark.parametrize('data', [png_bytes(), b'no image'])
def test_what_comes_through_a_pipe_is_kept(monkeypatch, data):
    monkeypatch.setattr(reading.sys, 'stdin', SimpleNamespace(buffer=io.BytesIO(data)))
    (source,) = list_sources('-')
    if data == b'no image':
        for _ in range(2):  # and not that there is nothing left
            with pytest.raises(SourceError, match="'standard input' cannot be read as an image"):
                source.read()
        return
    np.testing.assert_array_equal(source.read(), source.read())
    assert list_sources('-', max_pixels=7)[0].max_pixels == 7


def test_standard_input_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(reading, '_MAX_FILE_BYTES', 100)
    monkeypatch.setattr(reading.sys, 'stdin', SimpleNamespace(buffer=io.BytesIO(bytes(101))))
    with pytest.raises(SourceError, match="'standard input' is larger than"):
        list_sources('-')[0].read()


@pytest.fixture
def shelf(tmp_path):
    """A folder with one of everything that is no image."""
    put(tmp_path / 'demo/dog.png')
    for name, data in {
        'empty.png': b'',
        'cut.png': png_bytes()[:20],
        'rtmdet.py': b"_base_ = 'x.py'\n",
        'rtmdet.pth': b'PK\x03\x04' + bytes(26) + b'archive/data.pkl',
        'list.txt': b'a.png\nb.png\n',
        'paper.pdf': b'%PDF-1.7\n',
        'clips/a.mp4': bytes(100),
        'clips/b.TXT': b'x',
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / 'void').mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        ('demo/dgo.png', "there is no 'dgo.png' in the folder .*most like it are 'dog.png'"),
        ('dmeo/dog.png', "there is no 'dmeo' in .*most like it are 'demo'"),
        ('dmeo/*.png', "there is no 'dmeo' in .*most like it are 'demo'"),
        ('void/x.png', "no 'x.png' in .*the folder is empty"),
        ('empty.png', r'is empty \(0 bytes\)'),
        ('empty.png/x.png', 'empty.png.* cannot be opened'),
        ('cut.png', 'damaged or cut off'),
        ('rtmdet.py', 'config: the order of the arguments is IMG CONFIG CHECKPOINT'),
        ('rtmdet.pth', 'checkpoint .*: the order of the arguments is IMG CONFIG CHECKPOINT'),
        ('list.txt', 'a text file: give an image'),
        ('paper.pdf', 'a PDF document'),
        ('clips/a.mp4', 'a video, which is not supported: extract frames'),
        ('clips', r'no image among the 2 files .*1 x \.mp4, 1 x \.txt.*extract frames.*\.jpg \.jpeg'),
        ('void', 'no image among the 0 files in it and its subfolders; images are'),
        ('*.gif', r'matches no file below .*\*\*/'),
        ('d*', 'matches no file'),  # folders are not entered unasked
        ('*.pdf', r'matches 1 files \(1 x \.pdf\), none of them an image'),
        ('x\0.png', 'does not exist'),
    ],
)
def test_what_is_no_image_is_explained_before_any_work(shelf, spec, message):
    with pytest.raises(SourceError, match=message) as caught:
        list_sources(str(shelf / spec))
    assert '\n' not in str(caught.value)


def test_hidden_names_are_suggested_for_hidden_names_only(tmp_path):
    for name in ('.dgo.png', 'dog.png'):
        put(tmp_path / name)
    for name, near in (('dgo.png', "'dog.png'$"), ('.dgo.pn', "'.dgo.png', 'dog.png'$")):
        with pytest.raises(SourceError, match=f'most like it are {near}'):
            list_sources(str(tmp_path / name))


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        ('', 'an empty text'),
        ([], 'no image was given'),
        (3, 'a int was given'),
        ([np.zeros(3)], 'a ndarray was given'),
        (b'x.png', 'a bytes was given'),
        ('s3://bucket/x.png', "scheme 's3' is not supported"),
        ('https://host/clip.mp4?x=1', 'a video, which is not supported'),
    ],
)
def test_what_is_no_place(spec, message):
    with pytest.raises(SourceError, match=message):
        list_sources(spec)


@pytest.mark.parametrize('read', [lambda p: Source(str(p), 'x').read(), read_image])
def test_a_file_may_vanish_or_turn_bad_after_the_listing(tmp_path, read):
    put(tmp_path / 'dog.png')
    with pytest.raises(SourceError, match=r"most like it are 'dog\.png'"):
        read(tmp_path / 'dig.png')
    with pytest.raises(SourceError, match='cannot be opened'):
        read(tmp_path)
    (tmp_path / 'dog.png').write_bytes(png_bytes()[:-30])
    with pytest.raises(SourceError, match='damaged or cut off'):
        read(tmp_path / 'dog.png')


@pytest.mark.parametrize('target', ['x.png', 'closed', '*/*.png'])
def test_a_lack_of_rights_is_said(tmp_path, monkeypatch, target):
    put(tmp_path / 'x.png')
    put(tmp_path / 'closed/y.png')

    def refuse(path, *args, **kwargs):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(Path, 'open', refuse)
    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(SourceError, match=r'cannot be opened \(Permission denied\): check'):
        list_sources(str(tmp_path / target))


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs named pipes; runs on Linux and macOS')
def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    writer = threading.Thread(target=(tmp_path / 'pipe').write_bytes, args=(png_bytes(),), daemon=True)
    writer.start()
    assert list_sources(tmp_path / 'pipe')[0].read().shape == (2, 3, 3)
    writer.join()


def test_listing_loads_nothing_heavy():
    code = 'import sys, featmap.sources, featmap.sinks\nsys.exit(bool({"torch", "cv2", "mmengine"} & set(sys.modules)))'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
