from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from featmap import sinks
from featmap.errors import OptionError, OutputError
from featmap.sinks import exact_file, plan_outputs, save_image
from featmap.sources import Source

RED, BLUE = (255, 0, 0), (0, 0, 255)


def planned(*names: str) -> list[str]:
    found = plan_outputs([Source(f'/nowhere/{name}', name) for name in names], out_dir='o')
    return [path.relative_to('o').as_posix() for path in found]


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*'))


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        ([], []),
        (['dog.jpg'], ['dog.png']),
        (['dog.png'], ['dog.png']),
        (['image'], ['image.png']),
        (['a/dog.jpg', 'b/dog.jpg'], ['a/dog.png', 'b/dog.png']),
        (['v1.2/dog.jpg'], ['v1.2/dog.png']),
        (['dog.jpg', 'cat.jpg', 'dog.png'], ['dog.jpg.png', 'cat.png', 'dog.png.png']),
        (['Dog.jpg', 'dOG.png'], ['Dog.jpg.png', 'dOG.png.png']),
        (['d\u00f6g.jpg', 'do\u0308g.png'], ['d\u00f6g.jpg.png', 'do\u0308g.png.png']),
        (['dog.jpg', 'dog.jpg'], ['dog.jpg_1.png', 'dog.jpg_2.png']),
        (['dog.jpg', 'DOG.JPG'], ['dog.jpg_1.png', 'DOG.JPG_2.png']),
        # A long name may meet another's short one, and a number may be taken too.
        (['dog.jpg', 'dog.bmp', 'dog.jpg.tif'], ['dog.jpg_1.png', 'dog.bmp.png', 'dog.jpg_2.png']),
        (['d.jpg', 'd.jpg', 'd.jpg_1.bmp'], ['d.jpg_2.png', 'd.jpg_3.png', 'd.jpg_1.png']),
        # A folder may have the name of a result.
        (['a.jpg', 'a.png/x.jpg'], ['a.jpg.png', 'a.png/x.png']),
        (['a.jpg', 'a.png/x.jpg', 'a.jpg.png/x.jpg'], ['a.jpg_1.png', 'a.png/x.png', 'a.jpg.png/x.png']),
    ],
)
def test_names_mirror_the_sources_and_never_meet(names, expected):
    assert planned(*names) == expected


def test_the_long_names_do_not_depend_on_the_order():
    names = ['dog.png', 'cat.png', 'dog.jpg', 'b/dog.jpg']
    assert dict(zip(names, planned(*names))) == dict(zip(names[::-1], planned(*names[::-1])))


@pytest.mark.parametrize('name', ['../dog.jpg', 'a/../../dog.jpg', '/etc/dog.jpg', '', '..'])
def test_no_result_leaves_the_output_folder(name):
    with pytest.raises(OutputError, match=r'expected a relative path without \.\.'):
        planned(name)


@pytest.mark.parametrize(
    ('out_file', 'expected'),
    [
        ('r.jpg', 'r.jpg'),
        ('r.JPEG', 'r.JPEG'),
        ('a/r', 'a/r.png'),
        ('v1.2/r', 'v1.2/r.png'),
        ('.r', '.r.png'),
        (Path('r.webp'), 'r.webp'),
        ('~/r.tif', 'HOME/r.tif'),
    ],
)
def test_one_result_goes_exactly_there(monkeypatch, out_file, expected):
    monkeypatch.setenv('HOME', 'HOME')
    monkeypatch.setenv('USERPROFILE', 'HOME')
    assert plan_outputs([Source('/nowhere/x.png', 'x.png')], out_file) == [Path(expected)]
    assert exact_file(out_file) == Path(expected)


@pytest.mark.parametrize(
    ('out_file', 'message'),
    [
        ('r.gif', r"suffix '.gif': expected one of .png .jpg .jpeg .webp .bmp .tif .tiff"),
        ('r.v2', "suffix '.v2'"),
        ('', 'is a folder'),
        ('r/', 'is a folder'),
        ('.', 'is a folder'),
        ('{tmp}', 'is a folder: expected the name of a file'),
    ],
)
def test_a_place_that_is_no_image_file(tmp_path, out_file, message):
    with pytest.raises(OutputError, match=message):
        plan_outputs([Source('/nowhere/x.png', 'x.png')], out_file.format(tmp=tmp_path))


@pytest.mark.parametrize('count', [0, 2])
def test_one_file_takes_one_result(count):
    with pytest.raises(OptionError, match=f'there are {count}: use out_dir'):
        plan_outputs([Source('x.png', 'x.png')] * count, out_file='r.png')


def test_a_file_and_a_folder_exclude_each_other():
    with pytest.raises(OptionError, match='give one of them'):
        plan_outputs([Source('x.png', 'x.png')], 'r.png', 'o')


def test_the_folder_is_output_unless_given(monkeypatch, tmp_path):
    source = Source('http://host/x.jpg', 'x.jpg')
    assert plan_outputs([source]) == [Path('output/x.png')]
    monkeypatch.setenv('HOME', str(tmp_path))
    assert plan_outputs([source], out_dir='~/o') == [tmp_path / 'o/x.png']
    assert tree(tmp_path) == []


def test_an_input_is_never_overwritten(tmp_path):
    path = tmp_path / 'x.png'
    path.write_bytes(b'x')
    (tmp_path / 'link.png').symlink_to(path)
    source = Source(str(path), 'x.png')
    for place in ({'out_file': path}, {'out_dir': tmp_path}, {'out_file': tmp_path / 'link.png'}):
        with pytest.raises(OutputError, match='would overwrite an input image: choose another'):
            plan_outputs([source], **place)


def test_the_clash_with_another_input_is_seen(tmp_path):
    (tmp_path / 'x.jpg.png').write_bytes(b'x')
    sources = [Source(str(tmp_path / 'x.jpg.png'), 'y.png'), Source('/nowhere/x', 'x.jpg.bmp')]
    with pytest.raises(OutputError, match=r'x\.jpg\.png.* would overwrite an input'):
        plan_outputs(sources, out_dir=tmp_path)


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / 'x.png').mkdir()
    with pytest.raises(OutputError, match='would replace a folder'):
        plan_outputs([Source('/nowhere/x.jpg', 'x.jpg')], out_dir=tmp_path)


PATCHES = np.zeros((16, 32, 3), np.uint8)
PATCHES[:, :16], PATCHES[:, 16:] = RED, BLUE


@pytest.mark.parametrize('suffix', sinks.OUTPUT_SUFFIXES)
def test_red_stays_red(tmp_path, suffix):
    path = tmp_path / 'ä b' / f'x{suffix.upper()}'
    for image in (PATCHES, np.asfortranarray(PATCHES)):
        save_image(image, path)
        saved = np.asarray(Image.open(path).convert('RGB')).astype(int)
        tolerance = 8 if suffix in ('.jpg', '.jpeg', '.webp') else 0
        np.testing.assert_allclose(saved[4, 4], RED, atol=tolerance)
        np.testing.assert_allclose(saved[4, 28], BLUE, atol=tolerance)
    assert tree(tmp_path) == ['ä b', f'ä b/x{suffix.upper()}']


def test_grey_and_views_are_saved_as_they_are(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    save_image(grey[::-1, ::2], tmp_path / 'x.png')
    image = Image.open(tmp_path / 'x.png')
    assert image.mode == 'L'
    np.testing.assert_array_equal(np.asarray(image), grey[::-1, ::2])


@pytest.mark.parametrize(
    ('image', 'given'),
    [
        (np.zeros((2, 2, 3), np.float32), r'got float32 \(2, 2, 3\)'),
        (np.zeros((2, 2, 4), np.uint8), r'got uint8 \(2, 2, 4\)'),
        (np.zeros((3, 2, 2), np.uint8), r'got uint8 \(3, 2, 2\)'),
        (np.zeros((1, 2, 2, 3), np.uint8), r'got uint8 \(1, 2, 2, 3\)'),
        (np.zeros((0, 2, 3), np.uint8), r'got uint8 \(0, 2, 3\)'),
        (np.zeros(3, np.uint8), r'got uint8 \(3,\)'),
        ([[0]], r'got list \(1, 1\)'),
        (None, r'got NoneType \(\)'),
    ],
)
def test_what_is_no_image_is_not_written(tmp_path, image, given):
    with pytest.raises(OutputError, match=rf'expected .*uint8 \(H, W, 3\) or \(H, W\), {given}'):
        save_image(image, tmp_path / 'a/x.png')
    assert tree(tmp_path) == []


@pytest.mark.parametrize(('suffix', 'limit'), [('.jpg', 65500), ('.jpeg', 65500), ('.webp', 16383)])
def test_formats_have_their_limits(tmp_path, suffix, limit):
    save_image(np.zeros((1, limit), np.uint8), tmp_path / f'x{suffix}')
    for shape in ((1, limit + 1), (limit + 1, 1)):
        with pytest.raises(OutputError, match=rf'more than \{suffix} can hold .*use \.png'):
            save_image(np.zeros(shape, np.uint8), tmp_path / f'y{suffix}')
    assert tree(tmp_path) == [f'x{suffix}']


@pytest.mark.parametrize('name', ['x', 'x.gif', 'x.npz'])
def test_an_unknown_format_is_refused(tmp_path, name):
    with pytest.raises(OutputError, match=r'expected one of \.png'):
        save_image(PATCHES, tmp_path / name)


@pytest.mark.parametrize('failure', ['refusal', 'error'])
def test_a_failing_encoder_is_reported(tmp_path, monkeypatch, failure):
    def encode(*args):
        if failure == 'error':
            raise cv2.error('encoder broke')
        return False, None

    monkeypatch.setattr(cv2, 'imencode', encode)
    with pytest.raises(OutputError, match=r'cannot be encoded: (encoder broke|OpenCV refused)'):
        save_image(PATCHES, tmp_path / 'x.png')
    assert tree(tmp_path) == []


def test_another_suffix():
    names = ['dog.jpg', 'cat.bmp', 'dog.png', 'a/x.webp', 'y.tif', 'y.tif']
    paths = plan_outputs([Source(f'/in/{name}', name) for name in names], out_dir='out', suffix='.jpg')
    expected = ['dog.jpg.jpg', 'cat.jpg', 'dog.png.jpg', 'a/x.jpg', 'y.tif_1.jpg', 'y.tif_2.jpg']
    assert [path.as_posix() for path in paths] == [f'out/{name}' for name in expected]


@pytest.mark.parametrize('suffix', ['.jpg', '.webp'])
def test_quality(tmp_path, suffix):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    sizes = []
    for quality in (10, 60, 95):
        save_image(image, tmp_path / f'a{suffix}', quality)
        sizes.append((tmp_path / f'a{suffix}').stat().st_size)
    assert sizes == sorted(set(sizes))
