"""Scenes: the same seed gives the same pixels, and a box encloses what can be seen of an object."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from demo_scenes import CLASSES, PALETTE, Placement, compose, draw_scene
from demo_scenes.dataset import DemoSceneDataset
from demo_scenes.demo_image import OBJECTS, draw_demo_image
from demo_scenes.scene import masks_of

ROOT = Path(__file__).resolve().parents[2]
DEMO_IMAGE = ROOT / 'demo' / 'demo.jpg'


def plain(width=240, height=240):
    """A background whose colour no object has."""
    return np.full((height, width, 3), (255.0, 0.0, 255.0), dtype=np.float32)


def changed_extent(image):
    """The box around the pixels that clearly differ from ``plain``: x1, y1, x2, y2."""
    difference = np.abs(image - plain(image.shape[1], image.shape[0])).max(axis=2) > 100
    rows, columns = np.flatnonzero(difference.any(1)), np.flatnonzero(difference.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.fixture(scope='module')
def scenes():
    return [draw_scene(seed, (320, 240)) for seed in range(24)]


@pytest.fixture(scope='module')
def demo():
    return draw_demo_image()


def test_a_scene_without_objects_has_no_boxes_and_is_left_alone():
    image = plain()
    boxes, labels = compose(image, [])
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.float32
    assert labels.shape == (0,)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(image, plain())


def test_the_same_seed_gives_the_same_scene():
    for first, second in zip(draw_scene(3, (200, 120)), draw_scene(3, (200, 120))):
        np.testing.assert_array_equal(first, second)


def test_other_seeds_give_other_scenes():
    pictures = {draw_scene(seed, (96, 64))[0].tobytes() for seed in range(8)}
    assert len(pictures) == 8


def test_drawing_leaves_global_random_state_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    draw_scene(1, (64, 64))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize('size', [(320, 320), (97, 61), (64, 200)])
def test_picture_and_annotation_have_the_stated_form(size):
    image, boxes, labels = draw_scene(11, size)
    assert image.shape == (size[1], size[0], 3)
    assert image.dtype == np.uint8
    assert boxes.shape == (len(labels), 4)
    assert boxes.dtype == np.float32
    assert labels.dtype == np.int64


def test_boxes_lie_inside_the_picture_and_have_an_extent(scenes):
    for image, boxes, _ in scenes:
        height, width = image.shape[:2]
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 6).all()


def test_all_classes_and_sizes_from_small_to_large_appear(scenes):
    labels = np.concatenate([labels for _, _, labels in scenes])
    assert set(labels) == set(range(len(CLASSES)))
    boxes = np.concatenate([boxes for _, boxes, _ in scenes])
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert longest.min() < 24
    assert longest.max() > 120


def test_there_is_a_colour_for_each_of_six_or_more_classes():
    assert len(CLASSES) >= 6
    assert len(set(PALETTE)) == len(PALETTE) == len(CLASSES)


@pytest.mark.parametrize('name', CLASSES)
@pytest.mark.parametrize(('size', 'angle', 'mirrored'), [(20, 0, False), (75.5, 25, False), (180, -40, True)])
def test_a_box_tightly_encloses_the_drawn_pixels(name, size, angle, mirrored):
    image = plain()
    placement = Placement(name, 120.3, 119.6, size, angle, style=5, mirrored=mirrored)
    boxes, labels = compose(image, [placement])
    assert labels.tolist() == [CLASSES.index(name)]
    # Half-covered pixels at a rim may count or not.
    np.testing.assert_allclose(boxes[0], changed_extent(image), atol=1)


@pytest.mark.parametrize('name', CLASSES)
def test_an_object_fills_its_square_along_one_axis(name):
    boxes, _ = compose(plain(), [Placement(name, 120, 120, 100)])
    longest = (boxes[0, 2:] - boxes[0, :2]).max()
    assert 80 <= longest <= 102


def test_masks_are_what_can_be_seen_of_the_objects():
    placements = [Placement('ball', 100, 100, 80), Placement('kite', 130, 110, 70), Placement('ball', 500, 500, 40)]
    boxes, labels = compose(plain(), placements)
    masks, classes = masks_of(placements, plain().shape[:2])
    assert classes.tolist() == labels.tolist() == [CLASSES.index('ball'), CLASSES.index('kite')]
    assert not (masks[0] & masks[1]).any()  # the nearer hides the other
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int)):
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (left, top, right, bottom)
    alone, _ = masks_of(placements[:1], plain().shape[:2])
    assert (alone[0] & ~masks[0]).sum() == (alone[0] & masks[1]).sum() > 0


def test_a_mirrored_object_is_the_mirror_image():
    image, mirrored = plain(), plain()
    compose(image, [Placement('fish', 120, 120, 90, 20, style=2)], light=270)
    compose(mirrored, [Placement('fish', 120, 120, 90, -20, style=2, mirrored=True)], light=270)
    np.testing.assert_allclose(mirrored, image[:, ::-1], atol=1e-3)


def test_shadow_and_reflection_do_not_count_as_the_object():
    bare, _ = compose(plain(), [Placement('sailboat', 120, 90, 80)])
    image = plain()
    boxes, _ = compose(image, [Placement('sailboat', 120, 90, 80, shadow=0.4, reflection=0.9)])
    np.testing.assert_array_equal(boxes, bare)
    assert changed_extent(image)[3] > boxes[0, 3] + 10


def test_a_hidden_object_has_no_box():
    placements = [Placement('ball', 120, 120, 40), Placement('house', 120, 125, 150)]
    _, labels = compose(plain(), placements)
    assert labels.tolist() == [CLASSES.index('house')]


def test_a_box_covers_only_the_visible_part_of_a_partly_hidden_object():
    # The front ball's rim reaches column 130; what is left of the back one starts about there.
    back, front = Placement('ball', 140, 120, 80), Placement('ball', 80, 120, 100)
    alone, _ = compose(plain(), [back])
    boxes, _ = compose(plain(), [back, front])
    assert boxes[0, 0] > alone[0, 0] + 5
    np.testing.assert_array_equal(boxes[0, 1:], alone[0, 1:])


@pytest.mark.parametrize(('x', 'count'), [(-300, 0), (-35, 0), (0, 1), (239, 1), (600, 0)])
def test_an_object_mostly_off_the_picture_has_no_box(x, count):
    boxes, _ = compose(plain(), [Placement('ball', x, 120, 80)])
    assert len(boxes) == count
    assert (boxes >= 0).all()
    assert (boxes <= 240).all()


def test_the_data_set_gives_bgr_pictures_with_their_boxes():
    dataset = DemoSceneDataset(first_seed=4, count=3, sizes=[(96, 64), (64, 80)])
    assert len(dataset) == 3
    assert dataset.metainfo['classes'] == CLASSES
    for index, size in enumerate([(96, 64), (64, 80), (96, 64)]):
        image, boxes, labels = draw_scene(4 + index, size)
        item = dataset[index]
        np.testing.assert_array_equal(item['img'], image[..., ::-1])
        assert [instance['bbox'] for instance in item['instances']] == boxes.tolist()
        assert [instance['bbox_label'] for instance in item['instances']] == labels.tolist()


def test_the_demo_image_shows_every_object_with_room_around(demo):
    image, boxes, labels = demo
    assert image.shape[0] != image.shape[1]
    assert [CLASSES[label] for label in labels] == [placement.name for placement in OBJECTS]
    assert set(labels) == set(range(len(CLASSES)))
    covered = np.zeros(image.shape[:2], dtype=bool)
    for x1, y1, x2, y2 in boxes.astype(int):
        covered[y1:y2, x1:x2] = True
    assert covered.mean() < 0.4


def test_the_shipped_demo_image_is_what_the_generator_draws(demo):
    assert DEMO_IMAGE.stat().st_size < 300_000
    shipped = cv2.imread(str(DEMO_IMAGE))[..., ::-1].astype(np.float32)
    assert shipped.shape == demo[0].shape
    difference = np.abs(shipped - demo[0])
    # JPEG blurs grain by a few levels everywhere, and thin edges by more.
    assert difference.mean() < 4
    assert np.percentile(difference, 99) < 30
