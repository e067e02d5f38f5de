"""The file of a figure: its format, its size, its bytes, and what makes no figure."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
import zlib
from base64 import b64decode
from io import BytesIO

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from featmap.errors import DrawError, OptionError, OutputError
from featmap.figure import draw_figure, save_figure
from featmap.rendering.panels import Look
from featmap.structures import Detections
from tests.conftest import ROOT, files_under
from tests.figure_helpers import FLAT, axes_of, detections, fmap, outputs, planes, texts

NAN = float('nan')
SVG = '{http://www.w3.org/2000/svg}'


@pytest.mark.parametrize('suffix', ['.png', '.pdf', '.svg', '.PNG', '.Pdf'])
def test_the_suffix_is_the_format(tmp_path, suffix):
    path = tmp_path / 'new' / f'figure{suffix}'
    save_figure(path, FLAT, outputs(2), detections())
    heads = {'.png': b'\x89PNG', '.pdf': b'%PDF', '.svg': b'<?xml'}
    assert path.read_bytes().startswith(heads[suffix.lower()])
    assert files_under(tmp_path) == [f'new/figure{suffix}']


@pytest.mark.parametrize('name', ['figure.jpg', 'figure', 'figure.eps', ''])
def test_another_suffix_is_refused_before_any_work(tmp_path, name):
    with pytest.raises(OutputError, match=r'expected one of \.pdf \.svg \.png'):
        save_figure(tmp_path / name, None, None)
    assert files_under(tmp_path) == []


@pytest.mark.parametrize('width', [7.0, 3.3, 6.875])
@pytest.mark.parametrize('dpi', [96, 200])
def test_a_png_is_as_wide_as_was_asked_for(tmp_path, width, dpi):
    figure = save_figure(tmp_path / 'a.png', FLAT, outputs(3), width=width, dpi=dpi)
    with Image.open(tmp_path / 'a.png') as picture:
        assert picture.width == round(width * dpi)
        assert picture.height == round(figure.get_size_inches()[1] * dpi)
        assert picture.info['dpi'][0] == pytest.approx(dpi, abs=0.1)


def test_a_pdf_and_an_svg_are_as_wide_as_was_asked_for(tmp_path):
    for suffix in ('.pdf', '.svg'):
        save_figure(tmp_path / f'a{suffix}', FLAT, outputs(3), width=3.25, dpi=123)
    assert b'/MediaBox [ 0 0 234 ' in (tmp_path / 'a.pdf').read_bytes()
    assert ET.parse(tmp_path / 'a.svg').getroot().get('width') == '234pt'


@pytest.mark.parametrize('suffix', ['.png', '.pdf', '.svg'])
def test_the_same_figure_is_the_same_bytes_at_any_time(tmp_path, monkeypatch, suffix):
    written = []
    for number, seconds in enumerate((1.7e9, 1.9e9)):
        monkeypatch.setattr(time, 'time', lambda seconds=seconds: seconds)
        monkeypatch.setitem(matplotlib.rcParams, 'axes.edgecolor', ('red', 'blue')[number])
        path = tmp_path / f'{number}{suffix}'
        save_figure(path, FLAT, outputs(2), detections())
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert b'Date' not in written[0]


def test_a_pdf_holds_fonts_as_truetype(tmp_path):
    save_figure(tmp_path / 'a.pdf', FLAT, outputs(2), detections())
    data = (tmp_path / 'a.pdf').read_bytes()
    assert b'/FontFile2' in data
    assert b'DejaVuSans' in data
    assert b'/Type3' not in data


def test_an_svg_holds_text_as_text(tmp_path):
    maps = [*outputs(2), fmap(layer='backbone.stage1'), fmap(planes(1, 2), layer='head', channels=(5, 7))]
    save_figure(tmp_path / 'a.svg', FLAT, maps, detections(), name='a picture')
    found = [node.text.strip() for node in ET.parse(tmp_path / 'a.svg').iter(f'{SVG}text')]
    for text in ('neck', 'backbone.stage1', 'head', 'a picture', 'channel 5', 'channel 7', 'cat 0.90'):
        assert text in found


def embedded(path) -> list[np.ndarray]:
    """The pictures in a file, as RGB."""
    if path.suffix == '.svg':
        links = [node.get('{http://www.w3.org/1999/xlink}href') for node in ET.parse(path).iter(f'{SVG}image')]
        return [np.array(Image.open(BytesIO(b64decode(link.split(',')[1]))).convert('RGB')) for link in links]
    pictures = []
    form = re.compile(rb'<<([^>]*?/Subtype /Image[^>]*(?:>>[^>]*)?)>>\s*stream\r?\n(.*?)\r?\nendstream', re.DOTALL)
    for head, data in form.findall(path.read_bytes()):
        width, height = (int(re.search(rb'/%s (\d+)' % name, head)[1]) for name in (b'Width', b'Height'))
        raw = zlib.decompress(data)
        pictures.append((height, width, len(raw)))
    return pictures


def test_an_svg_holds_every_pixel_of_every_panel(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    save_figure(tmp_path / 'a.svg', image, [fmap(shape=(64, 96), values=[[1, 1]])], look=Look(alpha=0.0))
    first, second = embedded(tmp_path / 'a.svg')
    assert (first == image).all()
    assert (second == image).all()


def test_a_pdf_holds_the_pixels_of_a_small_image_and_no_more(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    save_figure(tmp_path / 'a.pdf', image, [fmap(shape=(64, 96))])
    sizes = [size[:2] for size in embedded(tmp_path / 'a.pdf')]
    assert sizes.count((64, 96)) == 2


@pytest.mark.parametrize('dpi', [50, 200])
def test_panels_of_a_pdf_have_the_pixels_that_they_are_printed_with(tmp_path, dpi):
    image = np.random.default_rng(0).integers(0, 256, (800, 1200, 3), np.uint8)
    figure = save_figure(tmp_path / 'a.pdf', image, outputs(3, shape=(800, 1200)), dpi=dpi)
    width, height = figure.get_size_inches() * dpi
    box = axes_of(figure, 'image')[0].get_position()
    shape = (box.height * height, box.width * width)
    assert shape == pytest.approx([round(side) for side in shape])  # whole pixels
    sizes = [size[:2] for size in embedded(tmp_path / 'a.pdf')]
    assert sizes.count(tuple(round(side) for side in shape)) == 4


def test_pixels_are_averaged_in_a_pdf_and_between_pixels_nothing_is_lost(tmp_path):
    image = np.zeros((600, 900, 3), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 200
    values = np.zeros((600, 900))
    values[100, 200] = 1  # a single cell, which is smaller than a pixel in print
    figure = save_figure(tmp_path / 'a.svg', image, [fmap(values, shape=(600, 900))], dpi=60, look=Look(1.0))
    shown, heat = embedded(tmp_path / 'a.svg')[:2]
    assert shown.shape == heat.shape
    assert shown.shape[1] < 300
    assert np.abs(shown[2:-2, 2:-2].astype(int) - 100).max() <= 5
    row, column = np.argwhere((heat != heat[-1, -1]).any(axis=-1))[0]
    assert (row / heat.shape[0], column / heat.shape[1]) == pytest.approx((1 / 6, 2 / 9), abs=2 / heat.shape[0])
    assert axes_of(figure, 'image')[0].bbox.width == pytest.approx(shown.shape[1])


def test_a_photograph_of_twelve_megapixels_makes_a_small_file(tmp_path):
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (300, 400, 3), np.uint8), np.ones((10, 10, 1), np.uint8))
    save_figure(tmp_path / 'a.pdf', image, outputs(3, shape=(3000, 4000)))
    assert (tmp_path / 'a.pdf').stat().st_size < 1e6


def test_a_window_shows_a_part_of_the_image_and_its_boxes(tmp_path):
    image = np.zeros((64, 96, 3), np.uint8)
    image[10:40, 20:60] = 200
    found = Detections(
        np.array([[25, 15, 35, 30], [70, 50, 90, 60]], np.float32), np.array([0.9, 0.5]), np.zeros(2, int)
    )
    figure = save_figure(tmp_path / 'a.png', image, [fmap(shape=(64, 96))], found, crop=(20, 10, 60, 40))
    (corner,) = axes_of(figure, 'image')
    assert (corner.images[0].get_array() == 200).all()
    assert [text.get_text() for text in corner.texts] == ['0 0.90']
    assert corner.bbox.height == pytest.approx(corner.bbox.width * 30 / 40, abs=1)
    assert '96×64 · crop 20,10 – 60,40 · 1 of 2 detections' in texts(figure)
    around = draw_figure(image, [fmap(shape=(64, 96))], found, crop='box:1:0')
    assert axes_of(around, 'image')[0].get_xlim() == (70, 90)


@pytest.mark.parametrize(
    ('crop', 'message'),
    [('box', r"crop='box': expected X1,Y1,X2,Y2"), ((5, 0, 2, 3), 'expected X1'), ('box:0', 'detections')],
)
def test_a_window_that_cannot_be(crop, message):
    with pytest.raises(OptionError, match=message):
        draw_figure(FLAT, outputs(1), crop=crop)


def test_pixels_of_a_tiny_image_stay_squares(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    save_figure(tmp_path / 'a.svg', image, [])
    assert 'pixelated' in (tmp_path / 'a.svg').read_text()
    figure = save_figure(tmp_path / 'a.png', image, [], dpi=100)
    picture = np.array(Image.open(tmp_path / 'a.png').convert('RGB'))
    box = axes_of(figure, 'image')[0].bbox
    for row, column in itertools.product(range(2), range(3)):
        y = int(picture.shape[0] - box.y1 + (row + 0.5) * box.height / 2)
        x = int(box.x0 + (column + 0.5) * box.width / 3)
        patch = picture[y - 20 : y + 20, x - 20 : x + 20]
        assert (patch == image[row, column]).all()


def test_pixels_of_a_large_image_are_averaged(tmp_path):
    image = np.zeros((600, 900, 3), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 200
    figure = save_figure(tmp_path / 'a.png', image, [fmap(shape=(600, 900))], dpi=50)
    picture = np.array(Image.open(tmp_path / 'a.png').convert('RGB')).astype(int)
    box = axes_of(figure, 'image')[0].bbox
    inside = picture[-int(box.y0) - 60 : -int(box.y0) - 10, int(box.x0) + 10 : int(box.x1) - 10]
    assert np.abs(inside - 100).max() <= 12
    save_figure(tmp_path / 'a.svg', image, [])
    assert 'pixelated' not in (tmp_path / 'a.svg').read_text()


def test_nothing_is_left_where_it_fails(tmp_path, monkeypatch):
    path = tmp_path / 'a.pdf'
    path.write_bytes(b'before')

    def broken(self, file, **options):
        file.write(b'half')
        raise RuntimeError('stopped')

    monkeypatch.setattr(Figure, 'savefig', broken)
    with pytest.raises(RuntimeError, match='stopped'):
        save_figure(path, FLAT, outputs(1))
    assert path.read_bytes() == b'before'
    assert files_under(tmp_path) == ['a.pdf']


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(OutputError, match='cannot be written'):
        save_figure(tmp_path / 'file' / 'a.svg', FLAT, outputs(1))
    assert files_under(tmp_path) == ['file']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'dpi': 0}, 'dpi=0'),
        ({'width': 0.2}, 'width=0.2'),
        ({'width': NAN}, 'width=nan'),
        ({'columns': 0}, 'columns=0'),
        ({'dpi': 'x'}, "dpi='x'"),
        ({'width': None}, 'width=None'),
    ],
)
def test_sizes_that_make_no_figure(draw, tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        draw(outputs(1), **options)
    assert files_under(tmp_path) == []


def test_maps_that_cannot_be_drawn(draw, tmp_path):
    with pytest.raises(DrawError, match=r'neck belongs to an image of \(8, 8\)'):
        draw([fmap(shape=(8, 8))])
    with pytest.raises(DrawError, match='no finite value'):
        draw([fmap([[NAN, NAN]])])
    assert files_under(tmp_path) == []


def test_pyplot_and_its_settings_are_left_alone(tmp_path):
    code = f"""
import sys, numpy as np, matplotlib
def settings():  # asking for the backend imports pyplot
    return {{name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != 'backend'}}
before = settings()
from featmap.figure import save_figure
from featmap.geometry import ImageGeometry
from featmap.structures import FeatureMap
item = FeatureMap(np.ones((1, 2, 2), np.float32), 'neck', (8, 2, 2), (4., 4.), ImageGeometry.whole((8, 8)))
for suffix in ('png', 'pdf', 'svg'):
    save_figure({str(tmp_path)!r} + '/a.' + suffix, np.zeros((8, 8, 3), np.uint8), [item])
print([name for name in ('matplotlib.pyplot', 'mmengine', 'torch') if name in sys.modules])
print(settings() == before)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split('\n')[:2] == ['[]', 'True']
