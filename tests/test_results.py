"""What the user gets for one image: its picture, its figure, and the files of both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from featmap.errors import OutputError
from featmap.norm import Norm
from featmap.rendering.normalize import Range
from featmap.rendering.panels import Look
from featmap.results import Result
from featmap.structures import Rendering
from tests.conftest import files_under
from tests.figure_helpers import FLAT, axes_of, detections, fmap, outputs, planes, texts
from tests.inferencer_helpers import IMAGE, build


def result(maps=None, **options) -> Result:
    pictures = tuple(Rendering(np.full((4, 6, 3), shade, np.uint8), ()) for shade in (10, 20))
    return Result('dog.jpg', pictures, tuple(maps or outputs(2)), detections(), FLAT, figure_options=options)


def test_a_figure_is_drawn_as_the_picture_was():
    maps = [fmap(planes(1, 2, 3, 4), channels=(1, 2, 3, 4))]
    look = Look(1.0, norm=Norm('run'))
    figure = result(maps, look=look, arrangement=(2, 2), labels=False, run=Range(0, 8)).figure(dpi=50)
    panels = axes_of(figure, 'panel')
    assert len({round(axes.get_position().y0, 3) for axes in panels}) == 2
    assert texts(figure) == []
    (bar,) = axes_of(figure, 'bar')
    assert [label.get_text() for label in bar.get_yticklabels()] == ['0', '8']


def test_options_of_the_figure_win():
    figure = result(labels=False).figure(labels=True, width=3.0, dpi=50, title='A title', font_size=6)
    assert {'A title', 'dog.jpg', 'neck', '48×32 · 2 detections'} <= set(texts(figure))
    assert figure.get_size_inches()[0] == 3


@pytest.mark.parametrize(('name', 'head'), [('a.pdf', b'%PDF'), ('b.SVG', b'<?xml')])
def test_a_pdf_or_svg_is_the_figure(tmp_path, name, head):
    assert result().save(tmp_path / 'new' / name) == tmp_path / 'new' / name
    assert (tmp_path / 'new' / name).read_bytes().startswith(head)
    assert files_under(tmp_path) == [f'new/{name}']


def test_other_files_are_the_picture(tmp_path):
    assert result().save(tmp_path / 'a.png') == tmp_path / 'a.png'
    assert files_under(tmp_path) == ['a.page2.png', 'a.png']
    assert (np.array(Image.open(tmp_path / 'a.png')) == 10).all()
    with pytest.raises(OutputError, match='expected one of'):
        result().save(tmp_path / 'a.docx')


@pytest.mark.parametrize('name', ['dog.png', 'dog.pdf'])
def test_the_image_itself_is_never_replaced(tmp_path, name):
    for read in (name, 'dog.page2.png'):
        (tmp_path / read).write_bytes(b'the original')
        shown = replace(result(), location=str(tmp_path / read))
        if read == name or name == 'dog.png':
            with pytest.raises(OutputError, match='would overwrite the image that it shows'):
                shown.save(tmp_path / name)
        assert (tmp_path / read).read_bytes() == b'the original'


@pytest.mark.parametrize('quality', [0, 101, None, True, 'best', 95.5])
def test_a_quality_is_from_1_to_100(tmp_path, quality):
    with pytest.raises(OutputError, match='expected a quality from 1 to 100, got'):
        result().save(tmp_path / 'dog.jpg', quality=quality)
    assert files_under(tmp_path) == []


def test_a_detector_lends_its_result_how_it_draws():
    vis = build(target_layers=['neck'], channel_reduction=None, topk=4, arrangement=(4, 1), norm='run', alpha=0.75)
    vis.learn([IMAGE])
    drawn = vis(IMAGE)
    figure = drawn.figure(dpi=50)
    assert len({round(axes.get_position().y0, 3) for axes in axes_of(figure, 'panel')}) == 12
    (bar,) = axes_of(figure, 'bar')
    assert [float(label.get_text().replace('−', '-')) for label in bar.get_yticklabels()][:2] == pytest.approx(
        [vis.run.low, vis.run.high], rel=0.01
    )
    assert drawn.figure_options['look'].alpha == 0.75
