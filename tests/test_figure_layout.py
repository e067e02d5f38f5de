"""Where the panels and texts of a figure stand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from featmap.figure.style import applied
from featmap.norm import Norm
from featmap.rendering.panels import Look
from featmap.structures import FeatureMap
from tests.figure_helpers import axes_of, detections, fmap, outputs, planes, texts


def place(axes) -> tuple[int, int]:
    """Left and top in hundredths of an inch."""
    size = axes.figure.get_size_inches() * 100
    box = axes.get_position()
    return round(box.x0 * size[0]), round((1 - box.y1) * size[1])


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
            # Edges lie between pixels.
            assert axes.bbox.height == pytest.approx(
                axes.bbox.width * shape[0] / shape[1], abs=max(1, shape[0] / shape[1])
            )
            assert axes.bbox.height == pytest.approx(round(axes.bbox.height), abs=1e-6)


LONG = 'bbox_head.head_module.a_very_long_name_of_a_layer.that_goes_on.cls_preds.0.conv'
CASES = {
    'neck': (outputs(3), {}),
    'two layers': (outputs(3) + outputs(3, 'backbone'), {}),
    'one map': (outputs(1), {}),
    'no map': ([], {}),
    'a narrow column': (outputs(3) + outputs(3, 'backbone'), {'width': 3.3}),
    'very narrow': (outputs(2) + outputs(2, 'backbone.stage3'), {'width': 1.0}),
    'long names': (outputs(6, LONG) + outputs(2, 'neck'), {'name': 'a/picture/' * 9}),
    'long names of single maps': ([fmap(layer=f'{LONG}.{n}') for n in range(6)], {'name': 'x' * 200}),
    'long numbers': ([fmap([[-1.0001e-5, -1e-5]], path=f'[{n}]') for n in range(6)], {}),
    'shared by layers': (outputs(3) + outputs(2, 'backbone'), {'look': Look(norm=Norm('layer'))}),
    'shared by all': (outputs(3) + outputs(8, 'backbone'), {'look': Look(norm=Norm('run'))}),
    'percentiles': (outputs(6), {'look': Look(norm=Norm('percentile', 1, 99, symmetric=True))}),
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
    overlap_nowhere(figure)


def overlap_nowhere(figure) -> None:
    """Texts, panels and bars stand within the figure, clear of each other."""
    with applied({}):
        found = extents(figure)
    for name, box in found:
        assert box.x0 >= -0.5, name
        assert box.x1 <= figure.bbox.x1 + 0.5, name
        assert box.y0 >= -1, name
        assert box.y1 <= figure.bbox.y1 + 1, name
    for (name, one), (other, two) in itertools.combinations(found, 2):
        wide = min(one.x1, two.x1) - max(one.x0, two.x0)
        high = min(one.y1, two.y1) - max(one.y0, two.y0)
        assert min(wide, high) < 1.5, (name, other)


def extents(figure) -> list:
    renderer = FigureCanvasAgg(figure).get_renderer()
    labels = [text for axes in axes_of(figure, 'bar') for text in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    written = [text for text in (*figure.texts, *labels) if text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in written] + [axes.bbox for axes in figure.axes]
    for text, box in zip(written, boxes):
        if text.get_text().startswith('\n'):  # the first of both lines is empty
            box.y1 = (box.y0 + box.y1) / 2
    names = [text.get_text() for text in written] + [axes.get_label() for axes in figure.axes]
    return list(zip(names, boxes))


def _moved(item: FeatureMap, shape: tuple[int, int]) -> FeatureMap:
    """The map of an image of another shape."""
    fields = {name: getattr(item, name) for name in ('channels', 'kind', 'names', 'reducer')}
    return fmap(item.values, item.layer, item.path, shape, **fields)


@pytest.mark.parametrize(('shape', 'width'), [((40, 600), 7.0), ((40, 600), 3.4), ((600, 40), 3.4), ((100, 330), 3.4)])
def test_panels_of_very_wide_and_very_high_images_can_be_seen(draw, shape, width):
    image = np.zeros((*shape, 3), np.uint8)
    figure = draw([fmap(path=f'[{n}]', shape=shape) for n in range(3)], image=image, width=width, dpi=100)
    for axes in axes_of(figure, 'image') + axes_of(figure, 'panel'):
        assert min(axes.bbox.height, axes.bbox.width) >= 0.2 * 100
        assert max(axes.bbox.height, axes.bbox.width) >= 1.4 * 100
    overlap_nowhere(figure)
