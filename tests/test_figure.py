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
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from featmap.errors import DrawError, OptionError, OutputError
from featmap.figure import save_figure
from featmap.geometry import ImageGeometry
from featmap.norm import Norm
from featmap.rendering.colors import categories, color_table
from featmap.rendering.normalize import Range
from featmap.rendering.panels import Look
from featmap.structures import Detections, FeatureMap
from tests.conftest import ROOT, files_under

NAN = float('nan')
SVG = '{http://www.w3.org/2000/svg}'
FLAT = np.full((32, 48, 3), 100, np.uint8)


def fmap(values=((0, 1), (2, 3)), layer: str = 'neck', path: str = '', shape=(32, 48), **fields) -> FeatureMap:
    """A map whose cells divide the image evenly; ``values`` (h, w) or (K, h, w)."""
    values = np.asarray(values, np.float32)
    values = values[None] if values.ndim == 2 else values
    rows, columns = values.shape[1:]
    stride = (shape[0] / rows, shape[1] / columns)
    fields = {'reducer': 'squeeze_mean', **fields}
    return FeatureMap(values, layer, (8, rows, columns), stride, ImageGeometry.whole(shape), path, **fields)


def outputs(count: int, layer: str = 'neck', **fields) -> list[FeatureMap]:
    """Maps of one layer, the ranges of which differ."""
    return [fmap([[0, 1], [2, 3 + n]], layer, f'[{n}]', **fields) for n in range(count)]


def planes(*tops: float) -> np.ndarray:
    return np.array([[[0, 1], [2, top]] for top in tops], np.float32)


def detections() -> Detections:
    boxes = np.array([[4, 8, 20, 30], [30, 4, 46, 20]], np.float32)
    return Detections(boxes, np.array([0.9, 0.5]), np.array([0, 1]), ('cat', 'a $dog$'))


def axes_of(figure: Figure, label: str) -> list:
    return [axes for axes in figure.axes if axes.get_label() == label]


def texts(figure: Figure) -> list[str]:
    """What stands outside the axes."""
    return [text.get_text() for text in figure.texts]


def ticks(figure: Figure) -> list[list[str]]:
    """The texts at each colour bar."""
    found = []
    for axes in axes_of(figure, 'bar'):
        labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
        found.append([label.get_text() for label in labels])
    return found


def upright(figure: Figure) -> list[bool]:
    return [axes.bbox.height > axes.bbox.width for axes in axes_of(figure, 'bar')]


def place(axes) -> tuple[int, int]:
    """Left and top in hundredths of an inch."""
    size = axes.figure.get_size_inches() * 100
    box = axes.get_position()
    return round(box.x0 * size[0]), round((1 - box.y1) * size[1])


@pytest.fixture
def draw(tmp_path):
    def call(maps, found=None, image=FLAT, suffix='.png', **options) -> Figure:
        options = {'dpi': 50, **options}
        return save_figure(tmp_path / f'figure{suffix}', image, maps, found, **options)

    return call


# --- the files


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
    save_figure(tmp_path / 'a.svg', FLAT, maps, detections(), title='a picture')
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
    save_figure(tmp_path / 'a.svg', image, [fmap(shape=(64, 96), values=[[1, 1]])], visualizer=Look(alpha=0.0))
    first, second = embedded(tmp_path / 'a.svg')
    assert (first == image).all()
    assert (second == image).all()


def test_a_pdf_holds_the_pixels_of_the_image_and_no_more(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    save_figure(tmp_path / 'a.pdf', image, [fmap(shape=(64, 96))])
    sizes = [size[:2] for size in embedded(tmp_path / 'a.pdf')]
    assert sizes.count((64, 96)) == 2


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
    ('image', 'options', 'message'),
    [
        (FLAT[..., 0], {}, 'RGB image'),
        (FLAT.astype(float), {}, 'RGB image'),
        (FLAT, {'dpi': 0}, 'dpi=0'),
        (FLAT, {'width': 0.2}, 'width=0.2'),
        (FLAT, {'width': NAN}, 'width=nan'),
        (FLAT, {'columns': 0}, 'columns=0'),
    ],
)
def test_sizes_and_images_that_make_no_figure(draw, tmp_path, image, options, message):
    with pytest.raises(OptionError, match=message):
        draw(outputs(1), image=image, **options)
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


# --- where the panels stand


@pytest.mark.parametrize(
    ('maps', 'panels'),
    [
        ([], 0),
        (outputs(1), 1),
        (outputs(3) + outputs(2, 'backbone'), 5),
        ([fmap(planes(1, 2, 3, 4), channels=(1, 2, 3, 4))], 4),
        ([fmap(planes(1, 2), kind='concepts', names=('one', 'two'))], 3),
        ([fmap([[0, 1], [2, 1]], kind='segments', names=('3 segments',))], 1),
        ([fmap(planes(1, 2, 3), kind='image')], 1),
        (outputs(20), 20),
    ],
)
def test_there_is_the_image_and_a_panel_for_each_map(draw, maps, panels):
    figure = draw(maps)
    assert len(axes_of(figure, 'image')) == 1
    assert len(axes_of(figure, 'panel')) == panels


def test_each_layer_has_its_row(draw):
    figure = draw([*outputs(3, 'backbone'), *outputs(2, 'neck'), *outputs(1, 'backbone', call=1, calls=2)])
    (corner,) = axes_of(figure, 'image')
    places = [place(axes) for axes in axes_of(figure, 'panel')]
    lefts, tops = sorted({x for x, _ in places}), sorted({y for _, y in places})
    assert places == [(x, y) for y, count in zip(tops, (4, 2)) for x in lefts[:count]]
    assert place(corner)[0] < lefts[0]
    assert place(corner)[1] == tops[0]


def test_layers_of_one_panel_share_a_row(draw):
    figure = draw([fmap(layer=f'stage{number}') for number in range(4)])
    assert len({place(axes)[1] for axes in figure.axes if axes.get_label() != 'bar'}) == 1
    assert [text for text in texts(figure) if text.startswith('stage')] == [f'stage{number}' for number in range(4)]


@pytest.mark.parametrize(
    ('maps', 'options', 'counts'),
    [
        (outputs(6), {}, [6]),
        (outputs(7), {}, [4, 3]),
        (outputs(8), {'columns': 3}, [3, 3, 2]),
        (outputs(4), {'columns': 1}, [1, 1, 1, 1]),
        (outputs(6), {'width': 3.3}, [3, 3]),  # more would be too small to read
        ([fmap(layer=f'layer{n}') for n in range(8)], {}, [4, 4]),
        ([fmap(planes(1, 2, 3, 4), path=f'[{n}]', channels=(1, 2, 3, 4)) for n in range(2)], {}, [4, 4]),
        ([fmap(planes(*range(8)), channels=tuple(range(8)))], {}, [4, 4]),
    ],
)
def test_long_rows_wrap(draw, maps, options, counts):
    tops = [place(axes)[1] for axes in axes_of(draw(maps, **options), 'panel')]
    assert [len(list(group)) for _, group in itertools.groupby(tops)] == counts


@pytest.mark.parametrize('shape', [(32, 48), (48, 32), (200, 20), (20, 400), (1, 1)])
@pytest.mark.parametrize('count', [1, 3])
def test_panels_have_the_shape_of_the_image(draw, shape, count):
    image = np.zeros((*shape, 3), np.uint8)
    for axes in draw([fmap(path=f'[{n}]', shape=shape) for n in range(count)], image=image).axes:
        if axes.get_label() != 'bar':
            assert axes.bbox.height / axes.bbox.width == pytest.approx(shape[0] / shape[1], rel=1e-3)


LONG = 'bbox_head.head_module.a_very_long_name_of_a_layer.that_goes_on.cls_preds.0.conv'
CASES = {
    'neck': (outputs(3), {}),
    'two layers': (outputs(3) + outputs(3, 'backbone'), {}),
    'one map': (outputs(1), {}),
    'no map': ([], {}),
    'a narrow column': (outputs(3) + outputs(3, 'backbone'), {'width': 3.3}),
    'very narrow': (outputs(2) + outputs(2, 'backbone.stage3'), {'width': 1.0}),
    'long names': (outputs(6, LONG) + outputs(2, 'neck'), {'title': 'a/picture/' * 9}),
    'long names of single maps': ([fmap(layer=f'{LONG}.{n}') for n in range(6)], {'title': 'x' * 200}),
    'long numbers': ([fmap([[-1.0001e-5, -1e-5]], path=f'[{n}]') for n in range(6)], {}),
    'shared by layers': (outputs(3) + outputs(2, 'backbone'), {'visualizer': Look(norm=Norm('layer'))}),
    'shared by all': (outputs(3) + outputs(8, 'backbone'), {'visualizer': Look(norm=Norm('run'))}),
    'percentiles': (outputs(6), {'visualizer': Look(norm=Norm('percentile', 1, 99, symmetric=True))}),
    'concepts': ([fmap(planes(1, 2, 3), kind='concepts', names=('concept 1, 50%', 'b', 'c'))] + outputs(2, 'b'), {}),
}


@pytest.mark.parametrize(
    ('case', 'shape'),
    [*((case, (32, 48)) for case in CASES)]
    + [(case, shape) for case in ('neck', 'very narrow', 'shared by all') for shape in ((64, 24), (6, 90))],
)
def test_nothing_overlaps(draw, case, shape):
    maps, options = CASES[case]
    maps = [_moved(item, shape) for item in maps]
    figure = draw(maps, detections(), np.zeros((*shape, 3), np.uint8), dpi=150, **options)
    renderer = FigureCanvasAgg(figure).get_renderer()
    labels = [text for axes in axes_of(figure, 'bar') for text in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    written = [text for text in (*figure.texts, *labels) if text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in written] + [axes.bbox for axes in figure.axes]
    names = [text.get_text() for text in written] + [axes.get_label() for axes in figure.axes]
    for name, box in zip(names, boxes):
        assert box.x0 >= -0.5, name
        assert box.x1 <= figure.bbox.x1 + 0.5, name
        assert box.y0 >= -1, name
        assert box.y1 <= figure.bbox.y1 + 1, name
    for (name, one), (other, two) in itertools.combinations(zip(names, boxes), 2):
        wide = min(one.x1, two.x1) - max(one.x0, two.x0)
        high = min(one.y1, two.y1) - max(one.y0, two.y0)
        assert min(wide, high) < 1.5, (name, other)


def _moved(item: FeatureMap, shape: tuple[int, int]) -> FeatureMap:
    """The map of an image of another shape."""
    fields = {name: getattr(item, name) for name in ('channels', 'kind', 'names', 'reducer')}
    return fmap(item.values, item.layer, item.path, shape, **fields)


# --- what is told


def test_what_holds_for_all_panels_of_a_row_is_said_once(draw):
    figure = draw([*outputs(2), fmap(planes(1, 2), 'head', channels=(5, 7))])
    assert texts(figure)[:1] == ['neck']
    assert {'squeeze_mean · 8×2×2 · stride 16×24', '[0]', '[1]'} <= set(texts(figure))
    assert {'head', '8×2×2 · stride 16×24', 'channel 5', 'channel 7'} <= set(texts(figure))


def test_a_row_of_one_output_has_its_name(draw):
    figure = draw([fmap(planes(1, 2), path='[1]', channels=(5, 7))])
    assert 'neck[1]' in texts(figure)


def test_calls_are_told_apart(draw):
    figure = draw([fmap(call=0, calls=2), fmap(call=1, calls=2)])
    assert {'neck', '#0', '#1'} <= set(texts(figure))


def test_the_image_says_its_size_and_detections(draw):
    figure = draw(outputs(1), detections(), title='$\\frac$ two\nlines')
    assert {'$\\frac$ two lines', '48×32 · 2 detections'} <= set(texts(figure))


def test_boxes_stand_on_every_panel_and_their_classes_on_the_image(draw):
    figure = draw(outputs(2), detections())
    (corner,), panels = axes_of(figure, 'image'), axes_of(figure, 'panel')
    assert [text.get_text() for text in corner.texts] == ['cat 0.90', 'a $dog$ 0.50']
    for axes in panels:
        assert len(axes.texts) == 0
        outlines = {patch.get_bbox().bounds for patch in axes.patches}
        assert outlines == {(4, 8, 16, 22), (30, 4, 16, 16)}


def test_a_class_is_not_written_over_a_better_one(draw):
    boxes = np.array([[4, 12, 20, 30], [5, 12, 21, 31], [30, 12, 46, 30]], np.float32)
    found = Detections(boxes, np.array([0.5, 0.9, 0.7]), np.zeros(3, int), ('cat',))
    figure = draw(outputs(3), found)
    assert [text.get_text() for text in axes_of(figure, 'image')[0].texts] == ['cat 0.90', 'cat 0.70']


def test_no_class_hides_another_box(draw):
    boxes = np.array([[4, 16, 20, 30], [5, 14, 8, 16]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.5]), np.zeros(2, int), ('cat',))
    figure = draw(outputs(3), found)
    assert [text.get_text() for text in axes_of(figure, 'image')[0].texts] == ['cat 0.50']


def test_a_constant_map_says_its_value_and_has_no_bar(draw):
    figure = draw([fmap([[-2.5, -2.5]], path='[0]'), fmap(path='[1]')])
    assert any(text.endswith('· constant −2.5') for text in texts(figure))
    assert ticks(figure) == [['0', '3']]
    shown = axes_of(figure, 'panel')[0].images[0].get_array()
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 1


def test_cells_that_are_not_finite_show_the_bare_image_and_are_counted(draw):
    figure = draw([fmap([[NAN, 1], [NAN, 3]])])
    shown = axes_of(figure, 'panel')[0].images[0].get_array()
    assert (shown[:, :20] == FLAT[:, :20]).all()
    assert (shown[:, 28:] != FLAT[:, 28:]).any()
    assert any('2 non-finite' in text for text in texts(figure))


def test_concepts_have_the_colours_of_their_frames(draw):
    figure = draw([fmap(planes(1, 9), kind='concepts', names=('one', 'two'), channels=(None, None))])
    *parts, whole = axes_of(figure, 'panel')
    frames = [axes.spines['left'].get_edgecolor()[:3] for axes in parts]
    assert np.allclose(frames, categories(2) / 255)
    assert not whole.spines['left'].get_visible()
    assert {'one', 'two', 'all 2 concepts'} <= set(texts(figure))


# --- colour bars


def norm(*args, **options) -> Look:
    return Look(norm=Norm(*args, **options))


@pytest.mark.parametrize(
    ('maps', 'look', 'expected', 'right'),
    [
        (outputs(2), Look(), [['0', '3'], ['0', '4']], [False, False]),
        (outputs(1), Look(), [['0', '3']], [False]),
        (outputs(1), norm('layer'), [['0', '3']], [False]),
        (outputs(2), norm('layer'), [['0', '4']], [True]),
        (outputs(2) + outputs(3, 'b'), norm('layer'), [['0', '4'], ['0', '5']], [True, True]),
        (outputs(2) + outputs(1, 'b'), norm('layer'), [['0', '4'], ['0', '3']], [True, True]),
        (outputs(8), norm('layer'), [['0', '10']], [True]),
        (outputs(2) + outputs(3, 'b'), norm('run'), [['0', '5']], [True]),
        (outputs(2) + outputs(3, 'b'), norm('fixed', 0, 9), [['0', '9']], [True]),
        (outputs(1) + outputs(1, 'b'), norm('fixed', 0, 9), [['0', '9']], [True]),
        (outputs(2), norm('fixed', 1, 4), [['≤ 1', '4']], [True]),
        (outputs(2), norm('fixed', -1, 2), [['−1', '≥ 2', '0']], [True]),
        (outputs(1), norm(symmetric=True), [['−3', '3', '0']], [False]),
        ([fmap(planes(1, 9), kind='concepts', names=('a', 'b'))], Look(), [['0', '9']], [True]),
        ([fmap(kind='segments', names=('4 segments',))], Look(), [], []),
        ([fmap(planes(1, 2, 3), kind='image')], norm('layer'), [], []),
        ([fmap(ranges=((-2.0, 2.0),))], norm('run'), [['−2', '≥ 2', '0']], [False]),
        ([], Look(), [], []),
    ],
)
def test_each_range_has_one_bar(draw, maps, look, expected, right):
    figure = draw(maps, visualizer=look)
    assert ticks(figure) == expected
    assert upright(figure) == right


def test_the_range_of_the_run_is_that_given(draw):
    figure = draw(outputs(2), visualizer=norm('run'), run=Range(-10, 30))
    assert ticks(figure) == [['−10', '30', '0']]
    assert any('scale: run' in text for text in texts(figure))


def test_a_shared_bar_reaches_over_its_rows(draw):
    figure = draw(outputs(2) + outputs(2, 'b'), visualizer=norm('run'))
    (bar,) = (axes.get_position() for axes in axes_of(figure, 'bar'))
    panels = [axes.get_position() for axes in axes_of(figure, 'panel')]
    assert bar.y1 == pytest.approx(max(box.y1 for box in panels))
    assert bar.y0 == pytest.approx(min(box.y0 for box in panels))
    assert bar.x0 > max(box.x1 for box in panels)


def test_bars_and_panels_have_the_colours_of_the_look(draw):
    table = color_table('viridis')
    figure = draw([fmap([[0, 1]])], visualizer=Look(alpha=1.0, table=table))
    (bar,), (panel,) = axes_of(figure, 'bar'), axes_of(figure, 'panel')
    assert (bar.images[0].get_array() == table[None]).all()
    shown = panel.images[0].get_array()
    assert (shown[:, 0] == table[0]).all()
    assert (shown[:, -1] == table[255]).all()


def test_the_highest_colour_is_at_the_right_or_at_the_top(draw, tmp_path):
    table = color_table('viridis')
    for look in (Look(table=table), Look(table=table, norm=Norm('layer'))):
        figure = draw(outputs(2), visualizer=look, dpi=200)
        picture = np.array(Image.open(tmp_path / 'figure.png').convert('RGB'))[::-1].astype(int)  # the origin below
        box = axes_of(figure, 'bar')[0].bbox
        near, far = (int(box.y0) + 4, int(box.x0) + 4), (int(box.y1) - 4, int(box.x1) - 4)
        assert np.abs(picture[near] - table[0]).max() < 30
        assert np.abs(picture[far] - table[255]).max() < 30


def test_a_visualizer_lends_its_look(draw):
    from featmap.visualizer import FeatMapVisualizer

    visualizer = FeatMapVisualizer('figure', alpha=1.0, colormap='gray', norm='0,9')
    figure = draw(outputs(2), visualizer=visualizer)
    assert ticks(figure) == [['0', '9']]
    assert (axes_of(figure, 'bar')[0].images[0].get_array()[0] == 0).all()
