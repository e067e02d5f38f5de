"""Pictures of explanations: what stands where, and what is bold."""

from __future__ import annotations

import numpy as np

from featmap.drawer import MapDrawer
from featmap.explained import ExplanationDrawer
from featmap.explained.panels import Panels
from featmap.explained.rows import Shown
from featmap.geometry import View
from featmap.options import Run
from featmap.structures import Detections
from tests.explanation_helpers import FOUND, PICTURE, SHAPE, explanation


def sheets(explanations, zoom=False, found=FOUND, **options):
    return ExplanationDrawer(MapDrawer(Run.of(options)), zoom).draw_sheets(PICTURE, explanations, found, 'cat.jpg')


def panel(rendering, number):
    """The pixels of a panel of a picture."""
    place = rendering.panels[number]
    return rendering.image[place.y : place.y + place.height, place.x : place.x + place.width]


def test_one_target_is_the_image_and_its_map():
    (page,) = sheets([explanation(0)])
    assert [each.label for each in page.panels] == [
        'cat.jpg · 120×80 · 3 detections',
        'box 0 · cat 0.90 · layercam · backbone · 16×8×12 · stride 10 · 0 … 1',
    ]


def test_one_target_zoomed_has_its_crop_below_the_image():
    (page,) = sheets([explanation(0), explanation(0, method='odam')], zoom=True)
    assert [each.label.partition(' · ')[0] for each in page.panels] == [
        'cat.jpg', 'box 0', 'box 0', 'crop', 'layercam, zoomed', 'odam, zoomed',
    ]  # fmt: skip
    columns = [each.x for each in page.panels]
    assert columns[:3] == columns[3:]
    assert page.panels[0].y < page.panels[3].y


def test_the_heat_lies_over_its_cell_in_the_whole_and_in_the_zoom():
    (page,) = sheets([explanation(0)], zoom=True, found=None, colormap='hot', background='none')
    whole = panel(page, 1).astype(int).sum(axis=2)
    y, x = np.unravel_index(whole[22:58, 12:28].argmax(), (36, 16))  # within the box's lines
    assert abs(y + 22.5 - 35) <= 1
    assert abs(x + 12.5 - 25) <= 1
    zoomed = panel(page, 3).astype(int).sum(axis=2)
    window = [int(part) for part in page.panels[3].label.split(' · ')[1].replace(' – ', ',').split(',')]
    y, x = np.unravel_index(np.where(zoomed < 3 * 250, zoomed, 0).argmax(), zoomed.shape)
    scale = zoomed.shape[1] / (window[2] - window[0])
    assert abs(window[0] + x / scale - 25) < 3
    assert abs(window[1] + y / scale - 35) < 3


def test_many_targets_make_pages_of_up_to_eight_rows():
    many = [explanation(0, label=f'box {number} · cat 0.90') for number in range(19)]
    pages = sheets(many, panel_size=40)
    assert [len(page.panels) for page in pages] == [15, 15, 11]  # the image, and a crop and a map in a row
    assert pages[2].panels[1].label.startswith('box 14 · cat 0.90 · crop')


def test_two_targets_are_rows_under_their_heads():
    (page,) = sheets([explanation(0), explanation(1)], zoom=True)
    heads = [each.label.partition(' · crop')[0] for each in page.panels if ' · crop' in each.label]
    assert heads == ['box 0 · cat 0.90', 'box 1 · dog 0.80']
    assert page.panels[1].y < page.panels[4].y
    assert page.panels[1].x == page.panels[4].x


def test_labels_and_bars_go_as_everywhere():
    plain, bare = sheets([explanation(0)])[0], sheets([explanation(0)], labels=False)[0]
    assert bare.image.shape[0] < plain.image.shape[0]
    assert sheets([explanation(0)], colorbar=True)[0].image.shape[0] > plain.image.shape[0]


def test_the_explained_box_is_bold_and_the_others_are_thin():
    view = View.of(SHAPE, None)
    look = MapDrawer(Run()).look
    drawn = Panels(look, PICTURE, FOUND, view).whole([explanation(2)]).astype(int)
    changed = np.abs(drawn - PICTURE).sum(axis=2) > 0
    # Across the left edge of the bold box at 70, and of the thin one at 10.
    assert changed[50, 62:78].sum() > changed[40, 2:18].sum() > 0
    inside = np.abs(drawn - PICTURE).sum(axis=2)[35:65, 75:105]
    assert inside.sum() == 0  # nothing hides what is in the box


def test_without_detections_nothing_but_the_box_is_drawn():
    panels = Panels(MapDrawer(Run()).look, PICTURE, None, View.of(SHAPE, None))
    changed = np.abs(panels.draw(Shown('crop', explanation(None))).astype(int) - PICTURE).sum()
    assert changed == 0
    boxed = np.abs(panels.whole([explanation(2)]).astype(int) - PICTURE).sum(axis=2)
    assert boxed[50, 62:78].any()
    assert not boxed[40, 2:18].any()


def test_a_region_is_outlined_in_white():
    region = np.zeros(SHAPE, bool)
    region[20:60, 30:90] = True
    (page,) = sheets([explanation(None, region=region)], found=Detections(kind=''))
    assert (panel(page, 1)[18:23, 60] > 200).all(axis=-1).any()
    (zoomed,) = sheets([explanation(None, region=region)], zoom=True, found=Detections(kind=''))
    assert len(zoomed.panels) == 4
