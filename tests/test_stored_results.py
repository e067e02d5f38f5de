"""Masks, segments and all else that a detector found come back from a file as they were."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from featmap.classification import Classification
from featmap.errors import SourceError
from featmap.masks import Masks, Segments
from featmap.storage import load_maps, save_maps
from featmap.stored_results import results_entry, results_of
from featmap.structures import Detections
from featmap.visualizer import FeatMapVisualizer
from tests.storage_helpers import PICTURE, SHAPE, a_map, a_record, assert_same_array, rewrite, round_trip, sidecar

RANDOM = np.random.default_rng(5)
GIVEN = RANDOM.random((2, *SHAPE)) < 0.4
GIVEN[1, 30:] = False
NUMBERS = np.arange(6000, dtype=np.uint16).reshape(SHAPE) // 20
FOUND = Detections(
    np.array([[1, 2, 30, 40], [5, 6, 70, 28]], np.float32),
    np.array([0.9, 0.4], np.float32),
    np.array([0, 1]),
    ('cat', 'dog'),
    ((1, 2, 3), (200, 100, 0)),
    Masks.of(GIVEN, SHAPE),
    Segments(NUMBERS, tuple(range(300)), 'panoptic'),
    kind='instance',
    boxed=False,
    undrawn=('keypoints',),
    classification=Classification(np.array([1, 0]), np.array([0.7, 0.1], np.float32), 'sigmoid', 2),
)


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
def test_all_of_it_comes_back(tmp_path, suffix):
    saved = round_trip(tmp_path, a_record(a_map(), detections=FOUND), suffix=suffix).detections
    for field in dataclasses.fields(Detections):
        if field.name in ('boxes', 'scores', 'labels'):
            assert_same_array(getattr(saved, field.name), getattr(FOUND, field.name))
        elif field.name not in ('masks', 'segments', 'classification'):
            assert getattr(saved, field.name) == getattr(FOUND, field.name), field.name
    for index in range(2):
        np.testing.assert_array_equal(saved.masks.whole(index), GIVEN[index])
    assert_same_array(saved.segments.numbers, NUMBERS)
    assert (saved.segments.labels, saved.segments.kind) == (tuple(range(300)), 'panoptic')
    assert_same_array(saved.classification.labels, FOUND.classification.labels)
    assert_same_array(saved.classification.scores, FOUND.classification.scores)
    assert (saved.classification.kind, saved.classification.of) == ('sigmoid', 2)
    assert (saved.count, repr(saved)) == (FOUND.count, repr(FOUND))


@pytest.mark.parametrize('without', ['masks', 'segments'])
def test_the_picture_is_the_same(tmp_path, without):
    found = dataclasses.replace(FOUND, **{without: None})
    expected = FeatMapVisualizer().draw_maps(PICTURE, [a_map()], found, title='dog.jpg')
    drawn = round_trip(tmp_path, a_record(a_map(), detections=found)).draw(PICTURE)
    assert_same_array(drawn.image, expected.image)
    plain = round_trip(tmp_path, a_record(a_map(), detections=dataclasses.replace(found, masks=None, segments=None)))
    assert plain.draw(PICTURE).image.tobytes() != expected.image.tobytes()


def test_what_an_older_featmap_wrote_is_read(tmp_path):
    path = save_maps(tmp_path / 'a.npz', a_record(a_map(), detections=dataclasses.replace(FOUND, masks=None)))
    content = sidecar(path)
    old = {name: content['detections'][name] for name in ('classes', 'boxes', 'scores', 'labels')}
    rewrite(path, version=1, detections=old)
    saved = load_maps(path).detections
    assert (saved.kind, saved.boxed, saved.palette, saved.masks, saved.segments) == ('detection', True, (), None, None)
    assert saved.classification is None
    assert_same_array(saved.boxes, FOUND.boxes)


def test_a_map_of_twelve_megapixels_takes_little_room():
    numbers = np.zeros((3000, 4000), np.uint8)
    numbers[1000:, :2000], numbers[2000:, 1500:] = 1, 2
    arrays: dict[str, np.ndarray] = {}
    entry = results_entry(Detections(segments=Segments(numbers, (0, 1))), arrays)
    assert sum(array.nbytes for array in arrays.values()) < 120_000
    assert_same_array(results_of(entry, arrays, (3000, 4000)).segments.numbers, numbers)


@pytest.mark.parametrize(
    'spoil',
    [
        lambda entry, arrays: arrays.update(boxes=arrays['boxes'][:1]),
        lambda entry, arrays: arrays.update(labels=arrays['labels'][None]),
        lambda entry, arrays: arrays.update(scores=np.array(0.5, np.float32)),
        lambda entry, arrays: arrays.update(labels=arrays['labels'] + 0.5),
        lambda entry, arrays: arrays.update(labels=arrays['labels'] - 100),
        lambda entry, arrays: arrays.update(boxes=arrays['boxes'] * np.float32('nan')),
        lambda entry, arrays: arrays.update(boxes=arrays['boxes'] + np.float32(1e30)),
        lambda entry, arrays: arrays.update(mask_bits=arrays['mask_bits'][:-1]),
        lambda entry, arrays: arrays.update(mask_windows=arrays['mask_windows'] + 50),
        lambda entry, arrays: arrays.update(mask_windows=arrays['mask_windows'][:0], mask_bits=arrays['mask_bits'][:0]),
        lambda entry, arrays: arrays.update(segments=arrays['segments'][:-9]),
        lambda entry, arrays: arrays.update(segments=arrays['segments'][::-1].copy()),
        lambda entry, arrays: entry['segments'].update(labels=[1]),
        lambda entry, arrays: entry['segments'].update(type='uint8'),
        lambda entry, arrays: entry['segments'].update(coding='none'),
        lambda entry, arrays: entry.update(palette=[[1, 2, 256]]),
        lambda entry, arrays: entry['classification'].update(labels=[0]),
        lambda entry, arrays: entry['classification'].update(scores=[0.1, 0.7]),
        lambda entry, arrays: entry['classification'].update(of=1),
    ],
)
def test_what_does_not_go_together_is_refused(spoil):
    arrays: dict[str, np.ndarray] = {}
    entry = results_entry(FOUND, arrays)
    assert results_of(entry, arrays, SHAPE) is not None
    spoil(entry, arrays)
    with pytest.raises(ValueError, match=r'mask|segments|boxes|colour|classification'):
        results_of(entry, arrays, SHAPE)


def test_a_small_file_cannot_fill_the_memory():
    import tracemalloc
    import zlib

    arrays: dict[str, np.ndarray] = {}
    entry = results_entry(FOUND, arrays)
    arrays['segments'] = np.frombuffer(zlib.compress(bytes(200_000_000), 9), np.uint8)
    tracemalloc.start()
    with pytest.raises(ValueError, match='12001 bytes'):
        results_of(entry, arrays, SHAPE)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_classification_of_another_form_is_refused_in_one_line(tmp_path):
    path = save_maps(tmp_path / 'a.npz', a_record(a_map(), detections=FOUND))
    good = sidecar(path)['detections']
    rewrite(path, detections={**good, 'classification': {**good['classification'], 'scores': ['high', 0.1]}})
    with pytest.raises(SourceError, match=r"does not describe maps: .*classification\.scores\[0\].*'high'"):
        load_maps(path)


def test_a_file_of_another_image_is_refused_in_one_line(tmp_path):
    path = save_maps(tmp_path / 'a.npz', a_record(a_map(), detections=FOUND))
    rewrite(path, image={**sidecar(path)['image'], 'height': 59})
    with pytest.raises(SourceError, match='does not describe maps: a window of a mask reaches beyond'):
        load_maps(path)
