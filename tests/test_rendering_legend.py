"""The legend below a picture of segments."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.masks import Segments
from featmap.rendering.legend import Entry, add_legend, entries_of
from featmap.rendering.text import font_size, line_height
from featmap.structures import Detections, Panel, Rendering
from featmap.visualizer import FeatMapVisualizer
from tests.visualizer_helpers import GREY, RAMP, feature_map

RED, GREEN = (220, 0, 0), (0, 200, 0)
NUMBERS = np.zeros((32, 32), np.uint8)
NUMBERS[:16], NUMBERS[16:24, :8], NUMBERS[16:24, 8:], NUMBERS[24, 0] = 1, 2, 3, 4
FOUND = Detections(
    classes=('sky', 'cat', 'bird'), palette=(GREEN, RED, (0, 0, 255)), kind='',
    segments=Segments(NUMBERS, (0, 1, 1, 2), 'panoptic'),
)  # fmt: skip


def picture(width: int = 400) -> Rendering:
    return Rendering(np.full((50, width, 3), 128, np.uint8), (Panel(2, 2, width - 4, 46, 'image'),))


def swatches(legend: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((legend == color).all(axis=-1).sum())


def test_entries_tell_name_count_and_share_the_largest_first():
    assert entries_of(FOUND) == [
        Entry('sky, 50%', GREEN),
        Entry('cat ×2, 25%', RED),
        Entry('bird, <1%', (0, 0, 255)),
    ]
    assert entries_of(Detections()) == []


def test_the_legend_stands_below_and_the_picture_stays():
    drawn = add_legend(picture(), entries_of(FOUND))
    np.testing.assert_array_equal(drawn.image[:50], picture().image)
    legend = drawn.image[50:]
    size = font_size(46, 396)
    assert legend.shape[0] < 2 * line_height(size) + size
    assert swatches(legend, GREEN) == swatches(legend, RED) >= size * size // 2
    order = [int(np.argwhere((legend == color).all(axis=-1))[:, 1].min()) for color in (GREEN, RED)]
    assert order == sorted(order)
    assert drawn.panels == picture().panels
    assert add_legend(picture(), []).image.shape == picture().image.shape


@pytest.mark.parametrize('width', [400, 120, 40])
def test_a_long_legend_is_cut_and_says_so(width, monkeypatch):
    import featmap.rendering.legend as legend

    written: list[str] = []
    write = legend._write
    monkeypatch.setattr(legend, '_write', lambda *args: written.append(args[1]) or write(*args))
    drawn = add_legend(picture(width), [Entry(f'class {number}', RED) for number in range(200)])
    size = font_size(46, width - 4)
    assert drawn.image.shape[0] - 50 <= 6 * (line_height(size) + 2) + size
    assert written[-1] == f'and {200 - (len(written) - 1)} more'
    assert len(written) > 5


def test_what_just_fits_is_all_written(monkeypatch):
    import featmap.rendering.legend as legend

    written: list[str] = []
    monkeypatch.setattr(legend, '_write', lambda *args: written.append(args[1]))
    add_legend(picture(), [Entry(f'class {number}', RED) for number in range(12)])
    assert written == [f'class {number}' for number in range(12)]


def test_a_picture_of_maps_has_it_where_it_has_labels():
    item = feature_map(RAMP)
    plain = FeatMapVisualizer().draw_maps(GREY, [item])
    drawn = FeatMapVisualizer().draw_maps(GREY, [item], FOUND)
    assert drawn.panels[0].label == 'image · 32×32 · 4 segments of 3 classes'
    assert swatches(drawn.image[-40:], RED) > 20
    assert drawn.image.shape[0] > plain.image.shape[0]
    bare = FeatMapVisualizer(labels=False).draw_maps(GREY, [item], FOUND)
    assert bare.image.shape == FeatMapVisualizer(labels=False).draw_maps(GREY, [item]).image.shape


def test_a_crop_has_the_classes_that_can_be_seen_in_it(monkeypatch):
    import featmap.rendering.legend as legend

    written: list[str] = []
    monkeypatch.setattr(legend, '_write', lambda *args: written.append(args[1]))
    FeatMapVisualizer(crop='8,16,32,24').draw_maps(GREY, [feature_map(RAMP)], FOUND)
    assert written == ['cat, 100%']
